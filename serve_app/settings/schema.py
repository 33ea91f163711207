"""The shape of a gateway's configuration file. configs/gateway.yaml explains every key with its unit and default."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, JsonValue, PlainSerializer, model_validator

from serve_app.contracts.vocabulary import LOCAL, Capability, DataClass, Domain, Place, Priority, Tier
from serve_app.settings.problems import did_you_mean
from serve_app.strict import StrictModel

Placement = Literal["deployment", "inline"]
# Strict: a quoted number or a yes is not a number, though pydantic would make one of it.
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False, strict=True)]
Share = Annotated[float, Field(ge=0, le=1, strict=True)]
Count = Annotated[int, Field(ge=1, strict=True)]
Usd = Annotated[float, Field(ge=0, allow_inf_nan=False, strict=True)]


def _tier_by_name(value: object) -> object:
    if isinstance(value, str) and value in Tier.__members__:
        return Tier[value]
    raise ValueError(f"not a tier{did_you_mean(str(value), Tier.__members__)}")


TierName = Annotated[Tier, BeforeValidator(_tier_by_name), PlainSerializer(lambda tier: tier.name)]
EnvironmentName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
"""So narrow that a secret pasted in the place of a variable's name is refused, and not repeated in a message."""
Identifier = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")]


class SecretRef(StrictModel):
    """Where a secret is: an environment variable, or a file beside the configuration. The first one found holds."""

    env: EnvironmentName | None = None
    file: Path | None = None

    @model_validator(mode="after")
    def _names_a_source(self) -> Self:
        if self.env is None and self.file is None:
            raise ValueError("name an environment variable (env) or a file (file)")
        return self


class Scaling(StrictModel):
    """How many replicas, and how much each may hold: together a stated, finite capacity."""

    min_replicas: Annotated[int, Field(ge=0)] = 1
    max_replicas: Count = 1
    max_ongoing_requests: Count = 64
    max_queued_requests: Count = 64
    num_cpus: Annotated[float, Field(ge=0)] = 0.1
    drain_s: Seconds = 130.0

    @property
    def capacity(self) -> int:
        """Requests that all replicas together hold at once, at most: in progress and waiting."""
        return self.max_replicas * (self.max_ongoing_requests + self.max_queued_requests)

    @model_validator(mode="after")
    def _is_ordered(self) -> Self:
        if self.min_replicas > self.max_replicas:
            raise ValueError("min_replicas is larger than max_replicas")
        return self


class RouterSettings(StrictModel):
    scaling: Scaling = Scaling()
    probe_interval_s: Seconds = 5.0


class LimitsSettings(StrictModel):
    max_body_bytes: Count = 10_000_000
    max_json_depth: Count = 64
    max_precommit_bytes: Count = 262_144
    max_precommit_chunks: Count = 256
    max_event_bytes: Count = 1_048_576
    max_answer_bytes: Count = 33_554_432
    retry_after_s: Seconds = 5.0
    keep_alive_s: Seconds = 15.0


class BreakerSettings(StrictModel):
    failure_threshold: Count = 5
    open_for_s: Seconds = 5.0
    max_open_for_s: Seconds = 300.0
    probe_lease_s: Seconds = 60.0


class HedgingSettings(StrictModel):
    enabled: bool = False
    max_share: Share = 0.03
    min_samples: Count = 20


class ResilienceSettings(StrictModel):
    breaker: BreakerSettings = BreakerSettings()
    hedging: HedgingSettings = HedgingSettings()
    spill_after_s: Seconds = 0.25
    local_wait_s: Seconds = 10.0


class AdmissionSettings(StrictModel):
    """Shares of a router's `max_ongoing_requests`. High priority may use all of it."""

    shed_low_above: Share = 0.75
    shed_normal_above: Share = 0.9
    sync_interval_s: Seconds = 0.25
    lease_s: Seconds = 5.0

    @model_validator(mode="after")
    def _is_ordered(self) -> Self:
        if self.shed_low_above > self.shed_normal_above:
            raise ValueError("shed_low_above is larger than shed_normal_above: the lowest priority is refused first")
        if self.lease_s < 4 * self.sync_interval_s:
            raise ValueError("lease_s must be at least four times sync_interval_s, or a busy router loses its part")
        return self


