"""Routers that mirror their breakers' owner, on one clock that a test moves."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TypeVar

from serve_app.contracts.breaker import BreakerEvent, BreakerView
from serve_app.contracts.vocabulary import Circuit
from serve_app.resilience.board import MemoryBreakerBoard
from serve_app.resilience.breaker import BreakerPolicy
from serve_app.resilience.mirror import BreakerMirror
from tests.fakes.builders import FakeClock

Told = TypeVar("Told")
POLICY = BreakerPolicy(failure_threshold=3, open_for_s=5.0, max_open_for_s=60.0, probe_lease_s=20.0)
FAILURE = BreakerEvent("a", is_success=False)
TRIP = BreakerEvent("a", is_success=False, trips=True)
SUCCESS = BreakerEvent("a", is_success=True)


class Owner:
    """A board whose answers a test can hold back or refuse, and that remembers what it was told."""

    def __init__(self, clock: FakeClock) -> None:
        self.board = MemoryBreakerBoard(POLICY, ["a", "b"], clock)
        self.reports: list[list[BreakerEvent]] = []
        self.num_asks = 0
        self.trouble: Exception | None = None
        self.lets_go = asyncio.Event()
        self.lets_go.set()

    async def report(self, holder: str, events: Sequence[BreakerEvent]) -> Sequence[BreakerView]:
        self.reports.append(list(events))
        views = await self._through(self.board.report(holder, events))
        await self.lets_go.wait()
        return views

    async def try_probe(self, holder: str, upstream_id: str) -> bool:
        self.num_asks += 1
        may_call = await self._through(self.board.try_probe(holder, upstream_id))
        await self.lets_go.wait()
        return may_call

    async def _through(self, answering: Coroutine[None, None, Told]) -> Told:
        if self.trouble is not None:
            answering.close()
            raise self.trouble
        return await answering


class Stage:
    """Two routers and the owner of their breakers, on one clock."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.owner = Owner(self.clock)
        self.one, self.two = self.mirror("one"), self.mirror("two")

    def mirror(self, holder: str) -> BreakerMirror:
        return BreakerMirror(
            self.owner,
            holder,
            policy=POLICY,
            upstream_ids=["a", "b"],
            sync_interval_s=0.01,
            clock=self.clock,
            ask_limit_s=0.05,
        )

    async def half_open(self) -> None:
        """Both routers and the owner hold "a" for half-open."""
        self.one.saw(TRIP)
        await synced(self.one)
        await synced(self.two)
        self.clock.advance(5.0)
        assert self.one.circuit("a") is self.two.circuit("a") is Circuit.HALF_OPEN


@asynccontextmanager
async def running(mirror: BreakerMirror) -> AsyncIterator[None]:
    loop = asyncio.create_task(mirror.run())
    try:
        yield
    finally:
        loop.cancel()
        with suppress(asyncio.CancelledError):
            await loop


async def turns(num: int = 10) -> None:
    for _ in range(num):
        await asyncio.sleep(0)


async def synced(mirror: BreakerMirror) -> None:
    async with running(mirror):
        await turns()


def now(coroutine: Coroutine[None, None, bool]) -> bool:
    """The answer of a coroutine that must not wait."""
    try:
        coroutine.send(None)
    except StopIteration as answered:
        answer: bool = answered.value
        return answer
    raise AssertionError("it waited")
