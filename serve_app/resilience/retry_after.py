"""The Retry-After header, read from upstreams and written to callers (RFC 9110, 10.2.3 and 5.6.7)."""

import math
import re
from datetime import UTC, datetime

_LONGEST_MONTH_S = 31 * 86_400.0
MAX_RETRY_AFTER_S = 3600.0
"""What is further away is read as this: nobody should be locked out for a day by one header."""
_MAX_CHARS = 64
_SECONDS = re.compile(r"[0-9]+(?:\.[0-9]*)?|\.[0-9]+")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAY, _MONTH, _TIME = r"(?P<day>[0-9]{2})", r"(?P<month>[a-z]{3})", r"(?P<time>[0-9]{2}:[0-9]{2}:[0-9]{2})"
_DATES = (
    re.compile(rf"[a-z]{{3}}, {_DAY} {_MONTH} (?P<year>[0-9]{{4}}) {_TIME} (?:gmt|utc)"),
    re.compile(rf"[a-z]{{6,9}}, {_DAY}-{_MONTH}-(?P<year>[0-9]{{2}}) {_TIME} (?:gmt|utc)"),
    re.compile(rf"[a-z]{{3}} {_MONTH} (?P<day>[ 0-9][0-9]) {_TIME} (?P<year>[0-9]{{4}})"),
)
"""As it should be, as in RFC 850, and as C's asctime prints it; their own names of weekdays are not looked at."""


def parse_retry_after(value: str | None, now: datetime) -> float | None:
    """Seconds from `now`, in [0, MAX_RETRY_AFTER_S]; a date that has passed is 0. None if unreadable or negative.

    A fraction of a second is tolerated. `now` must know its zone.
    """
    text = (value or "").strip()
    if not text or len(text) > _MAX_CHARS or not text.isascii():
        return None
    if _SECONDS.fullmatch(text):
        return min(float(text), MAX_RETRY_AFTER_S)
    at = _parse_date(text.lower(), now)
    return None if at is None else min(max(0.0, (at - now).total_seconds()), MAX_RETRY_AFTER_S)


def header_value(seconds: float) -> str:
    """Whole seconds, rounded up, so that nobody comes back too early; at least 1. A monthly budget takes its weeks."""
    bounded_s = min(max(1.0, seconds), _LONGEST_MONTH_S)  # in this order, no number at all becomes 1
    return str(math.ceil(bounded_s))


def _parse_date(text: str, now: datetime) -> datetime | None:
    found = next((match for date in _DATES if (match := date.fullmatch(text))), None)
    if found is None or found["month"] not in _MONTHS:
        return None
    hour, minute, second = map(int, found["time"].split(":"))
    year = int(found["year"])
    if len(found["year"]) == 2:
        year = _with_century(year, now.year)
    try:
        # A leap second is written as :60, which datetime does not know.
        return datetime(
            year, _MONTHS.index(found["month"]) + 1, int(found["day"]), hour, minute, min(second, 59), tzinfo=UTC
        )
    except ValueError:
        return None


def _with_century(two_digits: int, this_year: int) -> int:
    """More than 50 years ahead means the past century (RFC 9110, 5.6.7)."""
    year = this_year - this_year % 100 + two_digits
    return year - 100 if year > this_year + 50 else year
