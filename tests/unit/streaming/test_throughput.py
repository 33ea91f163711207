"""A stream is too slow when a whole window of waiting brought too few tokens, and only then."""

import hypothesis.strategies as st
import pytest
from hypothesis import given

from serve_app.streaming.throughput import ThroughputWatch


def fed(watch: ThroughputWatch, waited_s: float, num_tokens: int, *, times: int = 1) -> bool:
    """Whether it complained at any moment."""
    has_complained = False
    for _ in range(times):
        watch.feed(waited_s, num_tokens)
        has_complained = has_complained or watch.is_too_slow
    return has_complained


def test_it_says_nothing_before_a_whole_window_has_passed() -> None:
    watch = ThroughputWatch(1.0, 10.0)
    assert not fed(watch, 9.9, 0)
    assert fed(watch, 0.2, 0)


def test_too_few_tokens_in_a_window_are_too_slow() -> None:
    assert fed(ThroughputWatch(1.0, 10.0), 2.5, 1, times=10)


def test_as_many_tokens_as_asked_for_are_enough() -> None:
    assert not fed(ThroughputWatch(1.0, 10.0), 1.0, 1, times=100)


def test_a_stream_that_was_quick_and_stalls_is_too_slow_when_the_window_has_moved_on() -> None:
    watch = ThroughputWatch(1.0, 10.0)
    assert not fed(watch, 0.1, 10, times=100)
    assert not fed(watch, 1.0, 0, times=5)
    assert fed(watch, 1.0, 0, times=7)


def test_a_stream_that_was_slow_and_recovers_is_forgiven() -> None:
    watch = ThroughputWatch(1.0, 10.0)
    assert fed(watch, 5.0, 0, times=3)
    watch.feed(0.5, 100)
    assert not watch.is_too_slow


def test_without_a_least_throughput_it_never_complains() -> None:
    assert not fed(ThroughputWatch(0.0, 1.0), 100.0, 0, times=5)


def test_only_waiting_counts() -> None:
    """A reader of ours that takes an hour between two reads waits for nothing meanwhile."""
    assert not fed(ThroughputWatch(1.0, 10.0), 0.0, 1, times=1000)


@given(
    st.lists(st.tuples(st.floats(0.0, 3.0), st.integers(0, 20)), max_size=60),
    st.floats(0.5, 20.0),
    st.floats(0.5, 8.0),
)
def test_a_stream_that_is_quick_enough_in_every_window_is_never_called_slow_and_little_is_remembered(
    feeds: list[tuple[float, int]], min_tokens_per_s: float, window_s: float
) -> None:
    watch = ThroughputWatch(min_tokens_per_s, window_s)
    now, tokens = 0.0, list[tuple[float, int]]()
    for waited_s, num_tokens in feeds:
        watch.feed(waited_s, num_tokens)
        now += waited_s
        tokens.append((now, num_tokens))
        in_window = sum(num for at, num in tokens if at > now - window_s)
        with_margin = sum(num for at, num in tokens if at > now - window_s - 1.0 - 1e-6)
        if watch.is_too_slow:
            assert in_window < min_tokens_per_s * window_s
            assert now >= window_s
        elif now >= window_s:
            assert with_margin >= min_tokens_per_s * window_s
        assert len(watch._seconds) <= window_s + 2


@pytest.mark.parametrize("tokens_per_s", [10, 100])
def test_a_steady_stream_just_above_the_least_is_never_called_slow(tokens_per_s: int) -> None:
    assert not fed(ThroughputWatch(tokens_per_s * 0.98, 10.0), 1 / tokens_per_s, 1, times=tokens_per_s * 30)
