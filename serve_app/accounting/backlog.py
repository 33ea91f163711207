"""Rows that are in files only, read back oldest first and a piece at a time, so that memory stays flat.

`Backlog` is what this process wrote while its queue was full. `Orphan` is what a process that died left behind.
"""

import asyncio
import logging
import os
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from serve_app.accounting.journal import MAX_ROW_BYTES, SEGMENT_NAME, Segment, delete_files, try_lock
from serve_app.accounting.rows import Row, UnreadableRow, from_line
from serve_app.contracts.attempt import Attempt

log = logging.getLogger(__name__)

_CHUNK_BYTES = 2 * MAX_ROW_BYTES
_MAX_UNSETTLED = 10_000


class Pin(Protocol):
    """What holds a row's file until the ledger has the row."""

    def release(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Lines:
    """A piece of a file, and where the next one starts."""

    rows: list[Row]
    next_offset: int
    num_corrupt: int


@dataclass(frozen=True, slots=True)
class Chunk:
    """Attempts to deliver. `pin` was taken once for each of them, and goes over to whoever reads."""

    attempts: Sequence[Attempt]
    pin: Pin
    num_corrupt: int


def read_lines(fd: int, offset: int, end: int) -> Lines:
    """The whole lines that start at `offset`, up to `end`; of the last line what there is. Raises OSError."""
    raw = os.pread(fd, min(_CHUNK_BYTES, end - offset), offset)
    next_offset = offset + len(raw) if raw else end
    if next_offset < end and (num_whole := raw.rfind(b"\n") + 1):
        raw, next_offset = raw[:num_whole], offset + num_whole
    rows, num_corrupt = [], 0
    for line in filter(None, raw.split(b"\n")):
        try:
            rows.append(from_line(line))
        except UnreadableRow:
            num_corrupt += 1
    return Lines(rows, next_offset, num_corrupt)


class Backlog:
    """The final rows of this process that are in no memory: as long as there is one, every row that ends joins them."""

    def __init__(self) -> None:
        self._segments: deque[Segment] = deque()
        self.num_unread = 0

    @property
    def is_empty(self) -> bool:
        return not self._segments

    def add(self, segment: Segment, num_bytes: int) -> None:
        """The row of `num_bytes` that was appended to `segment` last, with its pin."""
        if not self._segments or self._segments[-1] is not segment:
            segment.read_offset = segment.num_bytes - num_bytes
            self._segments.append(segment)
        segment.num_unread += 1
        self.num_unread += 1

    async def read(self) -> Chunk:
        """The next rows; not to be called while it is empty. Raises OSError."""
        segment = self._segments[0]
        # Only the read itself is in the thread: it shares nothing with the request path, which goes on appending.
        lines = await asyncio.to_thread(read_lines, segment.fd, segment.read_offset, segment.num_bytes)
        finals = [row.attempt for row in lines.rows if row.is_final]
        segment.read_offset = lines.next_offset
        segment.num_unread -= len(finals)
        self.num_unread -= len(finals)
        if segment.read_offset >= segment.num_bytes:
            self._leave(segment)
        return Chunk(finals, segment, lines.num_corrupt)

    def _leave(self, segment: Segment) -> None:
        self._segments.popleft()
        num_unreadable, segment.num_unread = segment.num_unread, 0
        if num_unreadable:
            self.num_unread -= num_unreadable
            segment.release(num_unreadable)


class Orphan:
    """All files of one process that died, under our locks. They go when the ledger has every row that was in them."""

    def __init__(self, files: Sequence[tuple[Path, int]], cleanup: ExitStack) -> None:
        self._paths, self._unread = [path for path, _ in files], deque(fd for _, fd in files)
        self._cleanup, self._offset, self._num_pins = cleanup, 0, 0
        self._begun: dict[str, Attempt] = {}
        self.is_done = False

    async def read(self) -> Chunk:
        """The next rows: how attempts ended and, once all is read, those that never did. Raises OSError."""
        fd = self._unread[0]
        end = os.fstat(fd).st_size
        lines = await asyncio.to_thread(read_lines, fd, self._offset, end)
        attempts = self._merge(lines.rows)
        self._offset = lines.next_offset
        if self._offset >= end:
            self._unread.popleft()
            self._offset = 0
        if self.is_read:
            attempts += self._begun.values()
            self._begun.clear()
        self._num_pins += len(attempts)
        self._delete_if_delivered()
        return Chunk(attempts, self, lines.num_corrupt)

    @property
    def is_read(self) -> bool:
        return not self._unread

    def release(self) -> None:
        self._num_pins -= 1
        self._delete_if_delivered()

    def close(self) -> None:
        """Gives the locks back; the files stay for the next to adopt them."""
        self.is_done = True
        self._cleanup.close()

    def _merge(self, rows: Sequence[Row]) -> list[Attempt]:
        """A final row takes the place of the one that was opened; what may still come to an end is held back."""
        ended: list[Attempt] = []
        for row in rows:
            if row.is_final:
                self._begun.pop(row.attempt.id, None)
                ended.append(row.attempt)
                continue
            self._begun[row.attempt.id] = row.attempt
            if len(self._begun) > _MAX_UNSETTLED:
                ended.append(self._begun.pop(next(iter(self._begun))))
        return ended

    def _delete_if_delivered(self) -> None:
        if self._num_pins == 0 and self.is_read and not self.is_done:
            # While the locks are held: whoever waits for them finds the files gone.
            delete_files(self._paths)
            self.close()


def adopt_one(folder: Path) -> Orphan | None:
    """The files of one dead process, if there is one and no other process took it first. Raises OSError."""
    names = sorted(entry.name for entry in os.scandir(folder)) if folder.is_dir() else []
    by_owner: dict[str, list[Path]] = {}
    for name in names:
        if match := SEGMENT_NAME.fullmatch(name):
            by_owner.setdefault(match["owner"], []).append(folder / name)
    for paths in by_owner.values():
        if orphan := _adopt(paths):
            return orphan
    return None


def _adopt(paths: Sequence[Path]) -> Orphan | None:
    """All or nothing, in the order they were written: the rows of one attempt may lie in two files."""
    with ExitStack() as cleanup:
        files: list[tuple[Path, int]] = []
        for path in paths:
            try:
                fd = os.open(path, os.O_RDWR)
            except OSError:
                return None
            cleanup.callback(os.close, fd)
            if not try_lock(fd):
                return None
            files.append((path, fd))
        return Orphan(files, cleanup.pop_all())