class SharedStateSettings(StrictModel):
    """Where counters and breakers are kept: in the ledger's process, or in Redis where its address is given."""

    redis: SecretRef | None = None
    timeout_s: Seconds = 0.5


class BudgetSettings(StrictModel):
    day_usd: Usd | None = None
    month_usd: Usd | None = None


class QuotaSettings(StrictModel):
    requests_per_window: Count | None = None
    tokens_per_window: Count | None = None
    window_s: Seconds = 60.0
    max_concurrent: Count | None = None


class ClassifierSettings(StrictModel):
    placement: Placement = "inline"
    artefact: Path | None = None
    time_limit_s: Seconds = 0.025
    scaling: Scaling = Scaling()


class JournalSettings(StrictModel):
    max_bytes: Count = 268_435_456
    max_segment_bytes: Count = 8_388_608


class LedgerSettings(StrictModel):
    """`database`: a SQLAlchemy address of PostgreSQL; without one, SQLite in the state folder."""

    placement: Placement = "deployment"
    database: SecretRef | None = None
    journal: JournalSettings = JournalSettings()
    max_queued_attempts: Count = 10_000
    max_idempotency_keys: Count = 10_000
    max_kept_answer_bytes: Count = 1_048_576
    max_kept_bytes: Count = 67_108_864
    idempotency_ttl_s: Seconds = 86_400.0


class WeightsSettings(StrictModel):
    """Quality must outweigh the rest, or price and speed could buy a tier past its reach."""

    quality: Annotated[float, Field(gt=0)] = 0.7
    cost: Annotated[float, Field(ge=0)] = 0.15
    latency: Annotated[float, Field(ge=0)] = 0.1
    load: Annotated[float, Field(ge=0)] = 0.05

    @model_validator(mode="after")
    def _quality_leads(self) -> Self:
        if self.quality < 2 * (self.cost + self.latency + self.load):
            raise ValueError("quality must be at least twice cost + latency + load, or the target share cannot hold")
        return self


class RoutingSettings(StrictModel):
    target_local_share: Share = 0.5
    fast_share: Share = 0.25
    calibration: Path | None = None
    typical_output_tokens: Count = 256
    weights: WeightsSettings = WeightsSettings()

    @model_validator(mode="after")
    def _fast_is_part_of_local(self) -> Self:
        if self.fast_share > self.target_local_share:
            raise ValueError("fast_share is a part of target_local_share and cannot be larger")
        return self


class PrivacySettings(StrictModel):
    places: dict[DataClass, frozenset[Place]]

    @model_validator(mode="after")
    def _confidential_stays(self) -> Self:
        for data_class in DataClass:
            if data_class not in self.places:
                raise ValueError(f"no places stated for '{data_class.value}'")
        if not self.places[DataClass.CONFIDENTIAL] <= {LOCAL}:
            raise ValueError("confidential data may only be allowed in 'local'")
        return self


class PriceSettings(StrictModel):
    input_usd_per_mtok: Annotated[float, Field(ge=0)]
    output_usd_per_mtok: Annotated[float, Field(ge=0)]


class ProviderSettings(StrictModel):
    """A cloud provider that speaks OpenAI's protocol. `optional`: without its secret it is left out, not an error."""

    base_url: Annotated[str, Field(pattern=r"^https?://[^\s/@]+(/[^\s@]*)?$")]
    place: Place
    api_key: SecretRef | None = None
    optional: bool = False
    placement: Placement = "deployment"
    connect_timeout_s: Seconds = 2.0
    idle_timeout_s: Seconds = 30.0
    max_connections: Count = 256
    scaling: Scaling = Scaling()
    resources: dict[str, float] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _is_outside(self) -> Self:
        if self.place == LOCAL:
            raise ValueError("a provider's place cannot be 'local': that name is for models inside the cluster")
        return self


