"""Serve handles as the ports of what all routers share: ledger, tenants, allowances, breakers, classifier.

Invariant: nothing here makes a request wait longer than its time limit for an owner that does not answer.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from ray.serve.handle import DeploymentHandle

from deployments.handles import TROUBLES, answer_of, cause_of
from serve_app.classification.guarded import FallbackCause
from serve_app.classification.heuristic import assess_by_heuristic
from serve_app.contracts.allowance import Balance, Order
from serve_app.contracts.assessment import Assessment, Turn
from serve_app.contracts.attempt import Attempt
from serve_app.contracts.breaker import BreakerEvent, BreakerView
from serve_app.contracts.ledger import Claim, StoredAnswer
from serve_app.contracts.tenant import StoredKey
from serve_app.contracts.vocabulary import ScoredBy
from serve_app.errors import GatewayError, SharedStateUnavailable
from serve_app.telemetry.metrics import Metrics

RETRY_AFTER_S = 1.0
CLAIM_LIMIT_S = 10.0
"""A request with an Idempotency-Key cannot go on without its claim, so it waits out a restart of the owner."""


class HandleClassifier:
    """Implements the Classifier port; the heuristic answers, counted, while the deployment cannot or takes too long."""

    def __init__(self, handle: DeploymentHandle[Any], time_limit_s: float, metrics: Metrics) -> None:
        self._handle, self._time_limit_s, self._metrics = handle, time_limit_s, metrics

    async def assess(self, turns: Sequence[Turn]) -> Assessment:
        started = time.monotonic()
        try:
            async with asyncio.timeout(self._time_limit_s):
                assessment: Assessment = await answer_of(self._handle.assess.remote(turns))
        except TimeoutError:
            cause = FallbackCause.TIMED_OUT
        except TROUBLES:
            cause = FallbackCause.FAILED
        else:
            if assessment.scored_by is ScoredBy.HEURISTIC:
                self._metrics.record_heuristic("at_the_classifier")
            return assessment
        self._metrics.record_heuristic(cause.value)
        return assess_by_heuristic(turns, elapsed_s=time.monotonic() - started)


class HandleLedger:
    """Implements the Ledger port. `time_limit_s` is for what no request waits for."""

    def __init__(
        self, handle: DeploymentHandle[Any], time_limit_s: float, claim_limit_s: float = CLAIM_LIMIT_S
    ) -> None:
        self._handle, self._time_limit_s, self._claim_limit_s = handle, time_limit_s, claim_limit_s

    async def record(self, attempts: Sequence[Attempt]) -> None:
        await _asked(self._handle.record.remote(attempts), self._time_limit_s)

    async def claim(self, tenant_id: str, key: str, body_digest: bytes) -> Claim:
        claim: Claim = await _asked(self._handle.claim.remote(tenant_id, key, body_digest), self._claim_limit_s)
        return claim

    async def keep_answer(self, tenant_id: str, key: str, body_digest: bytes, answer: StoredAnswer | None) -> None:
        await _asked(self._handle.keep_answer.remote(tenant_id, key, body_digest, answer), self._time_limit_s)


class HandleTenants:
    """Implements the TenantSource port."""

    def __init__(self, handle: DeploymentHandle[Any], time_limit_s: float) -> None:
        self._handle, self._time_limit_s = handle, time_limit_s

    async def tenants_version(self) -> int | None:
        version: int | None = await _asked(self._handle.tenants_version.remote(), self._time_limit_s)
        return version

    async def tenants(self) -> tuple[int | None, Sequence[StoredKey]]:
        found: tuple[int | None, Sequence[StoredKey]] = await _asked(self._handle.tenants.remote(), self._time_limit_s)
        return found


class HandleAllowances:
    """Implements the Allowances port."""

    def __init__(self, handle: DeploymentHandle[Any], time_limit_s: float) -> None:
        self._handle, self._time_limit_s = handle, time_limit_s

    async def trade(self, holder: str, lease_s: float, orders: Sequence[Order]) -> Sequence[Balance]:
        answer = self._handle.trade.remote(holder, lease_s, orders)
        balances: Sequence[Balance] = await _asked(answer, self._time_limit_s)
        return balances


class HandleBreakerBoard:
    """Implements the BreakerBoard port."""

    def __init__(self, handle: DeploymentHandle[Any], time_limit_s: float) -> None:
        self._handle, self._time_limit_s = handle, time_limit_s

    async def report(self, holder: str, events: Sequence[BreakerEvent]) -> Sequence[BreakerView]:
        views: Sequence[BreakerView] = await _asked(self._handle.report.remote(holder, events), self._time_limit_s)
        return views

    async def try_probe(self, holder: str, upstream_id: str) -> bool:
        may: bool = await _asked(self._handle.try_probe.remote(holder, upstream_id), self._time_limit_s)
        return may


async def _asked(response: Any, time_limit_s: float) -> Any:
    """Raises SharedStateUnavailable, or the owner's own error as it was."""
    try:
        async with asyncio.timeout(time_limit_s):
            return await answer_of(response)
    except GatewayError as error:
        raise cause_of(error) from None
    except (*TROUBLES, TimeoutError):
        raise SharedStateUnavailable(RETRY_AFTER_S) from None
