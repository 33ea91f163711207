"""One router's gateway: the ports it is given, put together, and the background work that goes with them."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from serve_app.accounting.budget import BudgetKeeper
from serve_app.accounting.journal import AttemptJournal
from serve_app.accounting.outbox import LedgerOutbox
from serve_app.admission.gate import AdmissionGate
from serve_app.admission.saturation import Saturation
from serve_app.admission.tenants import TenantDirectory, key_digest
from serve_app.admission.wallet import PooledWallet
from serve_app.assembly import policies
from serve_app.assembly.following import follow_tenants
from serve_app.assembly.shared import SharedPorts
from serve_app.contracts.assessment import Classifier
from serve_app.contracts.attempt import Attempt
from serve_app.contracts.chat import Dialect
from serve_app.contracts.upstream import Upstream
from serve_app.dialects.chat import ChatDialect
from serve_app.dialects.completions import CompletionsDialect
from serve_app.dialects.embeddings import EmbeddingsDialect
from serve_app.dialects.responses.dialect import ResponsesDialect
from serve_app.http_api.gateway import Gateway, HttpLimits
from serve_app.pipeline.dispatch import Dispatcher
from serve_app.pipeline.prepare import Preparation
from serve_app.resilience.mirror import BreakerMirror
from serve_app.settings.load import LoadedSettings
from serve_app.telemetry.metrics import Metrics
from serve_app.upstreams.fleet import Fleet

DIALECTS: Mapping[str, Dialect] = {
    "/v1/chat/completions": ChatDialect(),
    "/v1/completions": CompletionsDialect(),
    "/v1/responses": ResponsesDialect(),
    "/v1/embeddings": EmbeddingsDialect(),
}

FLUSH_LIMIT_S = 5.0
WATCH_EVERY_S = 1.0

Background = Callable[[], AbstractAsyncContextManager[None]]


def gateway(
    loaded: LoadedSettings,
    upstreams: Mapping[str, Upstream],
    assessor: Classifier,
    shared: SharedPorts,
    *,
    metrics: Metrics,
    is_draining: Callable[[], bool] = lambda: False,
) -> tuple[Gateway, Background]:
    """A gateway over the given ports, and the background work that must run while it serves."""
    tree = loaded.tree
    holder = f"router-{secrets.token_hex(8)}"
    admission = tree.admission
    wallet = PooledWallet(
        shared.allowances,
        holder,
        lease_s=admission.lease_s,
        sync_interval_s=admission.sync_interval_s,
        timeout_s=tree.shared_state.timeout_s,
    )
    breakers = BreakerMirror(
        shared.board,
        holder,
        policy=policies.breaker_policy(loaded),
        upstream_ids=loaded.active_upstreams,
        sync_interval_s=admission.sync_interval_s,
    )
    fleet = Fleet(policies.candidates(loaded), upstreams, breakers)
    budgets = BudgetKeeper(wallet, policies.budget(tree.budget))
    outbox = LedgerOutbox(shared.ledger, _journal(loaded), tree.ledger.max_queued_attempts)
    directory = tenant_directory(loaded)
    parts = Gateway(
        directory=directory,
        gate=AdmissionGate(wallet, _saturation(loaded)),
        preparation=Preparation(
            fleet,
            assessor,
            policies.routing_policy(loaded),
            policies.residency_policy(loaded),
            budgets,
            retry_after_s=tree.limits.retry_after_s,
        ),
        dispatcher=Dispatcher(fleet, _CountedSink(outbox, metrics), budgets, policies.dispatch_policy(loaded)),
        fleet=fleet,
        ledger=shared.ledger,
        metrics=metrics,
        dialects=DIALECTS,
        limits=_http_limits(loaded),
        is_draining=is_draining,
    )
    loops = (
        lambda: fleet.run(tree.router.probe_interval_s),
        breakers.run,
        wallet.run,
        lambda: follow_tenants(shared.tenants, directory),
        lambda: _watch_outbox(outbox, metrics),
    )
    return parts, lambda: _background(loops, wallet, outbox)


def tenant_directory(loaded: LoadedSettings) -> TenantDirectory:
    """Reads every configured tenant's key and keeps its digest alone; raises MissingSecret."""
    return TenantDirectory(
        (key_digest(loaded.secret(settings.key).get_secret_value()), policies.tenant(tenant_id, settings))
        for tenant_id, settings in loaded.tree.tenants.items()
    )


class _CountedSink:
    """Implements AttemptSink: metrics beside the ledger."""

    def __init__(self, outbox: LedgerOutbox, metrics: Metrics) -> None:
        self._outbox, self._metrics = outbox, metrics

    def open(self, attempt: Attempt) -> None:
        self._outbox.open(attempt)

    def settle(self, attempt: Attempt) -> None:
        self._metrics.record_attempt(attempt)
        self._outbox.settle(attempt)


def _journal(loaded: LoadedSettings) -> AttemptJournal:
    journal = loaded.tree.ledger.journal
    return AttemptJournal(
        loaded.resolve_path(loaded.tree.state_folder) / "journal",
        max_bytes=journal.max_bytes,
        max_segment_bytes=journal.max_segment_bytes,
    )


def _saturation(loaded: LoadedSettings) -> Saturation:
    admission = loaded.tree.admission
    return Saturation(
        loaded.tree.router.scaling.max_ongoing_requests, admission.shed_low_above, admission.shed_normal_above
    )


def _http_limits(loaded: LoadedSettings) -> HttpLimits:
    tree = loaded.tree
    return HttpLimits(
        max_body_bytes=tree.limits.max_body_bytes,
        max_json_depth=tree.limits.max_json_depth,
        max_kept_answer_bytes=tree.ledger.max_kept_answer_bytes,
        keep_alive_s=tree.limits.keep_alive_s,
        typical_output_tokens=tree.routing.typical_output_tokens,
    )


async def _watch_outbox(outbox: LedgerOutbox, metrics: Metrics) -> None:
    while True:
        metrics.record_outbox(
            num_queued=outbox.num_queued,
            num_lost=outbox.num_lost,
            num_journal_bytes=outbox.num_journal_bytes,
            is_journal_writable=outbox.is_journal_writable,
        )
        await asyncio.sleep(WATCH_EVERY_S)


@asynccontextmanager
async def _background(
    loops: Sequence[Callable[[], Coroutine[Any, Any, None]]], wallet: PooledWallet, outbox: LedgerOutbox
) -> AsyncIterator[None]:
    """The outbox ends last: what the other loops settle on their way out still reaches it."""
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(outbox.run()), *(tasks.create_task(loop()) for loop in loops)]
        yield
        for task in running:
            task.cancel()
    await wallet.close()
    await outbox.flush(FLUSH_LIMIT_S)
    outbox.close()
