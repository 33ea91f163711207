import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from serve_app.classification.artefact import DEFAULT_ARTEFACT_DIR, GOLDEN_NAME
from serve_app.classification.features import FeatureSpec, extract, kept_bytes, split_conversation
from serve_app.classification.scorer import OnnxScorer
from serve_app.classification.structure import STRUCTURE_NAMES
from serve_app.contracts.assessment import Turn

SPEC = FeatureSpec()
ANY_TEXT = st.text(st.characters(codec=None), max_size=200)  # every code point, lone surrogates included
GOLDEN: list[dict[str, Any]] = json.loads((DEFAULT_ARTEFACT_DIR / GOLDEN_NAME).read_bytes())


def a_conversation(vector: dict[str, Any]) -> list[Turn]:
    return [Turn(role, text * repeat) for role, text, repeat in vector["turns"]]


@pytest.fixture(scope="module")
def scorer() -> OnnxScorer:
    return OnnxScorer()


def structure_named(text: str) -> dict[str, float]:
    return dict(zip(STRUCTURE_NAMES, extract([Turn("user", text)], SPEC).structure.tolist(), strict=True))


def test_there_are_enough_golden_vectors() -> None:
    assert len(GOLDEN) >= 60


def test_golden_buckets_are_reproduced_exactly(scorer: OnnxScorer) -> None:
    for vector in GOLDEN:
        features = extract(a_conversation(vector), scorer.manifest.features)
        assert features.buckets_sha256() == vector["buckets_sha256"], vector["turns"]
        assert int((features.weights > 0).sum()) == vector["num_buckets"]


def test_golden_structure_and_scores_are_reproduced_closely(scorer: OnnxScorer) -> None:
    for vector in GOLDEN:
        conversation = a_conversation(vector)
        structure = extract(conversation, scorer.manifest.features).structure
        assert structure == pytest.approx(vector["structure"], abs=1e-5), vector["turns"]
        score = scorer.score(conversation)
        assert score.complexity == pytest.approx(vector["complexity"], abs=1e-5), vector["turns"]
        assert score.domain_confidence == pytest.approx(vector["domain_confidence"], abs=1e-5)
        assert score.domain == vector["domain"]


@given(st.lists(st.builds(Turn, st.sampled_from(["user", "assistant", "system", "tool"]), ANY_TEXT), max_size=6))
def test_any_conversation_gives_features_of_the_stated_shape(turns: list[Turn]) -> None:
    features = extract(turns, SPEC)
    assert features.ids.dtype == np.int32
    assert features.weights.shape == (2, len(features.ids))
    assert features.structure.shape == (len(STRUCTURE_NAMES),)
    assert np.isfinite(features.structure).all()
    assert ((features.ids >= 0) & (features.ids < SPEC.num_buckets)).all()


def test_the_number_of_buckets_is_bounded_whatever_the_length() -> None:
    text = " ".join(str(n) + chr(0x4E00 + n % 20_000) for n in range(60_000))
    features = extract([Turn("system", text), Turn("user", text)], SPEC)
    num_kept = sum((SPEC.focus_head_bytes, SPEC.focus_tail_bytes, SPEC.context_head_bytes, SPEC.context_tail_bytes))
    assert len(features.ids) <= 4 * num_kept


def test_only_the_ends_of_a_long_message_count() -> None:
    head, tail = "a" * 1536, "b" * 1536
    assert kept_bytes(head + "c" * 5000 + tail, 1536, 1536) == f"{head}\n{tail}".encode()
    assert kept_bytes(head + tail, 1536, 1536) == (head + tail).encode()


def test_cutting_characters_first_keeps_the_same_bytes_as_cutting_the_encoded_text() -> None:
    text = "é😀数a" * 2000
    data = text.encode()
    assert kept_bytes(text, 100, 77) == data[:100] + b"\n" + data[-77:]


def test_a_long_context_is_cut_as_if_it_had_been_joined_whole() -> None:
    texts = ["s" * 5000, "middle", "t" * 5000]
    whole = [Turn("system", "\n".join(texts)), Turn("user", "q")]
    parts = [*(Turn("assistant", text) for text in texts), Turn("user", "q")]
    assert extract(parts, SPEC).buckets_sha256() == extract(whole, SPEC).buckets_sha256()


def test_the_last_user_turn_is_the_focus_wherever_it_stands() -> None:
    turns = [Turn("system", "s"), Turn("user", "old"), Turn("user", "asked"), Turn("assistant", "reply")]
    assert split_conversation(turns) == ("asked", ["s", "old", "reply"])


def test_without_a_user_turn_the_last_turn_is_the_focus() -> None:
    assert split_conversation([Turn("system", "s"), Turn("tool", "t")]) == ("t", ["s"])


def test_the_middle_of_a_very_long_conversation_is_left_out() -> None:
    turns = [Turn("user", str(n)) for n in range(1000)]
    focus, others = split_conversation(turns)
    assert (focus, len(others), others[:4]) == ("999", 63, ["0", "1", "2", "3"])


def test_context_and_focus_are_told_apart() -> None:
    first = extract([Turn("user", "one"), Turn("assistant", "two"), Turn("user", "three")], SPEC)
    second = extract([Turn("user", "three"), Turn("assistant", "two"), Turn("user", "one")], SPEC)
    assert first.buckets_sha256() != second.buckets_sha256()


def test_nothing_to_hash_is_one_bucket_without_weight() -> None:
    features = extract([], SPEC)
    assert (features.ids.tolist(), features.weights.sum()) == ([0], 0.0)


def test_structure_sees_code_questions_lists_numbers_and_scripts() -> None:
    assert structure_named("```\n  x = {a: 1};\n```")["log_fences"] == pytest.approx(np.log1p(2))
    assert structure_named("why? how?")["log_questions"] == pytest.approx(np.log1p(2))
    assert structure_named("do:\n- a\n- b\n1. c")["log_list_items"] == pytest.approx(np.log1p(3))
    assert structure_named("12 apples and 7 pears")["log_numbers"] == pytest.approx(np.log1p(2))
    assert structure_named("Prove the theorem")["log_reasoning_words"] == pytest.approx(np.log1p(2))
    assert structure_named("naïve Straße")["non_latin_share"] == 0.0
    assert structure_named("привет")["non_latin_share"] == pytest.approx(0.5)
    assert structure_named("😀")["emoji_share"] == pytest.approx(0.25)
    assert structure_named("Pick\nA. x\nB. y")["has_choices"] == 1.0


@pytest.mark.parametrize(
    "fields", [{"num_buckets": 1000}, {"byte_ngrams": (3, 3)}, {"byte_ngrams": (2,)}, {"version": 2}, {"unknown": 1}]
)
def test_parameters_outside_the_recipe_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        FeatureSpec(**fields)
