"""Each filter on its own, and the order in which they speak."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from serve_app.contracts.fleet import UpstreamState
from serve_app.contracts.vocabulary import LOCAL, Alias, Capability, Circuit, Domain, DropReason, Place, Tier
from serve_app.routing import filters
from serve_app.routing.filters import FILTERS, Filter, first_reason
from tests.fakes.builders import CLOUD, a_candidate, a_request, an_upstream

LOCAL_ID = {"id": "mistral-7b", "model": "mistralai/Mistral-7B"}
AT_HOME: dict[str, Any] = {**LOCAL_ID, "place": LOCAL}
OUTSIDE: dict[str, Any] = {"id": "gpt-5", "model": "openai/gpt-5", "place": CLOUD}
CODER: dict[str, Any] = {"id": "coder", "place": CLOUD, "domains": [Domain.CODING]}
SPECIAL = Tier.CLOUD_SPECIALIZED


@pytest.mark.parametrize(
    ("wanted", "upstream", "reason"),
    [
        (Alias.AUTO, AT_HOME, None),
        (Alias.AUTO, OUTSIDE, None),
        (Alias.LOCAL, AT_HOME, None),
        (Alias.LOCAL, OUTSIDE, DropReason.NOT_ASKED_FOR),
        (Alias.CLOUD, AT_HOME, DropReason.NOT_ASKED_FOR),
        (Alias.CLOUD, OUTSIDE, None),
        ("openai/gpt-5", OUTSIDE, None),
        ("gpt-5", OUTSIDE, None),
        ("gpt-5", AT_HOME, DropReason.NOT_ASKED_FOR),
        ("GPT-5", OUTSIDE, DropReason.NOT_ASKED_FOR),
        ("auto", OUTSIDE, DropReason.NOT_ASKED_FOR),
    ],
)
def test_what_was_not_asked_for_is_dropped(
    wanted: Alias | str, upstream: Mapping[str, Any], reason: DropReason | None
) -> None:
    candidate = a_candidate(tier=Tier.CLOUD_ENHANCED, upstream=an_upstream(**upstream))
    assert filters.asked_for(a_request(wanted=wanted), candidate, UpstreamState()) is reason


@pytest.mark.parametrize(
    ("tier", "request_", "reason"),
    [
        (SPECIAL, {"domain": Domain.CODING}, None),
        (SPECIAL, {"domain": Domain.MATH}, DropReason.NO_SPECIALIST),
        (SPECIAL, {"domain": Domain.MATH, "wanted": Alias.CLOUD}, DropReason.NO_SPECIALIST),
        (SPECIAL, {"domain": Domain.MATH, "wanted": "coder"}, None),
        (SPECIAL, {"domain": Domain.MATH, "wanted_tier": SPECIAL}, None),
        (SPECIAL, {"domain": Domain.MATH, "wanted_tier": Tier.LOCAL_FAST}, DropReason.NO_SPECIALIST),
        (Tier.CLOUD_ENHANCED, {"domain": Domain.MATH}, None),
    ],
)
def test_a_specialist_serves_its_own_domains_or_whoever_names_it(
    tier: Tier, request_: Mapping[str, Any], reason: DropReason | None
) -> None:
    candidate = a_candidate(tier=tier, upstream=an_upstream(**CODER))
    assert filters.specialist(a_request(**request_), candidate, UpstreamState()) is reason


@pytest.mark.parametrize(
    ("may_serve", "request_", "upstream", "state", "reason"),
    [
        (filters.tenant_tier, {"allowed_tiers": [Tier.LOCAL_FAST]}, {}, {}, None),
        (filters.tenant_tier, {"allowed_tiers": [Tier.LOCAL_STANDARD]}, {}, {}, DropReason.TENANT_TIER),
        (filters.tenant_tier, {"allowed_tiers": []}, {}, {}, DropReason.TENANT_TIER),
        (filters.residency, {"allowed_places": [LOCAL]}, AT_HOME, {}, None),
        (filters.residency, {"allowed_places": [LOCAL]}, OUTSIDE, {}, DropReason.RESIDENCY),
        (filters.residency, {"allowed_places": [Place("cloud-eu")]}, OUTSIDE, {}, DropReason.RESIDENCY),
        (filters.residency, {"allowed_places": []}, AT_HOME, {}, DropReason.RESIDENCY),
        (filters.capability, {"needs": []}, {"capabilities": []}, {}, None),
        (filters.capability, {"needs": [Capability.CHAT]}, {"capabilities": list(Capability)}, {}, None),
        (
            filters.capability,
            {"needs": [Capability.CHAT, Capability.IMAGES]},
            {"capabilities": [Capability.CHAT]},
            {},
            DropReason.CAPABILITY,
        ),
        (filters.context_length, {"num_prompt_tokens": 99}, {"context_window": 100}, {}, None),
        (
            filters.context_length,
            {"num_prompt_tokens": 100},
            {"context_window": 100},
            {},
            DropReason.CONTEXT_LENGTH,
        ),
        (filters.availability, {}, {}, {"is_available": True}, None),
        (filters.availability, {}, {}, {"is_available": False}, DropReason.UNAVAILABLE),
        (filters.availability, {"allowed_places": [LOCAL]}, AT_HOME, {"is_available": False}, None),
        (filters.availability, {"wanted": Alias.LOCAL}, AT_HOME, {"is_available": False}, None),
        (filters.availability, {"wanted": "mistral-7b"}, AT_HOME, {"is_available": False}, None),
        (filters.availability, {"wanted": "gpt-5"}, OUTSIDE, {"is_available": False}, DropReason.UNAVAILABLE),
        (filters.availability, {"wanted": Alias.CLOUD}, OUTSIDE, {"is_available": False}, DropReason.UNAVAILABLE),
        (filters.circuit, {}, {}, {"circuit": Circuit.CLOSED}, None),
        (filters.circuit, {}, {}, {"circuit": Circuit.HALF_OPEN}, None),
        (filters.circuit, {}, {}, {"circuit": Circuit.OPEN}, DropReason.CIRCUIT_OPEN),
        (filters.budget, {}, OUTSIDE, {}, None),
        (filters.deadline, {"remaining_s": 1.0}, {"expected_ttft_s": 0.9}, {}, None),
        (filters.deadline, {"remaining_s": 1.0}, {"expected_ttft_s": 1.0}, {}, DropReason.DEADLINE),
        (filters.deadline, {"remaining_s": 0.0}, {"expected_ttft_s": 0.1}, {}, DropReason.DEADLINE),
        (filters.deadline, {"remaining_s": 1.0}, {"expected_ttft_s": 0.1}, {"ttft_s": 2.0}, DropReason.DEADLINE),
        (filters.deadline, {"remaining_s": 1.0}, {"expected_ttft_s": 9.0}, {"ttft_s": 0.5}, None),
        (filters.deadline, {"remaining_s": 1.0}, {"expected_ttft_s": 9.0}, {"ttft_s": 0.0}, None),
    ],
)
def test_a_filter_drops_for_its_own_reason_alone(
    may_serve: Filter,
    request_: Mapping[str, Any],
    upstream: Mapping[str, Any],
    state: Mapping[str, Any],
    reason: DropReason | None,
) -> None:
    candidate = a_candidate(upstream=an_upstream(**upstream))
    assert may_serve(a_request(**request_), candidate, UpstreamState(**state)) is reason


@pytest.mark.parametrize(("upstream", "reason"), [(AT_HOME, None), (OUTSIDE, DropReason.BUDGET)])
def test_without_money_only_what_is_outside_is_dropped(upstream: Mapping[str, Any], reason: DropReason | None) -> None:
    request = replace(a_request(), is_over_budget=True)
    assert filters.budget(request, a_candidate(upstream=an_upstream(**upstream)), UpstreamState()) is reason


def test_every_filter_runs_and_a_fitting_candidate_passes_them_all() -> None:
    assert len(FILTERS) == 10
    assert first_reason(a_request(), a_candidate(), UpstreamState()) is None


def test_the_first_filter_that_drops_gives_the_reason_and_its_position() -> None:
    request = a_request(needs=[Capability.TOOLS], remaining_s=0.0)
    assert first_reason(request, a_candidate(), UpstreamState(is_available=False)) == (4, DropReason.CAPABILITY)


GOOD: dict[str, Any] = {"domain": Domain.CODING, "num_prompt_tokens": 9, "remaining_s": 10.0}
FAULTS: list[tuple[DropReason, dict[str, Any]]] = [
    (DropReason.NOT_ASKED_FOR, {"wanted": Alias.LOCAL}),
    (DropReason.NO_SPECIALIST, {"domain": Domain.MATH}),
    (DropReason.TENANT_TIER, {"allowed_tiers": []}),
    (DropReason.RESIDENCY, {"allowed_places": []}),
    (DropReason.CAPABILITY, {"needs": [Capability.TOOLS]}),
    (DropReason.CONTEXT_LENGTH, {"num_prompt_tokens": 10}),
    (DropReason.BUDGET, {}),
    (DropReason.UNAVAILABLE, {}),
    (DropReason.CIRCUIT_OPEN, {}),
    (DropReason.DEADLINE, {"remaining_s": 1.0}),
]


@pytest.mark.parametrize("position", range(len(FAULTS)))
def test_of_several_faults_the_most_lasting_one_is_named(position: int) -> None:
    remaining = FAULTS[position:]
    request = replace(
        a_request(**(GOOD | {name: value for _, fault in remaining for name, value in fault.items()})),
        is_over_budget=DropReason.BUDGET in dict(remaining),
    )
    state = UpstreamState(
        is_available=DropReason.UNAVAILABLE not in dict(remaining),
        circuit=Circuit.OPEN if DropReason.CIRCUIT_OPEN in dict(remaining) else Circuit.CLOSED,
    )
    candidate = a_candidate(tier=SPECIAL, upstream=an_upstream(**CODER, context_window=10, expected_ttft_s=9.0))
    assert first_reason(request, candidate, state) == (position, FAULTS[position][0])


def test_each_reason_but_the_repeated_upstream_has_its_filter() -> None:
    assert {reason for reason, _ in FAULTS} == set(DropReason) - {DropReason.SAME_UPSTREAM}
