"""The ingress: every request enters here, and its tokens leave here."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from ray.serve.handle import DeploymentHandle
from starlette.applications import Starlette

from deployments.cloud_proxy import CloudProxy
from deployments.draining import is_draining
from deployments.handles import HandleUpstream, ReservingUpstream
from deployments.logs import log_with_serve
from deployments.shared_handles import (
    HandleAllowances,
    HandleBreakerBoard,
    HandleClassifier,
    HandleLedger,
    HandleTenants,
)
from serve_app.assembly import parts
from serve_app.assembly.gateway import gateway
from serve_app.assembly.shared import RedisCounters, SharedPorts, SharedState
from serve_app.classification.guarded import TimeLimitedClassifier
from serve_app.contracts.assessment import Classifier
from serve_app.contracts.upstream import Upstream
from serve_app.http_api.app import create_app
from serve_app.settings.load import LoadedSettings
from serve_app.telemetry.metrics import Metrics

RECORD_LIMIT_S = 10.0
"""For what no request waits for: longer than the ledger gives its database."""


class Router:
    """Puts the gateway together from handles and, where the settings say `inline`, from objects of its own process."""

    def __init__(
        self,
        loaded: LoadedSettings,
        models: Mapping[str, DeploymentHandle[Any]],
        proxies: Mapping[str, DeploymentHandle[Any]],
        classifier: DeploymentHandle[Any] | None,
        ledger: DeploymentHandle[Any] | None,
    ) -> None:
        """`models` by upstream id, `proxies` by provider id; None and absent providers run in this process."""
        log_with_serve()
        self._loaded = loaded
        self._metrics = Metrics()
        self._classifier: Classifier = (
            parts.classifier(loaded, self._metrics)
            if classifier is None
            else HandleClassifier(classifier, loaded.tree.classifier.time_limit_s, self._metrics)
        )
        self._inline = self._inline_proxies(proxies)
        self._state = SharedState(loaded) if ledger is None else None
        self._redis = None if ledger is None else RedisCounters.of(loaded)
        self._gateway, self._background = gateway(
            loaded,
            self._upstreams(models, proxies),
            self._classifier,
            self._shared(ledger),
            metrics=self._metrics,
            is_draining=is_draining,
        )

    def __serve_build_asgi_app__(self) -> Starlette:
        """The hook that `serve.ingress()` calls on a replica."""
        return create_app(self._gateway, self._lifespan)

    def _shared(self, ledger: DeploymentHandle[Any] | None) -> SharedPorts:
        """Counters and breakers are in Redis where one is configured; the ledger and the tenants never are."""
        if self._state is not None:
            return self._state.ports
        assert ledger is not None  # noqa: S101 - without one the state is ours
        limit_s = self._loaded.tree.shared_state.timeout_s
        return SharedPorts(
            ledger=HandleLedger(ledger, RECORD_LIMIT_S),
            tenants=HandleTenants(ledger, limit_s),
            allowances=HandleAllowances(ledger, limit_s) if self._redis is None else self._redis.allowances,
            board=HandleBreakerBoard(ledger, limit_s) if self._redis is None else self._redis.board,
        )

    def _inline_proxies(self, proxies: Mapping[str, DeploymentHandle[Any]]) -> dict[str, CloudProxy]:
        providers = {upstream.provider for upstream in self._loaded.active_upstreams.values() if upstream.provider}
        return {provider_id: CloudProxy(self._loaded, provider_id) for provider_id in providers - proxies.keys()}

    def _upstreams(
        self, models: Mapping[str, DeploymentHandle[Any]], proxies: Mapping[str, DeploymentHandle[Any]]
    ) -> dict[str, Upstream]:
        upstreams: dict[str, Upstream] = {}
        for upstream_id, settings in self._loaded.active_upstreams.items():
            if settings.provider is None:
                upstreams[upstream_id] = ReservingUpstream(models[upstream_id], upstream_id)
            elif settings.provider in self._inline:
                upstreams[upstream_id] = self._inline[settings.provider]
            else:
                upstreams[upstream_id] = HandleUpstream(proxies[settings.provider], upstream_id)
        return upstreams

    @asynccontextmanager
    async def _lifespan(self) -> AsyncIterator[None]:
        if self._state is not None:
            await self._state.start()
        async with self._background():
            yield
        if self._state is not None:
            await self._state.aclose()
        if self._redis is not None:
            await self._redis.aclose()
        for proxy in self._inline.values():
            await proxy.aclose()
        if isinstance(self._classifier, TimeLimitedClassifier):
            await self._classifier.aclose()
