"""Each scorer on its own: where it is 1, where it falls, and that it stays in [0, 1]."""

import pytest

from serve_app.contracts.fleet import UpstreamState
from serve_app.contracts.vocabulary import Tier
from serve_app.routing import scorers
from tests.fakes.builders import CLOUD, a_candidate, a_policy, a_price, a_request, a_snapshot, an_upstream

POLICY = a_policy(fast_reach=0.2, local_reach=0.6, typical_output_tokens=200)
FREE = a_price(input_usd_per_mtok=0.0, output_usd_per_mtok=0.0)


@pytest.mark.parametrize(
    ("tier", "complexity", "expected"),
    [
        (Tier.LOCAL_FAST, 0.0, 1.0),
        (Tier.LOCAL_FAST, 0.2, 1.0),
        (Tier.LOCAL_FAST, 0.6, 0.1 * (1 - 0.25 * 0.5)),
        (Tier.LOCAL_FAST, 1.0, 0.075),
        (Tier.LOCAL_STANDARD, 0.6, 1.0),
        (Tier.LOCAL_STANDARD, 0.8, 0.4 * (1 - 0.25 * 0.5)),
        (Tier.LOCAL_STANDARD, 1.0, 0.3),
        (Tier.CLOUD_ENHANCED, 0.0, 0.95),
        (Tier.CLOUD_ENHANCED, 1.0, 0.95),
        (Tier.CLOUD_SPECIALIZED, 1.0, 1.0),
        (Tier.CLOUD_FALLBACK, 1.0, 0.9),
    ],
)
def test_quality_is_full_within_reach_and_steps_down_past_it(tier: Tier, complexity: float, expected: float) -> None:
    value = scorers.quality(a_request(complexity=complexity), a_candidate(tier=tier), POLICY)
    assert value == pytest.approx(expected)


@pytest.mark.parametrize("tier", [Tier.LOCAL_FAST, Tier.LOCAL_STANDARD])
def test_quality_just_past_the_reach_is_below_any_cloud_tier(tier: Tier) -> None:
    reach = POLICY.fast_reach if tier is Tier.LOCAL_FAST else POLICY.local_reach
    just_past = scorers.quality(a_request(complexity=reach + 1e-9), a_candidate(tier=tier), POLICY)
    assert just_past == pytest.approx(scorers.BEYOND_REACH[tier])
    assert just_past < min(scorers.CLOUD_QUALITY.values())


def test_a_reach_of_one_covers_every_complexity() -> None:
    policy = a_policy(fast_reach=1.0, local_reach=1.0)
    assert scorers.quality(a_request(complexity=1.0), a_candidate(tier=Tier.LOCAL_FAST), policy) == 1.0


@pytest.mark.parametrize(("limit", "expected"), [(None, 200), (50, 50), (200, 200), (5000, 200)])
def test_the_expected_answer_is_the_callers_limit_or_the_typical_length(limit: int | None, expected: int) -> None:
    assert scorers.expected_output_tokens(a_request(max_output_tokens=limit), POLICY) == expected


def test_a_free_candidate_costs_nothing_and_the_dearest_scores_zero() -> None:
    cheap, dear = (
        a_price(input_usd_per_mtok=1, output_usd_per_mtok=2),
        a_price(input_usd_per_mtok=4, output_usd_per_mtok=8),
    )
    candidates = [
        a_candidate(tier=Tier.CLOUD_ENHANCED, upstream=an_upstream(id=name, place=CLOUD, price=price))
        for name, price in (("free", FREE), ("cheap", cheap), ("dear", dear))
    ]
    assert scorers.costs(a_request(), candidates, POLICY) == pytest.approx([1.0, 0.75, 0.0])


def test_among_free_candidates_nobody_is_dear() -> None:
    candidates = [a_candidate(upstream=an_upstream(id=name, price=FREE)) for name in "ab"]
    assert scorers.costs(a_request(), candidates, POLICY) == [1.0, 1.0]


def test_no_candidates_have_no_costs_and_no_latencies() -> None:
    assert scorers.costs(a_request(), [], POLICY) == []
    assert scorers.latencies(a_request(), [], a_snapshot(), POLICY) == []


def test_cost_counts_the_prompt_and_the_expected_answer() -> None:
    """Input-heavy against output-heavy: which is dearer turns with the length of the prompt."""
    reads = an_upstream(id="reads", place=CLOUD, price=a_price(input_usd_per_mtok=1, output_usd_per_mtok=10))
    writes = an_upstream(id="writes", place=CLOUD, price=a_price(input_usd_per_mtok=10, output_usd_per_mtok=1))
    candidates = [a_candidate(tier=Tier.CLOUD_ENHANCED, upstream=upstream) for upstream in (reads, writes)]
    short = scorers.costs(a_request(num_prompt_tokens=1), candidates, POLICY)
    long = scorers.costs(a_request(num_prompt_tokens=5000), candidates, POLICY)
    assert short[0] < short[1]
    assert long[0] > long[1]


def test_the_quickest_scores_one_and_twice_as_long_scores_a_half() -> None:
    quick = an_upstream(id="quick", expected_ttft_s=1.0, expected_tokens_per_s=100.0)
    slow = an_upstream(id="slow", expected_ttft_s=2.0, expected_tokens_per_s=50.0)
    candidates = [a_candidate(upstream=upstream) for upstream in (quick, slow)]
    assert scorers.latencies(a_request(), candidates, a_snapshot(), POLICY) == pytest.approx([1.0, 0.5])


def test_an_observed_ttft_stands_in_for_the_expected_one() -> None:
    upstreams = [an_upstream(id=name, expected_ttft_s=1.0, expected_tokens_per_s=100.0) for name in ("seen", "unseen")]
    candidates = [a_candidate(upstream=upstream) for upstream in upstreams]
    snapshot = a_snapshot(*candidates, states={"seen": UpstreamState(ttft_s=7.0)})
    assert scorers.latencies(a_request(), candidates, snapshot, POLICY) == pytest.approx([3 / 9, 1.0])


def test_candidates_that_take_no_time_at_all_score_one() -> None:
    instant = a_candidate(upstream=an_upstream(expected_ttft_s=0.0, expected_tokens_per_s=float("inf")))
    assert scorers.latencies(a_request(), [instant], a_snapshot(), POLICY) == [1.0]


@pytest.mark.parametrize(("num_in_flight", "expected"), [(0, 1.0), (2, 0.75), (8, 0.0), (9, 0.0)])
def test_load_falls_from_idle_to_full_and_no_further(num_in_flight: int, expected: float) -> None:
    candidate = a_candidate(upstream=an_upstream(id="m", max_in_flight=8))
    snapshot = a_snapshot(candidate, states={"m": UpstreamState(num_in_flight=num_in_flight)})
    assert scorers.load(candidate, snapshot) == pytest.approx(expected)
