"""From an envelope and a call to a decision, or to the one error that says why there is none."""

import time
from dataclasses import replace
from typing import Any

import pytest

from serve_app.accounting.budget import BudgetKeeper
from serve_app.contracts.breaker import BreakerEvent
from serve_app.contracts.request import Envelope
from serve_app.contracts.tenant import Budget, Tenant
from serve_app.contracts.vocabulary import LOCAL, Alias, Capability, DataClass, Reason, Tier
from serve_app.errors import (
    CapacityError,
    DeadlineExceeded,
    GatewayError,
    LimitReached,
    LocalUnavailable,
    PolicyRefusal,
    UnknownModel,
    UpstreamCold,
)
from serve_app.pipeline.prepare import UNSCORED, Preparation, Prepared
from serve_app.pipeline.trail import Trail
from serve_app.privacy.residency import ResidencyPolicy
from serve_app.routing.policy import RoutingPolicy
from serve_app.upstreams.fleet import Fleet
from tests.fakes.builders import a_tenant, some_weights
from tests.fakes.dispatching import CLOUD, PLACES, breakers_of, call_of, candidate_of
from tests.fakes.gateways import FixedClassifier
from tests.fakes.upstreams import ScriptedUpstream
from tests.fakes.wallets import FakeWallet

CANDIDATES = (
    candidate_of("home", tier=Tier.LOCAL_FAST, deadline_s=3.0, context_window=100),
    candidate_of("cloud", tier=Tier.CLOUD_ENHANCED, deadline_s=9.0),
)
RETRY_AFTER_S = 4.0


class Scene:
    def __init__(self, complexity: float = 0.9, tenant: Tenant | None = None) -> None:
        upstreams = {name: ScriptedUpstream() for name in ("home", "cloud")}
        self.fleet = Fleet(CANDIDATES, upstreams, breakers_of(upstreams))
        self.wallet = FakeWallet()
        self.tenant = tenant or a_tenant()
        residency = ResidencyPolicy(
            {DataClass.PUBLIC: PLACES, DataClass.PERSONAL: PLACES, DataClass.CONFIDENTIAL: frozenset({LOCAL})}
        )
        self.preparation = Preparation(
            self.fleet,
            FixedClassifier(complexity),
            RoutingPolicy(0.3, 0.6, some_weights(), typical_output_tokens=256),
            residency,
            BudgetKeeper(self.wallet, Budget()),
            retry_after_s=RETRY_AFTER_S,
        )
        self.trail = Trail("r-1", 0.0)

    async def prepare(self, wanted: str = "auto", **envelope: Any) -> Prepared:
        needs = envelope.pop("needs", frozenset({Capability.CHAT}))
        num_prompt_tokens = envelope.pop("num_prompt_tokens", 10)
        call = replace(call_of(needs=needs, num_prompt_tokens=num_prompt_tokens), wanted_model=wanted)
        fields: dict[str, Any] = {"data_class": None, "wanted_tier": None, "deadline_s": None, "traceparent": None}
        made = Envelope(
            **{**fields, "request_id": "r-1", "tenant": self.tenant, "arrived_at": time.monotonic(), **envelope}
        )
        return await self.preparation.prepare(made, call, self.trail)

    async def refused(self, wanted: str = "auto", **envelope: Any) -> GatewayError:
        with pytest.raises(GatewayError) as caught:
            await self.prepare(wanted, **envelope)
        return caught.value


def over_budget() -> Tenant:
    return replace(a_tenant(), budget=Budget(day_usd=0.0))


async def test_what_was_decided_is_told_to_the_trail_and_keeps_whose_request_it_is() -> None:
    scene = Scene()
    prepared = await scene.prepare(traceparent="t")
    assert prepared.decision.chosen == CANDIDATES[1]
    assert (prepared.tenant, prepared.traceparent) == (scene.tenant, "t")
    assert scene.trail.decision is prepared.decision
    assert scene.trail.assessment is not None
    assert prepared.facts.data_class is DataClass.PERSONAL


@pytest.mark.parametrize(
    ("wanted_s", "complexity", "left_s"), [(None, 0.9, 9.0), (None, 0.1, 3.0), (2.0, 0.9, 2.0), (2000.0, 0.1, 9.0)]
)
async def test_the_deadline_is_the_tiers_or_the_callers_within_the_most_patient_tiers(
    wanted_s: float | None, complexity: float, left_s: float
) -> None:
    prepared = await Scene(complexity).prepare(deadline_s=wanted_s)
    assert prepared.deadline.remaining_s() == pytest.approx(left_s, abs=0.2)


@pytest.mark.parametrize(
    ("tenants_s", "callers_s", "left_s"), [(1.0, None, 1.0), (1.0, 4.0, 4.0), (4.0, 1.0, 1.0), (2000.0, None, 9.0)]
)
async def test_the_tenants_deadline_holds_where_the_caller_names_none(
    tenants_s: float, callers_s: float | None, left_s: float
) -> None:
    prepared = await Scene(0.9, replace(a_tenant(), deadline_s=tenants_s)).prepare(deadline_s=callers_s)
    assert prepared.deadline.remaining_s() == pytest.approx(left_s, abs=0.2)


