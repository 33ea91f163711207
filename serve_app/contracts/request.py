"""What the gateway knows of a request when it decides."""

from dataclasses import dataclass

from serve_app.contracts.tenant import Tenant
from serve_app.contracts.vocabulary import Alias, Capability, DataClass, Domain, Place, Tier


@dataclass(frozen=True, slots=True)
class RequestFacts:
    """Everything `decide` may look at; none of it is the prompt.

    `allowed_places` is computed once, by the privacy package, and only ever narrowed.
    `wanted` is an alias or the id of one upstream's model. `remaining_s` is what the deadline leaves.
    `num_prompt_tokens` is an estimate; `max_output_tokens` is None where the caller set no limit.
    `is_over_budget`: nothing is left to spend outside the cluster.
    """

    request_id: str
    tenant_id: str
    data_class: DataClass
    allowed_places: frozenset[Place]
    allowed_tiers: frozenset[Tier]
    wanted: Alias | str
    wanted_tier: Tier | None
    complexity: float
    domain: Domain
    num_prompt_tokens: int
    max_output_tokens: int | None
    needs: frozenset[Capability]
    remaining_s: float
    is_over_budget: bool = False


@dataclass(frozen=True, slots=True)
class Envelope:
    """Everything of a request but its body. `arrived_at` is on the monotonic clock, in seconds.

    `data_class`, `wanted_tier` and `deadline_s` are None where the caller said nothing.
    """

    request_id: str
    tenant: Tenant
    data_class: DataClass | None
    wanted_tier: Tier | None
    deadline_s: float | None
    traceparent: str | None
    arrived_at: float
