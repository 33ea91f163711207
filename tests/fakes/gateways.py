"""A gateway over scripted upstreams, in this process: two tenants, one local upstream and two in the cloud."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson
from starlette.applications import Starlette

from serve_app.accounting.budget import BudgetKeeper
from serve_app.accounting.idempotency import Bounds
from serve_app.admission.gate import AdmissionGate
from serve_app.admission.saturation import Saturation
from serve_app.admission.tenants import TenantDirectory, key_digest
from serve_app.assembly.gateway import DIALECTS
from serve_app.contracts.assessment import Assessment, Turn
from serve_app.contracts.attempt import Attempt
from serve_app.contracts.ledger import Ledger
from serve_app.contracts.tenant import Budget, Quota, Tenant
from serve_app.contracts.vocabulary import LOCAL, Capability, DataClass, Domain, ScoredBy, Tier
from serve_app.http_api.app import create_app
from serve_app.http_api.gateway import Gateway, HttpLimits
from serve_app.pipeline.committed import PrecommitBounds
from serve_app.pipeline.dispatch import Dispatcher, DispatchPolicy
from serve_app.pipeline.prepare import Preparation
from serve_app.privacy.residency import ResidencyPolicy
from serve_app.routing.policy import RoutingPolicy, Weights
from serve_app.telemetry.metrics import Metrics
from serve_app.upstreams.fleet import Fleet
from tests.fakes.asgi import Answer, ask
from tests.fakes.chunks import WHOLE_STREAM, completion
from tests.fakes.dispatching import CLOUD, NO_HEDGING, PLACES, breakers_of, candidate_of
from tests.fakes.ledgers import MemoryLedger
from tests.fakes.upstreams import Script, ScriptedUpstream
from tests.fakes.wallets import FakeWallet

KEY = "uc-everything"
LOCAL_KEY = "uc-local-only"
LIMITED_KEY = "uc-limited"
LIMITED = Tenant(
    "limited",
    frozenset(Tier),
    PLACES,
    DataClass.PUBLIC,
    quota=Quota(requests_per_window=3, tokens_per_window=5000, window_s=60.0, max_concurrent=2),
    budget=Budget(day_usd=0.01),
)
RETRY_AFTER_S = 5.0
MAX_BODY_BYTES = 10_000
MAX_KEPT_ANSWER_BYTES = 2_000
EASY, HARD = 0.1, 0.9
LEDGER_BOUNDS = Bounds(
    max_idempotency_keys=100,
    max_kept_answer_bytes=MAX_KEPT_ANSWER_BYTES,
    max_kept_bytes=10_000_000,
    idempotency_ttl_s=3600.0,
    running_lease_s=60.0,
)

TENANTS = (
    (key_digest(LIMITED_KEY), LIMITED),
    (key_digest(KEY), Tenant("everything", frozenset(Tier), PLACES, DataClass.PUBLIC)),
    (
        key_digest(LOCAL_KEY),
        Tenant("local-only", frozenset({Tier.LOCAL_FAST, Tier.LOCAL_STANDARD}), frozenset({LOCAL}), DataClass.PERSONAL),
    ),
)
CANDIDATES = (
    candidate_of("local", tier=Tier.LOCAL_FAST, capabilities=frozenset({Capability.CHAT}), context_window=1000),
    candidate_of("local", tier=Tier.LOCAL_STANDARD, capabilities=frozenset({Capability.CHAT}), context_window=1000),
    candidate_of("cloud", tier=Tier.CLOUD_ENHANCED, context_window=2000),
    candidate_of("fallback", tier=Tier.CLOUD_FALLBACK, context_window=2000),
)


class FixedClassifier:
    """Says the same of every conversation."""

    def __init__(self, complexity: float) -> None:
        self.complexity = complexity

    async def assess(self, turns: Sequence[Turn]) -> Assessment:
        return Assessment(self.complexity, Domain.KNOWLEDGE, 1.0, ScoredBy.MODEL, 0.0)


def a_ledger() -> MemoryLedger:
    return MemoryLedger(LEDGER_BOUNDS)


@dataclass
class Stage:
    """`attempts` are the settled ones, whatever the ledger is."""

    local: ScriptedUpstream
    cloud: ScriptedUpstream
    fallback: ScriptedUpstream
    classifier: FixedClassifier
    ledger: Ledger
    attempts: list[Attempt] = field(default_factory=list)
    metrics: Metrics = field(default_factory=Metrics)
    wallet: FakeWallet = field(default_factory=FakeWallet)
    keep_alive_s: float = 15.0
    is_draining: bool = False

    def __post_init__(self) -> None:
        upstreams = {"local": self.local, "cloud": self.cloud, "fallback": self.fallback}
        self.fleet = Fleet(CANDIDATES, upstreams, breakers_of(upstreams))
        self.saturation = Saturation(16, 0.5, 0.75)
        self.app: Starlette = create_app(self._gateway(), _nothing)

    def _gateway(self) -> Gateway:
        routing = RoutingPolicy(0.3, 0.6, Weights(0.7, 0.15, 0.1, 0.05), typical_output_tokens=256)
        residency = ResidencyPolicy(
            {
                DataClass.PUBLIC: PLACES,
                DataClass.PERSONAL: frozenset({LOCAL, CLOUD}),
                DataClass.CONFIDENTIAL: frozenset({LOCAL}),
            }
        )
        budgets = BudgetKeeper(self.wallet, Budget())
        policy = DispatchPolicy(
            spill_after_s=0.05, local_wait_s=0.1, hedging=NO_HEDGING, precommit=PrecommitBounds(4096, 64)
        )
        return Gateway(
            directory=TenantDirectory(TENANTS),
            gate=AdmissionGate(self.wallet, self.saturation),
            preparation=Preparation(
                self.fleet, self.classifier, routing, residency, budgets, retry_after_s=RETRY_AFTER_S
            ),
            dispatcher=Dispatcher(self.fleet, self, budgets, policy),
            fleet=self.fleet,
            ledger=self.ledger,
            metrics=self.metrics,
            dialects=DIALECTS,
            limits=HttpLimits(
                max_body_bytes=MAX_BODY_BYTES,
                max_json_depth=16,
                max_kept_answer_bytes=MAX_KEPT_ANSWER_BYTES,
                keep_alive_s=self.keep_alive_s,
                typical_output_tokens=256,
            ),
            is_draining=lambda: self.is_draining,
        )

    def open(self, attempt: Attempt) -> None:
        """With `settle`, the AttemptSink port."""

    def settle(self, attempt: Attempt) -> None:
        self.attempts.append(attempt)
        self.metrics.record_attempt(attempt)

    @property
    def upstreams(self) -> tuple[ScriptedUpstream, ...]:
        return self.local, self.cloud, self.fallback

    @property
    def num_in_flight(self) -> int:
        return sum(state.num_in_flight for state in self.fleet.snapshot().states.values())

    async def post(self, path: str, body: object, **headers: str) -> Answer:
        raw = body if isinstance(body, bytes) else orjson.dumps(body)
        return await ask(self.app, "POST", path, headers=named(headers), parts=[raw])

    async def chat(self, headers: Mapping[str, str] | None = None, **body: Any) -> Answer:
        raw = orjson.dumps(chat_body(**body))
        return await ask(self.app, "POST", "/v1/chat/completions", headers={**AUTH, **(headers or {})}, parts=[raw])

    async def get(self, path: str, **headers: str) -> Answer:
        return await ask(self.app, "GET", path, headers=named(headers))


AUTH = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}


def named(headers: Mapping[str, str]) -> dict[str, str]:
    """Keyword names as header names, over a valid key."""
    return {**AUTH, **{name.replace("_", "-"): value for name, value in headers.items()}}


def chat_body(**fields: Any) -> dict[str, Any]:
    return {"model": "auto", "messages": [{"role": "user", "content": "hi"}], **fields}


def stage_of(
    *,
    local: Script | None = None,
    cloud: Script | None = None,
    fallback: Script | None = None,
    complexity: float = EASY,
    is_streaming: bool = False,
    ledger: Ledger | None = None,
) -> Stage:
    """An upstream without a script gives a whole answer, or a whole stream."""
    usual: Script = WHOLE_STREAM if is_streaming else [completion("Hello")]
    upstreams = [ScriptedUpstream(usual if script is None else script) for script in (local, cloud, fallback)]
    return Stage(upstreams[0], upstreams[1], upstreams[2], FixedClassifier(complexity), ledger or a_ledger())


@asynccontextmanager
async def _nothing() -> AsyncIterator[None]:
    yield
