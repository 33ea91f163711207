"""A row survives the way through a line, and whatever is not a whole row is refused as unreadable."""

from dataclasses import replace

import hypothesis.strategies as st
import orjson
import pytest
from hypothesis import given

from serve_app.accounting.rows import Row, UnreadableRow, from_line, to_line
from serve_app.contracts.attempt import Attempt, Usage
from serve_app.contracts.vocabulary import DataClass, Outcome, Place, Reason, Tier
from tests.fakes.scripted_ledger import ended

LINE = (
    b'[1,true,"a-1","req-1",1,"acme",1,"mistral-7b","mistral-7b-model","local","simple","public",'
    b'10,20,false,0.5,"completed",null,1700000000.25,0.5,0.1]\n'
)
WORDS = st.text(st.characters(codec="utf-8"), max_size=20)
COUNTS = st.integers(0, 2**53)
SECONDS = st.floats(0, 1e12)
ATTEMPTS = st.builds(
    Attempt,
    id=WORDS,
    request_id=WORDS,
    number=COUNTS,
    tenant_id=WORDS,
    tier=st.sampled_from(Tier),
    upstream_id=WORDS,
    model=WORDS,
    place=st.builds(Place, WORDS),
    reason=st.sampled_from(Reason),
    data_class=st.sampled_from(DataClass),
    usage=st.builds(Usage, COUNTS, COUNTS, st.booleans()),
    cost_usd=SECONDS,
    outcome=st.sampled_from(Outcome),
    error_code=st.none() | WORDS,
    started_at_unix_s=SECONDS,
    elapsed_s=SECONDS,
    ttft_s=st.none() | SECONDS,
)


def with_value(position: int, value: object) -> bytes:
    values = orjson.loads(LINE)
    values[position] = value
    return orjson.dumps(values)


def test_the_first_version_is_written_and_read_for_ever() -> None:
    assert to_line(ended("a-1"), is_final=True) == LINE
    assert from_line(LINE) == Row(ended("a-1"), is_final=True)


@given(ATTEMPTS, st.booleans())
def test_every_attempt_comes_back_as_it_was_on_one_line(attempt: Attempt, is_final: bool) -> None:
    line = to_line(attempt, is_final=is_final)
    assert line.count(b"\n") == 1
    row = from_line(line)
    assert row == Row(attempt, is_final)
    assert isinstance(row.attempt.outcome, Outcome)
    assert isinstance(row.attempt.tier, Tier)


@given(st.integers(0, len(LINE) - 2))
def test_a_line_that_was_cut_off_is_unreadable(num_bytes: int) -> None:
    with pytest.raises(UnreadableRow):
        from_line(LINE[:num_bytes])


@given(st.binary(max_size=200))
def test_rubbish_is_unreadable_and_raises_nothing_else(rubbish: bytes) -> None:
    with pytest.raises(UnreadableRow):
        from_line(rubbish)


@pytest.mark.parametrize(
    "line",
    [
        b"{}",
        b"[]",
        b"[1]",
        with_value(0, 2),
        with_value(2, None),
        with_value(6, 9),
        with_value(15, None),
        with_value(15, "0.5"),
        with_value(16, "exploded"),
    ],
)
def test_another_version_shape_or_word_is_unreadable(line: bytes) -> None:
    with pytest.raises(UnreadableRow):
        from_line(line)


@pytest.mark.parametrize("attempt", [ended("\ud800"), replace(ended("a"), number=2**70)])
def test_what_json_cannot_hold_is_a_type_error(attempt: Attempt) -> None:
    with pytest.raises(TypeError):
        to_line(attempt, is_final=True)
