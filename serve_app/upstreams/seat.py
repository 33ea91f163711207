"""One upstream with its slots and its observations."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

from serve_app.contracts.fleet import UpstreamSpec
from serve_app.contracts.upstream import Upstream
from serve_app.contracts.vocabulary import LOCAL
from serve_app.errors import UpstreamCold, UpstreamFull
from serve_app.resilience.latency import LatencyWindow

log = logging.getLogger(__name__)

PAUSE_S = 1.0


class Seat:
    """`is_known` once anything was heard of it; until then it is tried. `num_in_flight` counts this router's own."""

    def __init__(self, spec: UpstreamSpec, upstream: Upstream, clock: Callable[[], float] = time.monotonic) -> None:
        self.spec, self.upstream, self._clock = spec, upstream, clock
        self.ttft, self.answer = LatencyWindow(clock=clock), LatencyWindow(clock=clock)
        self.num_in_flight = 0
        self.is_known = False
        self._slots = asyncio.Semaphore(spec.max_in_flight)
        self._up, self._down = asyncio.Event(), asyncio.Event()
        self._up.set()
        self._down_since: float | None = None
        self._start_s: float | None = None

    @property
    def is_available(self) -> bool:
        return self._up.is_set()

    def mark_up(self) -> None:
        self.is_known = True
        if self._down_since is not None:
            self._start_s = self._clock() - self._down_since
            self._down_since = None
        self._down.clear()
        self._up.set()

    def mark_down(self) -> None:
        self.is_known = True
        if self._down_since is None:
            self._down_since = self._clock()
        self._up.clear()
        self._down.set()

    def starts_in_s(self) -> float:
        """What is left of its usual start: the last one measured, or the expected one; 0 when it is up or overdue."""
        if self._down_since is None:
            return 0.0
        usual_s = self.spec.expected_cold_start_s if self._start_s is None else self._start_s
        return max(0.0, usual_s - (self._clock() - self._down_since))

    @asynccontextmanager
    async def slot(self, wait_s: float, *, waits_for_start: bool) -> AsyncIterator[Upstream]:
        """See Fleet.slot. A slot here, then room on the upstream itself; both within `wait_s`."""
        ends_at = self._clock() + wait_s
        # Of a provider nothing but a call tells whether it is back; a local model that is down has no replica to call.
        if self.spec.place == LOCAL:
            await self._wait_until_up(wait_s if waits_for_start else 0.0)
        await self._acquire(self._left_s(ends_at))
        self.num_in_flight += 1
        try:
            async with self._reserved(ends_at, waits_for_start=waits_for_start) as upstream:
                yield upstream
        finally:
            self.num_in_flight -= 1
            self._slots.release()

    async def _wait_until_up(self, wait_s: float) -> None:
        if self._up.is_set():
            return
        try:
            async with asyncio.timeout(wait_s):
                await self._up.wait()
        except TimeoutError:
            raise UpstreamCold(self.spec.id, "not_up") from None

    async def _acquire(self, wait_s: float) -> None:
        if not self._slots.locked():
            await self._slots.acquire()
            return
        try:
            # Not wait_for: on Python 3.11 it swallows a cancellation that meets a slot just come free.
            async with asyncio.timeout(wait_s):
                await self._slots.acquire()
        except TimeoutError:
            raise UpstreamFull(self.spec.id, "no_slot") from None

    @asynccontextmanager
    async def _reserved(self, ends_at: float, *, waits_for_start: bool) -> AsyncIterator[Upstream]:
        """One that turns out to be down is waited for, where that is wanted, and asked once more."""
        async with AsyncExitStack() as held:
            try:
                upstream = await held.enter_async_context(self.upstream.reserve(self._left_s(ends_at)))
            except UpstreamCold:
                self.mark_down()
                if not waits_for_start:
                    raise
                await self._wait_until_up(self._left_s(ends_at))
                upstream = await held.enter_async_context(self.upstream.reserve(self._left_s(ends_at)))
            yield upstream

    def _left_s(self, ends_at: float) -> float:
        return max(0.0, ends_at - self._clock())

    async def keep_waking(self) -> None:
        """Until cancelled: whenever it is down, waits for a replica. That wait is what starts one."""
        while True:
            await self._down.wait()
            try:
                await self.upstream.wake()
            except Exception as error:  # noqa: BLE001 - a background loop: one upstream's defect must not end all of them
                log.warning("upstream %s does not wake: %s", self.spec.id, type(error).__name__)
                await asyncio.sleep(PAUSE_S)
                continue
            self.mark_up()
            log.warning("upstream %s is up after %.1f s", self.spec.id, self._start_s or 0.0)
