"""Every attempt becomes a row that a database takes, and an ordinary one comes back as it was."""

import math
import pickle
from dataclasses import replace

import hypothesis.strategies as st
from hypothesis import given

from serve_app.contracts.vocabulary import Outcome, Tier
from serve_app.storage.engine import DatabaseUrlInvalid
from serve_app.storage.rows import attempt_of, clean_text, nano_usd, row_of
from serve_app.storage.schema import DatabaseNewer, DatabaseNotMigrated
from serve_app.storage.tenants import TenantExists, UnknownTenant
from tests.fakes.ledgers import a_row

anything = st.text(alphabet=st.characters(codec=None, categories=None), max_size=400)
numbers = st.floats(allow_nan=True, allow_infinity=True)


@given(anything, st.integers(), numbers, numbers, st.sampled_from(Tier), st.sampled_from(Outcome), st.none() | numbers)
def test_every_attempt_becomes_a_row_that_a_database_takes(
    text: str, number: int, cost_usd: float, elapsed_s: float, tier: Tier, outcome: Outcome, ttft_s: float | None
) -> None:
    hostile = a_row(
        text,
        request_id=text,
        tier=tier,
        number=number,
        num_input_tokens=number,
        cost_usd=cost_usd,
        elapsed_s=elapsed_s,
        ttft_s=ttft_s,
        outcome=outcome,
    )
    row = row_of(hostile)
    for value in row.values():
        if isinstance(value, str):
            assert "\0" not in value
            assert len(value.encode("utf-8")) <= 1020
        elif isinstance(value, float):
            assert math.isfinite(value)
        elif isinstance(value, int):
            assert abs(value) <= 2**50
    assert row_of(attempt_of(row)) == row


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\0"), max_size=255))
def test_ordinary_text_is_kept_as_it_is(text: str) -> None:
    assert clean_text(text) == text


def test_text_is_cut_to_what_an_index_holds() -> None:
    assert clean_text("☃" * 256) == "☃" * 255


@given(st.integers(0, 10**15))
def test_every_whole_number_of_billionths_survives_the_float_at_the_rim(billionths: int) -> None:
    row = {**row_of(a_row()), "cost_nano_usd": billionths}
    assert nano_usd(attempt_of(row).cost_usd) == billionths


def test_a_row_comes_back_as_it_was() -> None:
    attempt = replace(a_row(), error_code="upstream_broken", ttft_s=None)
    assert attempt_of(row_of(attempt)) == attempt


def test_the_errors_of_storage_survive_pickling_and_say_what_is_wrong() -> None:
    for error in (
        DatabaseUrlInvalid("x"),
        DatabaseNewer("9"),
        DatabaseNotMigrated(),
        TenantExists("acme", "database"),
        UnknownTenant("acme"),
    ):
        copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
        assert (type(copy), str(copy)) == (type(error), str(error))
