import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_app.classification.artefact import (
    CALIBRATION_NAME,
    DEFAULT_ARTEFACT_DIR,
    MANIFEST_NAME,
    ONNX_NAME,
    ArtefactInvalid,
)
from serve_app.classification.calibration import Calibration
from serve_app.classification.scorer import OnnxScorer
from serve_app.contracts.assessment import Turn
from serve_app.contracts.vocabulary import Domain

SCORER = OnnxScorer()
CALIBRATION = Calibration.load(DEFAULT_ARTEFACT_DIR / CALIBRATION_NAME, SCORER.model_sha256)
LOCAL_REACH, FAST_REACH = CALIBRATION.threshold_for_share(0.5), CALIBRATION.threshold_for_share(0.25)

GREETINGS = ("Hi!", "Hello, how are you?", "Thanks!", "hey", "Good morning!", "ok thanks", "Bye", "Merci !", "你好")
COACHING = (
    "How do I give feedback to a colleague who is often late?",
    "How can I stay motivated when my project drags on?",
    "I want to wake up earlier. Where do I start?",
    "What should I say in my first one-on-one with a new manager?",
    "I feel nervous before presentations, any advice?",
)
HARD = (
    "Prove that the square root of 2 is irrational, then generalise the proof to the square root of any prime number.",
    "A, B and C are knights or knaves. A says that B is a knave. B says that A and C are the same kind. Who is what?",
    "Three people must cross a bridge at night with one torch; they need 1, 2 and 5 minutes. Find the minimum and "
    "prove it is optimal.",
    "Analyse the trade-offs between a carbon tax and cap-and-trade under uncertainty, state your assumptions step by "
    "step, and derive the conditions under which each is optimal.",
)


@pytest.fixture
def artefact(tmp_path: Path) -> Path:
    return Path(shutil.copytree(DEFAULT_ARTEFACT_DIR, tmp_path / "artefact"))


def complexity_of(text: str) -> float:
    return SCORER.score([Turn("user", text)]).complexity


@pytest.mark.parametrize("text", GREETINGS)
def test_a_greeting_falls_into_the_fast_share(text: str) -> None:
    score = SCORER.score([Turn("user", text)])
    assert score.complexity < FAST_REACH
    assert score.domain is Domain.SMALLTALK


@pytest.mark.parametrize("text", COACHING)
def test_an_ordinary_coaching_question_stays_local(text: str) -> None:
    score = SCORER.score([Turn("user", text)])
    assert score.complexity < LOCAL_REACH
    assert score.domain is Domain.COACHING


@pytest.mark.parametrize("text", HARD)
def test_a_hard_reasoning_prompt_leaves_the_local_share_and_is_not_coding(text: str) -> None:
    score = SCORER.score([Turn("user", text)])
    assert score.complexity > LOCAL_REACH + 0.2
    assert score.domain is not Domain.CODING


def test_every_greeting_is_simpler_than_every_coaching_question_and_these_than_every_hard_prompt() -> None:
    greetings, coaching, hard = ([complexity_of(text) for text in texts] for texts in (GREETINGS, COACHING, HARD))
    assert max(greetings) < min(coaching)
    assert max(coaching) < min(hard)


def test_thanks_after_a_hard_exchange_is_simple_again() -> None:
    turns = [Turn("user", HARD[0]), Turn("assistant", "Suppose it were rational."), Turn("user", "Thanks!")]
    assert SCORER.score(turns).complexity < LOCAL_REACH


def test_going_on_with_a_hard_exchange_stays_harder_than_going_on_with_small_talk() -> None:
    def after(text: str) -> float:
        return SCORER.score([Turn("user", text), Turn("assistant", "Sure."), Turn("user", "Go on.")]).complexity

    assert after(HARD[0]) > after("Hello, how are you?")


@given(st.text(st.characters(codec=None), max_size=400))
def test_any_text_gets_a_complexity_and_a_confidence_between_0_and_1(text: str) -> None:
    score = SCORER.score([Turn("user", text)])
    assert 0.0 <= score.complexity <= 1.0
    assert 0.0 <= score.domain_confidence <= 1.0


def test_the_same_conversation_scores_the_same_in_another_scorer() -> None:
    assert OnnxScorer().score([Turn("user", HARD[1])]) == SCORER.score([Turn("user", HARD[1])])


def test_the_artefact_stays_under_five_megabytes() -> None:
    assert sum(path.stat().st_size for path in DEFAULT_ARTEFACT_DIR.iterdir()) < 5_000_000


def test_an_altered_network_is_refused(artefact: Path) -> None:
    data = bytearray((artefact / ONNX_NAME).read_bytes())
    data[len(data) // 2] ^= 1
    (artefact / ONNX_NAME).write_bytes(data)
    with pytest.raises(ArtefactInvalid, match="SHA-256"):
        OnnxScorer(artefact)


def test_a_missing_file_is_named(artefact: Path) -> None:
    (artefact / ONNX_NAME).unlink()
    with pytest.raises(ArtefactInvalid, match=ONNX_NAME):
        OnnxScorer(artefact)


def test_a_manifest_of_another_recipe_is_refused(artefact: Path) -> None:
    manifest = json.loads((artefact / MANIFEST_NAME).read_text())
    manifest["features"]["version"] = 2
    (artefact / MANIFEST_NAME).write_text(json.dumps(manifest))
    with pytest.raises(ArtefactInvalid, match="version"):
        OnnxScorer(artefact)


def test_structural_features_of_another_order_are_refused(artefact: Path) -> None:
    manifest = json.loads((artefact / MANIFEST_NAME).read_text())
    manifest["structure_names"].reverse()
    (artefact / MANIFEST_NAME).write_text(json.dumps(manifest))
    with pytest.raises(ArtefactInvalid, match="structural features"):
        OnnxScorer(artefact)


def test_the_request_path_imports_nothing_that_only_training_needs() -> None:
    program = (
        "import sys, serve_app.classification.guarded, serve_app.classification.calibration;"
        "print([name for name in ('torch', 'onnx', 'pyarrow', 'reasoning_gym') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
