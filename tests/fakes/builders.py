"""The nouns of `contracts` with a default for everything, so that a test names only what it is about."""

from collections.abc import Iterable, Mapping

from serve_app.contracts.attempt import Attempt, Usage
from serve_app.contracts.decision import Decision, Dropped, Refusal, Scored
from serve_app.contracts.fleet import Candidate, FleetSnapshot, Price, UpstreamSpec, UpstreamState
from serve_app.contracts.ledger import StoredAnswer
from serve_app.contracts.request import RequestFacts
from serve_app.contracts.tenant import Tenant
from serve_app.contracts.vocabulary import (
    LOCAL,
    Alias,
    Capability,
    DataClass,
    Domain,
    DropReason,
    Outcome,
    Place,
    Reason,
    Tier,
)
from serve_app.routing.policy import RoutingPolicy, Weights

CLOUD = Place("cloud")
ALL_TIERS = frozenset(Tier)
EVERYWHERE = frozenset({LOCAL, CLOUD})


class FakeClock:
    """Seconds that pass when a test says so."""

    def __init__(self, now_s: float = 1000.0) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s

    def advance(self, seconds: float) -> None:
        self.now_s += seconds


def a_price(*, input_usd_per_mtok: float = 1.0, output_usd_per_mtok: float = 2.0) -> Price:
    return Price(input_usd_per_mtok, output_usd_per_mtok)


def an_upstream(
    *,
    id: str = "mistral-7b",  # noqa: A002 - the field's own name
    model: str | None = None,
    place: Place = LOCAL,
    context_window: int = 8192,
    capabilities: Iterable[Capability] = (Capability.CHAT,),
    price: Price | None = None,
    expected_ttft_s: float = 0.2,
    expected_tokens_per_s: float = 50.0,
    max_in_flight: int = 8,
    domains: Iterable[Domain] = (),
) -> UpstreamSpec:
    """`model` is `id`-model, and a local upstream is free, unless said otherwise."""
    free_at_home = a_price(input_usd_per_mtok=0.0, output_usd_per_mtok=0.0) if place == LOCAL else a_price()
    return UpstreamSpec(
        id=id,
        model=f"{id}-model" if model is None else model,
        place=place,
        context_window=context_window,
        capabilities=frozenset(capabilities),
        price=free_at_home if price is None else price,
        expected_ttft_s=expected_ttft_s,
        expected_tokens_per_s=expected_tokens_per_s,
        max_in_flight=max_in_flight,
        domains=frozenset(domains),
    )


def a_candidate(
    *,
    tier: Tier = Tier.LOCAL_FAST,
    upstream: UpstreamSpec | None = None,
    deadline_s: float = 30.0,
    max_output_tokens: int = 1024,
) -> Candidate:
    """Without an upstream: one that fits the tier, named after it."""
    if upstream is None:
        upstream = an_upstream(id=tier.name.lower(), place=LOCAL if tier.is_local else CLOUD)
    return Candidate(tier, upstream, deadline_s, max_output_tokens)


def a_snapshot(*candidates: Candidate, states: Mapping[str, UpstreamState] | None = None) -> FleetSnapshot:
    """Without candidates: one for every tier. Upstreams without a state are idle and available."""
    return FleetSnapshot(candidates or tuple(a_candidate(tier=tier) for tier in Tier), states or {})


def a_request(
    *,
    request_id: str = "req-1",
    tenant_id: str = "acme",
    data_class: DataClass = DataClass.PUBLIC,
    allowed_places: Iterable[Place] = EVERYWHERE,
    allowed_tiers: Iterable[Tier] = ALL_TIERS,
    wanted: Alias | str = Alias.AUTO,
    wanted_tier: Tier | None = None,
    complexity: float = 0.1,
    domain: Domain = Domain.KNOWLEDGE,
    num_prompt_tokens: int = 100,
    max_output_tokens: int | None = None,
    needs: Iterable[Capability] = (Capability.CHAT,),
    remaining_s: float = 30.0,
) -> RequestFacts:
    return RequestFacts(
        request_id=request_id,
        tenant_id=tenant_id,
        data_class=data_class,
        allowed_places=frozenset(allowed_places),
        allowed_tiers=frozenset(allowed_tiers),
        wanted=wanted,
        wanted_tier=wanted_tier,
        complexity=complexity,
        domain=domain,
        num_prompt_tokens=num_prompt_tokens,
        max_output_tokens=max_output_tokens,
        needs=frozenset(needs),
        remaining_s=remaining_s,
    )


