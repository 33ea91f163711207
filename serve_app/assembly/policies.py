"""From settings to objects: what a gateway is made of without Ray. Router, CLI and tests all build it here."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

from serve_app.accounting.memory_ledger import Bounds, MemoryLedger
from serve_app.accounting.outbox import LedgerOutbox
from serve_app.admission.tenants import TenantDirectory, key_digest
from serve_app.classification.artefact import CALIBRATION_NAME, DEFAULT_ARTEFACT_DIR, read_model
from serve_app.classification.calibration import Calibration
from serve_app.classification.guarded import FallbackCause, TimeLimitedClassifier
from serve_app.classification.scorer import OnnxScorer
from serve_app.contracts.assessment import Classifier
from serve_app.contracts.attempt import Attempt
from serve_app.contracts.chat import Dialect
from serve_app.contracts.fleet import Candidate, Price, UpstreamSpec
from serve_app.contracts.ledger import Ledger
from serve_app.contracts.tenant import Tenant
from serve_app.contracts.upstream import Upstream
from serve_app.contracts.vocabulary import LOCAL, Place
from serve_app.dialects.chat import ChatDialect
from serve_app.dialects.completions import CompletionsDialect
from serve_app.dialects.embeddings import EmbeddingsDialect
from serve_app.dialects.responses.dialect import ResponsesDialect
from serve_app.http_api.app import Gateway
from serve_app.pipeline.dispatch import Dispatcher
from serve_app.pipeline.prepare import Preparation
from serve_app.privacy.residency import ResidencyPolicy
from serve_app.routing.policy import RoutingPolicy, Weights
from serve_app.settings.load import LoadedSettings
from serve_app.telemetry.metrics import Metrics
from serve_app.upstreams.fleet import Fleet
from serve_app.upstreams.openai_http import Endpoint, OpenAIHttpUpstream

DIALECTS: Mapping[str, Dialect] = {
    "/v1/chat/completions": ChatDialect(),
    "/v1/completions": CompletionsDialect(),
    "/v1/responses": ResponsesDialect(),
    "/v1/embeddings": EmbeddingsDialect(),
}

FLUSH_LIMIT_S = 5.0

Background = Callable[[], AbstractAsyncContextManager[None]]


def candidates(loaded: LoadedSettings) -> tuple[Candidate, ...]:
    """Every active upstream in each of its tiers, in configured order."""
    specs = {upstream_id: _spec(loaded, upstream_id) for upstream_id in loaded.active_upstreams}
    tiers = loaded.tree.tiers
    return tuple(
        Candidate(tier, specs[upstream_id], tiers[tier].deadline_s, tiers[tier].max_output_tokens)
        for tier, upstream_id in loaded.tier_upstreams()
    )


def _spec(loaded: LoadedSettings, upstream_id: str) -> UpstreamSpec:
    settings = loaded.active_upstreams[upstream_id]
    provider = None if settings.provider is None else loaded.tree.providers[settings.provider]
    return UpstreamSpec(
        id=upstream_id,
        model=settings.model,
        place=LOCAL if provider is None else Place(provider.place),
        context_window=settings.context_window,
        capabilities=settings.capabilities,
        price=Price(settings.price.input_usd_per_mtok, settings.price.output_usd_per_mtok),
        expected_ttft_s=settings.expected_ttft_s,
        expected_tokens_per_s=settings.expected_tokens_per_s,
        max_in_flight=settings.max_in_flight,
        domains=settings.domains,
        length_field=settings.length_field,
    )


def routing_policy(loaded: LoadedSettings) -> RoutingPolicy:
    """Shares become thresholds here; raises CalibrationMismatch when the calibration is of another model."""
    routing, artefact_dir = loaded.tree.routing, _artefact_dir(loaded)
    path = artefact_dir / CALIBRATION_NAME if routing.calibration is None else loaded.resolve_path(routing.calibration)
    manifest, _ = read_model(artefact_dir)
    calibration = Calibration.load(path, manifest.onnx_sha256)
    weights = routing.weights
    return RoutingPolicy(
        fast_reach=calibration.threshold_for_share(routing.fast_share),
        local_reach=calibration.threshold_for_share(routing.target_local_share),
        weights=Weights(weights.quality, weights.cost, weights.latency, weights.load),
        typical_output_tokens=routing.typical_output_tokens,
    )


def classifier(loaded: LoadedSettings, metrics: Metrics | None = None) -> TimeLimitedClassifier:
    """Owns a thread: `aclose()` it."""
    observer = None if metrics is None else _HeuristicObserver(metrics)
    scorer = OnnxScorer(_artefact_dir(loaded))
    return TimeLimitedClassifier(scorer, loaded.tree.classifier.time_limit_s, observer=observer)


class _HeuristicObserver:
    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def on_fallback(self, cause: FallbackCause) -> None:
        self._metrics.record_heuristic(cause.value)


def _artefact_dir(loaded: LoadedSettings) -> Path:
    artefact = loaded.tree.classifier.artefact
    return DEFAULT_ARTEFACT_DIR if artefact is None else loaded.resolve_path(artefact)


def residency_policy(loaded: LoadedSettings) -> ResidencyPolicy:
    return ResidencyPolicy(loaded.tree.privacy.places)


def provider(loaded: LoadedSettings, provider_id: str) -> OpenAIHttpUpstream:
    """Reads the provider's secret, so it runs where the provider is called; raises MissingSecret."""
    settings = loaded.tree.providers[provider_id]
    key = None if settings.api_key is None else loaded.secret(settings.api_key).get_secret_value()
    return OpenAIHttpUpstream(
        Endpoint(
            base_url=settings.base_url,
            place=Place(settings.place),
            api_key=key,
            connect_timeout_s=settings.connect_timeout_s,
            idle_timeout_s=settings.idle_timeout_s,
            max_connections=settings.max_connections,
            max_event_bytes=loaded.tree.limits.max_event_bytes,
            max_answer_bytes=loaded.tree.limits.max_answer_bytes,
        )
    )


