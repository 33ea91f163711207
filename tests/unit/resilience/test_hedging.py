from hypothesis import given
from hypothesis import strategies as st

from serve_app.resilience.hedging import MAX_BURST, HedgeBudget, HedgePolicy, delay_s
from serve_app.resilience.latency import LatencyWindow
from tests.fakes.builders import FakeClock


def a_policy(*, is_enabled: bool = True, max_share: float = 0.03, min_samples: int = 20) -> HedgePolicy:
    return HedgePolicy(is_enabled, max_share, min_samples)


def a_window(num_samples: int) -> LatencyWindow:
    window = LatencyWindow(clock=FakeClock())
    for n in range(num_samples):
        window.add(float(n + 1))
    return window


def granted(budget: HedgeBudget, wishes: list[bool]) -> list[bool]:
    """For each request whether it was hedged."""
    hedged = []
    for wish in wishes:
        budget.saw_request()
        hedged.append(wish and budget.try_take())
    return hedged


def test_a_hedge_waits_for_the_observed_p95() -> None:
    assert delay_s(a_policy(), a_window(20)) == 19.0


def test_on_too_few_samples_nothing_is_hedged() -> None:
    assert delay_s(a_policy(), a_window(19)) is None
    assert delay_s(a_policy(min_samples=0), a_window(0)) is None


def test_switched_off_nothing_is_hedged() -> None:
    assert delay_s(a_policy(is_enabled=False), a_window(100)) is None
    assert not any(granted(HedgeBudget(a_policy(is_enabled=False, max_share=1.0)), [True] * 100))


def test_no_share_means_no_hedge() -> None:
    assert not any(granted(HedgeBudget(a_policy(max_share=0.0)), [True] * 1000))


def test_the_first_request_finds_an_empty_bucket() -> None:
    assert granted(HedgeBudget(a_policy(max_share=0.5)), [True] * 4) == [False, True, False, True]


def test_a_quiet_time_saves_up_a_small_burst_and_no_more() -> None:
    budget = HedgeBudget(a_policy())
    granted(budget, [False] * 100_000)
    assert sum(budget.try_take() for _ in range(100)) == MAX_BURST


def test_the_whole_share_can_be_used() -> None:
    assert sum(granted(HedgeBudget(a_policy()), [True] * 10_000)) >= 299


@given(st.floats(0.0, 1.0), st.lists(st.booleans(), max_size=400), st.data())
def test_over_any_run_of_requests_no_more_than_the_share_and_a_burst_is_hedged(
    max_share: float, wishes: list[bool], data: st.DataObject
) -> None:
    hedged = granted(HedgeBudget(a_policy(max_share=max_share)), wishes)
    start = data.draw(st.integers(0, len(hedged)))
    end = data.draw(st.integers(start, len(hedged)))
    assert sum(hedged[start:end]) <= max_share * (end - start) + MAX_BURST + 1e-9
    assert sum(hedged[:end]) <= max_share * end + 1e-9
