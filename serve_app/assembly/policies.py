"""From settings to values: candidates, policies, tenants."""

from pathlib import Path

from serve_app.classification.artefact import CALIBRATION_NAME, DEFAULT_ARTEFACT_DIR, read_model
from serve_app.classification.calibration import Calibration
from serve_app.contracts.fleet import Candidate, Price, TimeLimits, UpstreamSpec
from serve_app.contracts.tenant import Budget, Quota, Tenant
from serve_app.contracts.vocabulary import LOCAL, Place
from serve_app.pipeline.committed import PrecommitBounds
from serve_app.pipeline.dispatch import DispatchPolicy
from serve_app.privacy.residency import ResidencyPolicy
from serve_app.resilience.breaker import BreakerPolicy
from serve_app.resilience.hedging import HedgePolicy
from serve_app.routing.policy import RoutingPolicy, Weights
from serve_app.settings.load import LoadedSettings
from serve_app.settings.schema import BudgetSettings, TenantSettings


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
        time_limits=TimeLimits(
            first_token_s=settings.time_limits.first_token_s,
            gap_s=settings.time_limits.gap_s,
            min_tokens_per_s=settings.time_limits.min_tokens_per_s,
            throughput_window_s=settings.time_limits.throughput_window_s,
        ),
        expected_cold_start_s=settings.expected_cold_start_s,
        scales_to_zero=settings.local is not None and settings.local.scaling.min_replicas == 0,
    )


def routing_policy(loaded: LoadedSettings) -> RoutingPolicy:
    """Shares become thresholds here; raises CalibrationMismatch when the calibration is of another model."""
    routing, folder = loaded.tree.routing, artefact_dir(loaded)
    path = folder / CALIBRATION_NAME if routing.calibration is None else loaded.resolve_path(routing.calibration)
    manifest, _ = read_model(folder)
    calibration = Calibration.load(path, manifest.onnx_sha256)
    weights = routing.weights
    return RoutingPolicy(
        fast_reach=calibration.threshold_for_share(routing.fast_share),
        local_reach=calibration.threshold_for_share(routing.target_local_share),
        weights=Weights(weights.quality, weights.cost, weights.latency, weights.load),
        typical_output_tokens=routing.typical_output_tokens,
    )


def residency_policy(loaded: LoadedSettings) -> ResidencyPolicy:
    return ResidencyPolicy(loaded.tree.privacy.places)


def artefact_dir(loaded: LoadedSettings) -> Path:
    artefact = loaded.tree.classifier.artefact
    return DEFAULT_ARTEFACT_DIR if artefact is None else loaded.resolve_path(artefact)


def breaker_policy(loaded: LoadedSettings) -> BreakerPolicy:
    breaker = loaded.tree.resilience.breaker
    return BreakerPolicy(
        failure_threshold=breaker.failure_threshold,
        open_for_s=breaker.open_for_s,
        max_open_for_s=breaker.max_open_for_s,
        probe_lease_s=breaker.probe_lease_s,
    )


def dispatch_policy(loaded: LoadedSettings) -> DispatchPolicy:
    resilience, limits = loaded.tree.resilience, loaded.tree.limits
    hedging = resilience.hedging
    return DispatchPolicy(
        spill_after_s=resilience.spill_after_s,
        local_wait_s=resilience.local_wait_s,
        hedging=HedgePolicy(hedging.enabled, hedging.max_share, hedging.min_samples),
        precommit=PrecommitBounds(limits.max_precommit_bytes, limits.max_precommit_chunks),
    )


def budget(settings: BudgetSettings) -> Budget:
    return Budget(settings.day_usd, settings.month_usd)


def tenant(tenant_id: str, settings: TenantSettings) -> Tenant:
    quota = settings.quota
    return Tenant(
        id=tenant_id,
        allowed_tiers=settings.tiers,
        allowed_places=settings.places,
        default_data_class=settings.default_data_class,
        priority=settings.priority,
        quota=Quota(quota.requests_per_window, quota.tokens_per_window, quota.window_s, quota.max_concurrent),
        budget=budget(settings.budget),
        deadline_s=settings.deadline_s,
    )
