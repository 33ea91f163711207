"""Whatever routers and ledger go through: one row for each attempt at the ledger, and the right one."""

import asyncio
import tempfile
from collections.abc import Sequence
from pathlib import Path

import hypothesis.strategies as st
from hypothesis import given, settings

from serve_app.accounting.journal import AttemptJournal
from serve_app.accounting.outbox import LedgerOutbox
from serve_app.contracts.vocabulary import Outcome
from tests.fakes.scripted_ledger import ScriptedLedger, begun, ended

NUM_ROUTERS, MAX_QUEUED = 2, 3
# Some more often than others, so that queues fill up and files are read back.
LIVING = ["open", "settle", "attempt", "attempt", "send", "send", "recover", "away", "back", "mumbles"]
DYING = [*LIVING, "crash", "flush"]


def steps_of(names: Sequence[str]) -> st.SearchStrategy[list[tuple[str, int]]]:
    """A story: what happens, and to which router."""
    step = st.tuples(st.sampled_from(names), st.integers(0, NUM_ROUTERS - 1))
    return st.lists(step, min_size=30, max_size=90)


class World:
    """Two routers on one folder and their ledger. A crash lets go of locks and memory, as the kernel would."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.ledger = folder, ScriptedLedger()
        self.routers = [self._a_router() for _ in range(NUM_ROUTERS)]
        self.running: list[list[str]] = [[] for _ in range(NUM_ROUTERS)]
        self.expected: dict[str, Outcome] = {}

    def _a_router(self) -> LedgerOutbox:
        journal = AttemptJournal(self.folder, max_bytes=10_000_000, max_segment_bytes=600)
        return LedgerOutbox(self.ledger, journal, MAX_QUEUED)

    async def do(self, step: str, router: int) -> None:
        outbox, running = self.routers[router], self.running[router]
        match step:
            case "open" if len(running) < MAX_QUEUED:
                id_ = f"a-{len(self.expected)}"
                outbox.open(begun(id_))
                running.append(id_)
                self.expected[id_] = Outcome.ABANDONED
            case "settle" if running:
                id_ = running.pop(len(running) // 2)
                outbox.settle(ended(id_))
                self.expected[id_] = Outcome.COMPLETED
            case "attempt":
                for half in ("open", "settle"):
                    await self.do(half, router)
            case "send":
                await outbox._refill()
                await outbox._send_batch()
            case "recover":
                outbox.recover()
            case "crash":
                self.restart(router)
            case "flush":
                await outbox.flush(1.0)
                self.restart(router)
            case "away" | "back" | "mumbles":
                self.ledger.is_away = step == "away"
                self.ledger.loses_its_answer = step == "mumbles"

        assert outbox.num_queued >= 0
        assert all(segment.num_pins >= 0 for segment in outbox._journal._segments)

    def restart(self, router: int) -> None:
        self.routers[router].close()
        self.routers[router], self.running[router] = self._a_router(), []

    async def come_to_rest(self) -> None:
        """Everybody dies, and one router comes up that has all the time of the world."""
        self.ledger.is_away = self.ledger.loses_its_answer = False
        for router in range(NUM_ROUTERS):
            self.restart(router)
        last = self.routers[0]
        while last.recover() or last.num_queued:
            await last._refill()
            await last._send_batch()
        for outbox in self.routers:
            outbox.close()


@settings(max_examples=100)
@given(steps_of(DYING))
def test_every_attempt_has_exactly_one_row_and_it_is_the_final_one_where_there_is_one(
    steps: Sequence[tuple[str, int]],
) -> None:
    async def lived_through(folder: Path) -> World:
        world = World(folder)
        for step, router in steps:
            await world.do(step, router)
        assert sum(outbox.num_lost + outbox.num_corrupt for outbox in world.routers) == 0
        await world.come_to_rest()
        return world

    with tempfile.TemporaryDirectory() as folder:
        world = asyncio.run(lived_through(Path(folder)))
        assert world.ledger.outcomes == world.expected
        assert list(Path(folder).iterdir()) == []


@settings(max_examples=50)
@given(steps_of(LIVING))
def test_nothing_is_abandoned_that_is_still_running_and_nothing_that_ended_is_missing(
    steps: Sequence[tuple[str, int]],
) -> None:
    async def lived_through(folder: Path) -> World:
        world = World(folder)
        for step, router in steps:
            await world.do(step, router)
        world.ledger.is_away = world.ledger.loses_its_answer = False
        for outbox in world.routers:
            while outbox.num_queued:
                await outbox._refill()
                await outbox._send_batch()
        return world

    with tempfile.TemporaryDirectory() as folder:
        world = asyncio.run(lived_through(Path(folder)))
        ended_ones = {id_: outcome for id_, outcome in world.expected.items() if outcome is Outcome.COMPLETED}
        assert world.ledger.outcomes == ended_ones
        for outbox in world.routers:
            outbox.close()