def memory_ledger(loaded: LoadedSettings) -> MemoryLedger:
    ledger = loaded.tree.ledger
    return MemoryLedger(
        Bounds(
            max_attempts=ledger.max_attempts,
            max_idempotency_keys=ledger.max_idempotency_keys,
            max_kept_answer_bytes=ledger.max_kept_answer_bytes,
            max_kept_bytes=ledger.max_kept_bytes,
            idempotency_ttl_s=ledger.idempotency_ttl_s,
        )
    )


def tenant_directory(loaded: LoadedSettings) -> TenantDirectory:
    """Reads every tenant's key and keeps its digest alone; raises MissingSecret."""
    return TenantDirectory(
        (
            key_digest(loaded.secret(settings.key).get_secret_value()),
            Tenant(tenant_id, settings.tiers, settings.places, settings.default_data_class),
        )
        for tenant_id, settings in loaded.tree.tenants.items()
    )


def gateway(
    loaded: LoadedSettings,
    upstreams: Mapping[str, Upstream],
    assessor: Classifier,
    ledger: Ledger,
    *,
    metrics: Metrics,
) -> tuple[Gateway, Background]:
    """A gateway over the given ports, and the background work that must run while it serves."""
    limits = loaded.tree.limits
    fleet = Fleet(candidates(loaded), upstreams)
    outbox = LedgerOutbox(ledger, loaded.tree.ledger.max_queued_attempts)

    def record(attempt: Attempt) -> None:
        metrics.record_attempt(attempt)
        outbox.put(attempt)

    parts = Gateway(
        directory=tenant_directory(loaded),
        preparation=Preparation(
            fleet, assessor, routing_policy(loaded), residency_policy(loaded), retry_after_s=limits.retry_after_s
        ),
        dispatcher=Dispatcher(
            fleet, record, max_precommit_bytes=limits.max_precommit_bytes, retry_after_s=limits.retry_after_s
        ),
        fleet=fleet,
        ledger=ledger,
        metrics=metrics,
        dialects=DIALECTS,
        max_body_bytes=limits.max_body_bytes,
        max_json_depth=limits.max_json_depth,
        max_kept_answer_bytes=loaded.tree.ledger.max_kept_answer_bytes,
    )
    return parts, lambda: _background(fleet, outbox, loaded.tree.router.probe_interval_s)


@asynccontextmanager
async def _background(fleet: Fleet, outbox: LedgerOutbox, probe_interval_s: float) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as tasks:
        running = [
            tasks.create_task(outbox.run()),
            tasks.create_task(fleet.keep_probing(probe_interval_s)),
        ]
        yield
        for task in running:
            task.cancel()
    await outbox.flush(FLUSH_LIMIT_S)
