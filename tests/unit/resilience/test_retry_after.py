from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_app.resilience.retry_after import MAX_RETRY_AFTER_S, header_value, parse_retry_after

NOW = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("17", 17.0),
        ("0", 0.0),
        (" 30 ", 30.0),
        ("1.5", 1.5),
        (".25", 0.25),
        ("3.", 3.0),
        ("3600", 3600.0),
        ("86400", MAX_RETRY_AFTER_S),
    ],
)
def test_seconds_are_read_a_fraction_too_and_at_most_an_hour(value: str, seconds: float) -> None:
    assert parse_retry_after(value, NOW) == seconds


@pytest.mark.parametrize(
    "value",
    ["Mon, 23 Nov 2026 12:00:30 GMT", "Monday, 23-Nov-26 12:00:30 GMT", "Mon Nov 23 12:00:30 2026"],
    ids=["as it should be", "RFC 850", "asctime"],
)
def test_each_of_the_three_formats_of_a_date_is_read(value: str) -> None:
    assert parse_retry_after(value, NOW) == 30.0
    assert parse_retry_after(value.lower(), NOW) == 30.0


def test_asctime_pads_a_day_with_a_space() -> None:
    assert parse_retry_after("Thu Nov  5 12:00:30 2026", datetime(2026, 11, 5, 12, 0, tzinfo=UTC)) == 30.0


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("Mon, 23 Nov 2026 11:59:00 GMT", 0.0),
        ("Monday, 23-Nov-87 12:00:30 GMT", 0.0),
        ("Monday, 23-Nov-76 12:00:30 GMT", MAX_RETRY_AFTER_S),
        ("Mon, 23 Nov 2099 12:00:30 GMT", MAX_RETRY_AFTER_S),
        ("Mon, 23 Nov 2026 12:00:60 GMT", 59.0),
    ],
    ids=["passed", "last century", "this century", "far ahead", "a leap second"],
)
def test_a_date_that_passed_is_now_and_one_far_ahead_is_an_hour(value: str, seconds: float) -> None:
    assert parse_retry_after(value, NOW) == seconds


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        "   ",
        "soon",
        "-3",
        "+3",
        "1e3",
        "1,5",
        ".",
        "inf",
        "nan",
        "²",
        "٣",
        "9" * 400,
        "Mon, 23 Nov 2026 12:00:30",
        "Mon, 23 Nov 2026 12:00:30 +0100",
        "Mon, 40 Nov 2026 12:00:30 GMT",
        "Mon, 23 Foo 2026 12:00:30 GMT",
        "Mon, 23 Nov 2026 25:00:30 GMT",
        "Mon, 23 Nov 99999999999 12:00:30 GMT",
        "Mon, 23 Nov 0000 12:00:30 GMT",
    ],
)
def test_rubbish_and_what_is_negative_are_nothing(value: str | None) -> None:
    assert parse_retry_after(value, NOW) is None


@given(st.text(max_size=80))
def test_whatever_comes_is_a_bounded_number_or_nothing(value: str) -> None:
    seconds = parse_retry_after(value, NOW)
    assert seconds is None or 0.0 <= seconds <= MAX_RETRY_AFTER_S


@given(st.integers(0, 3600))
def test_a_date_within_the_hour_is_read_to_the_second(seconds: int) -> None:
    assert parse_retry_after(format_datetime(NOW + timedelta(seconds=seconds), usegmt=True), NOW) == seconds


@pytest.mark.parametrize(
    ("seconds", "value"),
    [
        (0.0, "1"),
        (-4.0, "1"),
        (1.0, "1"),
        (1.01, "2"),
        (30.0, "30"),
        (86_400.0, "86400"),
        (1e9, "2678400"),
        (float("nan"), "1"),
    ],
)
def test_what_is_written_is_whole_seconds_rounded_up_and_bounded(seconds: float, value: str) -> None:
    assert header_value(seconds) == value


@given(st.floats(1.0, 3600.0))
def test_what_is_written_is_never_too_early(seconds: float) -> None:
    read = parse_retry_after(header_value(seconds), NOW)
    assert read is not None
    assert seconds <= read <= seconds + 1.0