def some_weights(*, quality: float = 0.7, cost: float = 0.15, latency: float = 0.1, load: float = 0.05) -> Weights:
    return Weights(quality, cost, latency, load)


def a_policy(
    *,
    fast_reach: float = 0.2,
    local_reach: float = 0.5,
    weights: Weights | None = None,
    typical_output_tokens: int = 256,
) -> RoutingPolicy:
    return RoutingPolicy(fast_reach, local_reach, weights or some_weights(), typical_output_tokens)


def a_decision(
    *candidates: Candidate,
    reason: Reason = Reason.SIMPLE,
    allowed_places: Iterable[Place] = EVERYWHERE,
    dropped: tuple[Dropped, ...] = (),
) -> Decision:
    """The candidates in order of preference; without any, one of LOCAL_FAST."""
    ranked = tuple(Scored(candidate, 1.0, {}) for candidate in candidates or (a_candidate(),))
    return Decision(ranked, dropped, reason, frozenset(allowed_places))


def a_refusal(
    *,
    reason: DropReason = DropReason.UNAVAILABLE,
    dropped: tuple[Dropped, ...] = (),
    is_local_only: bool = False,
) -> Refusal:
    return Refusal(reason, dropped, is_local_only)


def a_tenant(
    *,
    id: str = "acme",  # noqa: A002 - the field's own name
    allowed_tiers: Iterable[Tier] = ALL_TIERS,
    allowed_places: Iterable[Place] = EVERYWHERE,
    default_data_class: DataClass = DataClass.PERSONAL,
) -> Tenant:
    return Tenant(id, frozenset(allowed_tiers), frozenset(allowed_places), default_data_class)


def an_attempt(
    *,
    id: str = "00000000000000000000000000000001",  # noqa: A002 - the field's own name
    request_id: str = "req-1",
    number: int = 1,
    tenant_id: str = "acme",
    tier: Tier = Tier.LOCAL_FAST,
    upstream_id: str = "mistral-7b",
    model: str = "mistral-7b-model",
    place: Place = LOCAL,
    reason: Reason = Reason.SIMPLE,
    data_class: DataClass = DataClass.PUBLIC,
    num_input_tokens: int = 10,
    num_output_tokens: int = 20,
    is_estimated: bool = False,
    cost_usd: float = 0.5,
    outcome: Outcome = Outcome.COMPLETED,
    error_code: str | None = None,
    started_at_unix_s: float = 1.0,
    elapsed_s: float = 0.5,
    ttft_s: float | None = 0.1,
) -> Attempt:
    return Attempt(
        id=id,
        request_id=request_id,
        number=number,
        tenant_id=tenant_id,
        tier=tier,
        upstream_id=upstream_id,
        model=model,
        place=place,
        reason=reason,
        data_class=data_class,
        usage=Usage(num_input_tokens, num_output_tokens, is_estimated),
        cost_usd=cost_usd,
        outcome=outcome,
        error_code=error_code,
        started_at_unix_s=started_at_unix_s,
        elapsed_s=elapsed_s,
        ttft_s=ttft_s,
    )


def an_answer(
    *,
    status_code: int = 200,
    media_type: str = "application/json",
    headers: tuple[tuple[str, str], ...] = (),
    body: bytes = b"{}",
) -> StoredAnswer:
    return StoredAnswer(status_code, media_type, headers, body)
