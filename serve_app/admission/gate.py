"""May this request enter: first the gateway's own capacity, then the tenant's requests at once, requests and tokens.

Invariants: what was taken before a later limit refused is given back; each admission gives back once. A tenant without
a quota costs a count up and a count down, and never waits.

| the owner of the shared counters | concurrency, requests and tokens | capacity |
| --- | --- | --- |
| answers, or this router's own part suffices | shared: the sum over all routers holds | this router's own |
| is away | fail open: each router alone enforces the tenant's whole limit, counted from when it went | the same |
| is back | shared again; what was taken alone ends alone and is never told to the owner | the same |

Counting alone, a restart of the counters' owner costs a tenant nothing, and n routers together admit at most n times
its limit. Money is not counted here, and fails closed.

A request estimated at more tokens than the window holds is not refused for ever: it takes the whole window, so it must
find all of it free. Most of such an estimate is usually the longest answer that the tier allows, which few answers use.
What it really used is settled in the end, also beyond the window, and then holds up the requests after it.
"""

import time
from collections.abc import Callable
from typing import NamedTuple

from serve_app.admission.local_limits import LocalLimits
from serve_app.admission.quota import concurrency_meter, limit_headers, refill_s, request_meter, token_meter
from serve_app.admission.saturation import Saturation
from serve_app.contracts.allowance import Balance, Meter, Wallet
from serve_app.contracts.tenant import Tenant
from serve_app.errors import LimitReached, SharedStateUnavailable


class _Held(NamedTuple):
    """What was taken of one meter, and from whom."""

    wallet: Wallet
    meter: Meter
    amount: int


class Admission:
    """One request's stay. It ends with the first `close` or `withdraw`; whatever comes after does nothing."""

    __slots__ = ("_entered_at", "_is_over", "_saturation", "_tenant", "concurrency", "is_alone", "requests", "tokens")

    def __init__(self, tenant: Tenant, saturation: Saturation) -> None:
        """Raises GatewaySaturated. `is_alone`: while it was admitted, the owner of the counters was away."""
        self._entered_at = saturation.enter(tenant.priority)
        self._tenant, self._saturation = tenant, saturation
        self._is_over = False
        self.is_alone = False
        self.concurrency: _Held | None = None
        self.requests: _Held | None = None
        self.tokens: _Held | None = None

    def close(self, num_tokens_used: int | None) -> None:
        """The request ended. None: nobody knows what it used, so all that was taken counts as used.

        A request that reached no upstream used 0 tokens. It counts as a request all the same.
        """
        self._end(is_counted=True, num_tokens_used=num_tokens_used)

    def withdraw(self) -> None:
        """The request never entered: everything is given back."""
        self._end(is_counted=False, num_tokens_used=0)

    def headers(self) -> dict[str, str]:
        """`x-ratelimit-*` as OpenAI sends them, for those limits that the tenant has."""
        return limit_headers(self._tenant, self)

    def balance(self, meter: Meter) -> Balance | None:
        """As whoever gave this request its part says; None for what it took nothing of."""
        for held in (self.concurrency, self.requests, self.tokens):
            if held is not None and held.meter == meter:
                return held.wallet.balance(meter)
        return None

    def _end(self, *, is_counted: bool, num_tokens_used: int | None) -> None:
        if self._is_over:
            return
        self._is_over = True
        self._saturation.leave(self._entered_at)
        _settle(self.concurrency, 0)
        _settle(self.requests, 1 if is_counted else 0)
        _settle(self.tokens, num_tokens_used)


def _settle(held: _Held | None, used: int | None) -> None:
    if held is not None:
        held.wallet.settle(held.meter, taken=held.amount, used=held.amount if used is None else used)


class AdmissionGate:
    """Admits requests against the shared wallet, or against limits of its own while nobody answers for the wallet."""

    def __init__(
        self,
        wallet: Wallet,
        saturation: Saturation,
        *,
        retry_floor_s: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`retry_floor_s`: the shortest wait that a refusal names."""
        self._wallet, self._saturation = wallet, saturation
        self._local = LocalLimits(clock)
        self._retry_floor_s = retry_floor_s
        self._is_alone = False

    async def admit(self, tenant: Tenant, *, num_tokens: int) -> Admission:
        """`num_tokens`: the prompt's estimate and the longest answer together.

        Raises GatewaySaturated, or LimitReached `too_many_concurrent` or `rate_limited`.
        """
        admission = Admission(tenant, self._saturation)
        try:
            await self._take_concurrency(tenant, admission)
            await self._take_request(tenant, admission)
            await self._take_tokens(tenant, admission, num_tokens)
        except BaseException:
            admission.withdraw()
            raise
        return admission

    def balance(self, meter: Meter) -> Balance | None:
        """As the latest limit was enforced: by the wallet, or by this router alone."""
        return (self._local if self._is_alone else self._wallet).balance(meter)

    async def _take_concurrency(self, tenant: Tenant, admission: Admission) -> None:
        meter = concurrency_meter(tenant)
        if meter is None:
            return
        admission.concurrency = await self._take(meter, 1, admission)
        if admission.concurrency is None:
            sentence = f"Too many requests at once: {meter.capacity} may be in progress."
            wait_s = self._saturation.wait_s(1, of=meter.capacity)
            raise LimitReached("too_many_concurrent", sentence, max(wait_s, self._retry_floor_s))

    async def _take_request(self, tenant: Tenant, admission: Admission) -> None:
        meter = request_meter(tenant)
        if meter is None:
            return
        admission.requests = await self._take(meter, 1, admission)
        if admission.requests is None:
            sentence = f"Rate limit reached: {meter.capacity} requests in {tenant.quota.window_s:g} seconds."
            raise LimitReached("rate_limited", sentence, self._refill_s(meter, 1))

    async def _take_tokens(self, tenant: Tenant, admission: Admission, num_tokens: int) -> None:
        meter = token_meter(tenant)
        if meter is None:
            return
        amount = max(1, min(num_tokens, meter.capacity))
        admission.tokens = await self._take(meter, amount, admission)
        if admission.tokens is None:
            sentence = (
                f"Rate limit reached: {meter.capacity} tokens in {tenant.quota.window_s:g} seconds, "
                f"and prompt and answer may come to {num_tokens}."
            )
            raise LimitReached("rate_limited", sentence, self._refill_s(meter, amount))

    async def _take(self, meter: Meter, amount: int, admission: Admission) -> _Held | None:
        """None when it is not to be had. A request asks an owner that is away only once."""
        if not admission.is_alone:
            try:
                is_taken = await self._wallet.take(meter, amount)
            except SharedStateUnavailable:
                admission.is_alone = self._is_alone = True
            else:
                self._is_alone = False
                return _Held(self._wallet, meter, amount) if is_taken else None
        return _Held(self._local, meter, amount) if await self._local.take(meter, amount) else None

    def _refill_s(self, meter: Meter, amount: int) -> float:
        balance = self.balance(meter)
        wait_s = 0.0 if balance is None else refill_s(meter, balance, amount)
        return max(wait_s, self._retry_floor_s)