async def test_a_deadline_counts_from_the_arrival() -> None:
    error = await Scene().refused(deadline_s=1.0, arrived_at=time.monotonic() - 1.5)
    assert isinstance(error, DeadlineExceeded)


async def test_without_a_prompt_to_score_nobody_is_asked_for_a_score() -> None:
    scene = Scene()
    await scene.prepare(needs=frozenset({Capability.EMBEDDINGS}))
    assert scene.trail.assessment is UNSCORED
    assert scene.trail.classify_s == 0.0


async def test_an_unknown_model_is_refused() -> None:
    assert isinstance(await Scene().refused("gpt-99"), UnknownModel)


async def test_a_known_model_is_taken_by_name() -> None:
    for name in ("home", "home-model"):
        assert (await Scene().prepare(name)).decision.reason is Reason.PINNED_MODEL


async def test_a_tier_outside_the_tenants_is_refused() -> None:
    error = await Scene(tenant=a_tenant(allowed_tiers=[Tier.LOCAL_FAST])).refused(wanted_tier=Tier.CLOUD_ENHANCED)
    assert (type(error), error.code) == (PolicyRefusal, "tier_forbidden")


async def test_a_wished_tier_that_the_data_may_not_reach_is_refused_and_a_wish_without_a_seat_is_not() -> None:
    error = await Scene().refused(wanted_tier=Tier.CLOUD_ENHANCED, data_class=DataClass.CONFIDENTIAL)
    assert (type(error), error.code) == (PolicyRefusal, "residency_forbidden")
    prepared = await Scene().prepare(wanted_tier=Tier.CLOUD_FALLBACK, data_class=DataClass.CONFIDENTIAL)
    assert prepared.decision.chosen == CANDIDATES[0]
    assert (await Scene().prepare(wanted_tier=Tier.LOCAL_FAST)).decision.reason is Reason.PINNED_TIER


async def test_without_money_home_serves_and_says_why() -> None:
    prepared = await Scene(tenant=over_budget()).prepare()
    assert prepared.facts.is_over_budget
    assert (prepared.decision.chosen, prepared.decision.reason) == (CANDIDATES[0], Reason.OVER_BUDGET)


@pytest.mark.parametrize("wanted", ["cloud", "cloud-model"])
async def test_without_money_a_request_that_only_the_cloud_could_answer_is_a_429(wanted: str) -> None:
    error = await Scene(tenant=over_budget()).refused(wanted)
    assert isinstance(error, LimitReached)
    assert (error.status_code, error.code, error.error_type) == (429, "budget_exhausted", "policy_refusal")
    assert error.retry_after_s


async def test_an_open_circuit_says_when_it_may_be_tried_again() -> None:
    scene = Scene()
    scene.fleet.saw(BreakerEvent("cloud", is_success=False, trips=True, open_for_s=40.0))
    error = await scene.refused("cloud")
    assert type(error) is CapacityError
    assert error.retry_after_s == pytest.approx(40.0, abs=1.0)
    assert (await scene.prepare()).decision.chosen == CANDIDATES[0]


async def test_an_open_circuit_at_home_is_local_unavailable_for_data_that_must_stay() -> None:
    scene = Scene()
    scene.fleet.saw(BreakerEvent("home", is_success=False, trips=True, open_for_s=40.0))
    error = await scene.refused(data_class=DataClass.CONFIDENTIAL)
    assert type(error) is LocalUnavailable
    assert error.retry_after_s == pytest.approx(40.0, abs=1.0)


async def test_a_home_that_starts_is_still_a_candidate_for_data_that_must_stay_and_for_nobody_else() -> None:
    scene = Scene(complexity=0.1)
    scene.fleet.saw_failure("home", UpstreamCold("home", "not_up"))
    staying = await scene.prepare(data_class=DataClass.CONFIDENTIAL)
    assert staying.decision.chosen == CANDIDATES[0]
    assert (await scene.prepare()).decision.chosen == CANDIDATES[1]
    assert (await scene.prepare(Alias.LOCAL.value)).decision.chosen == CANDIDATES[0]


async def test_nobody_at_hand_is_a_lack_of_capacity() -> None:
    scene = Scene()
    for name in ("home", "cloud"):
        scene.fleet.saw_failure(name, UpstreamCold(name, "not_up"))
    error = await scene.refused()
    assert (type(error), error.retry_after_s) == (CapacityError, RETRY_AFTER_S)


async def test_places_only_narrow() -> None:
    prepared = await Scene(tenant=a_tenant(allowed_places=[LOCAL])).prepare(data_class=DataClass.PUBLIC)
    assert prepared.decision.allowed_places == {LOCAL}
    assert CLOUD not in prepared.facts.allowed_places