class LocalModelSettings(StrictModel):
    """A model that vLLM serves inside the cluster. `engine` goes to vLLM as it stands.

    `folder` holds the weights (a relative one starts at the model cache), `manifest` their digests: a replica whose
    folder does not match its manifest does not start.
    """

    folder: Path
    manifest: Path
    accelerator: str
    bundles: Annotated[list[dict[str, float]], Field(min_length=1)]
    engine: dict[str, JsonValue] = Field(default_factory=dict)
    environment: dict[str, str] = Field(default_factory=dict)
    scaling: Scaling = Scaling()


class TimeLimitsSettings(StrictModel):
    """For one attempt, beside the request's deadline. A plain answer may take as long as the slowest stream may."""

    first_token_s: Seconds = 30.0
    gap_s: Seconds = 15.0
    min_tokens_per_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1.0
    throughput_window_s: Seconds = 10.0


class UpstreamSettings(StrictModel):
    """Either `provider` (cloud) or `local` (vLLM). `stands_in_for`: used only while that upstream has no secret."""

    provider: str | None = None
    local: LocalModelSettings | None = None
    model: Annotated[str, Field(min_length=1)]
    context_window: Count
    capabilities: frozenset[Capability] = frozenset({Capability.CHAT})
    domains: frozenset[Domain] = frozenset()
    price: PriceSettings
    expected_ttft_s: Seconds
    expected_tokens_per_s: Annotated[float, Field(gt=0)]
    max_in_flight: Count = 64
    length_field: Literal["max_completion_tokens", "max_tokens"] = "max_completion_tokens"
    stands_in_for: str | None = None
    time_limits: TimeLimitsSettings = TimeLimitsSettings()
    expected_cold_start_s: Seconds = 90.0

    @model_validator(mode="after")
    def _has_one_kind(self) -> Self:
        if (self.provider is None) == (self.local is None):
            raise ValueError("an upstream has either 'provider' or 'local'")
        return self


class TierSettings(StrictModel):
    upstreams: Annotated[list[str], Field(min_length=1)]
    deadline_s: Seconds
    max_output_tokens: Count


class TenantSettings(StrictModel):
    key: SecretRef
    tiers: frozenset[TierName] = frozenset(Tier)
    places: frozenset[Place]
    default_data_class: DataClass = DataClass.PERSONAL
    priority: Priority = Priority.NORMAL
    quota: QuotaSettings = QuotaSettings()
    budget: BudgetSettings = BudgetSettings()
    deadline_s: Seconds | None = None


class GatewaySettings(StrictModel):
    version: Literal[1]
    state_folder: Path
    router: RouterSettings = RouterSettings()
    limits: LimitsSettings = LimitsSettings()
    admission: AdmissionSettings = AdmissionSettings()
    resilience: ResilienceSettings = ResilienceSettings()
    shared_state: SharedStateSettings = SharedStateSettings()
    budget: BudgetSettings = BudgetSettings()
    classifier: ClassifierSettings = ClassifierSettings()
    ledger: LedgerSettings = LedgerSettings()
    routing: RoutingSettings = RoutingSettings()
    privacy: PrivacySettings
    providers: dict[Identifier, ProviderSettings] = Field(default_factory=dict)
    upstreams: Annotated[dict[Identifier, UpstreamSettings], Field(min_length=1)]
    tiers: Annotated[dict[TierName, TierSettings], Field(min_length=1)]
    tenants: Annotated[dict[Identifier, TenantSettings], Field(min_length=1)]

    @model_validator(mode="after")
    def _has_one_ledger(self) -> Self:
        if self.ledger.placement == "inline" and self.router.scaling.max_replicas > 1:
            raise ValueError(
                "with ledger.placement 'inline' each router would keep a ledger of its own: allow one router"
            )
        return self
