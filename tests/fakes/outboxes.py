"""Outboxes on a folder, with whatever disk, clock and pace a test needs."""

import asyncio
import contextlib
import errno
import os
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from serve_app.accounting.journal import AttemptJournal
from serve_app.accounting.outbox import LedgerOutbox, Pace
from tests.fakes.builders import FakeClock
from tests.fakes.scripted_ledger import ScriptedLedger, begun, ended


class Sleeper:
    """Sleeps no longer than it takes the others to have their turn, and remembers for how long it should have."""

    def __init__(self) -> None:
        self.pauses_s: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.pauses_s.append(seconds)
        await asyncio.sleep(0)


class Disk:
    """os.write, but for what a test takes away."""

    def __init__(self, *, is_full: bool = False) -> None:
        self.is_full = is_full

    def write(self, fd: int, row_bytes: bytes) -> int:
        if self.is_full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return os.write(fd, row_bytes)


def an_outbox(
    ledger: ScriptedLedger,
    folder: Path,
    *,
    max_queued: int = 1000,
    max_bytes: int = 1_000_000,
    max_segment_bytes: int = 10_000,
    disk: Disk | None = None,
    clock: FakeClock | None = None,
    pace: Pace | None = None,
    sleep: Sleeper | None = None,
) -> LedgerOutbox:
    journal = AttemptJournal(
        folder,
        max_bytes=max_bytes,
        max_segment_bytes=max_segment_bytes,
        write=(disk or Disk()).write,
        clock=clock or FakeClock(),
    )
    return LedgerOutbox(
        ledger, journal, max_queued, pace=pace or Pace(), sleep=sleep or Sleeper(), clock=clock or FakeClock()
    )


@contextlib.asynccontextmanager
async def running(outbox: LedgerOutbox) -> AsyncIterator[None]:
    task = asyncio.create_task(outbox.run())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def names(count: int, *, start: int = 0) -> list[str]:
    return [f"a-{number:06d}" for number in range(start, start + count)]


def put(outbox: LedgerOutbox, ids: Sequence[str]) -> None:
    for id_ in ids:
        outbox.open(begun(id_))
        outbox.settle(ended(id_))


def journal_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.journal"))
