"""The write-ahead journal of one process: append-only segment files, each under an exclusive lock.

Invariants: a row is in the page cache before `append` returns, so that SIGKILL loses none (a power cut may lose the
last seconds: nothing is synced). A file whose lock is free belongs to nobody that lives. A file goes when no row in it
is needed any more. All files of the folder together stay within `max_bytes`, but for one segment a router.
"""

import errno
import fcntl
import logging
import os
import re
import time
import uuid
from collections.abc import Callable
from pathlib import Path

log = logging.getLogger(__name__)

SEGMENT_NAME = re.compile(r"(?P<owner>[0-9a-f]{32})-(?P<number>[0-9]{8})\.journal")
MAX_ROW_BYTES = 16_384
_RETRY_S = 1.0
_MAX_NAMES = 16


class Segment:
    """One file. `num_pins` counts the rows in it that are still needed; whoever takes a pin gives it back once."""

    __slots__ = ("_on_free", "fd", "num_bytes", "num_pins", "num_unread", "path", "read_offset")

    def __init__(self, path: Path, fd: int, on_free: Callable[["Segment"], None]) -> None:
        self.path, self.fd, self._on_free = path, fd, on_free
        self.num_bytes = self.num_pins = 0
        # Of the rows that are in no memory: how many there are, and where the first may stand.
        self.num_unread = self.read_offset = 0

    def release(self, num_pins: int = 1) -> None:
        self.num_pins -= num_pins
        if self.num_pins == 0:
            self._on_free(self)


class AttemptJournal:
    """Appends and forgets; never raises. Whatever the disk refuses is counted, and tried again a second later."""

    def __init__(
        self,
        folder: Path,
        *,
        max_bytes: int,
        max_segment_bytes: int,
        write: Callable[[int, bytes], int] = os.write,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Raises ValueError when not even one segment fits."""
        if max_segment_bytes > max_bytes:
            raise ValueError("max_segment_bytes is larger than max_bytes")
        self.folder = folder
        self._max_bytes, self._max_segment_bytes = max_bytes, max_segment_bytes
        self._write, self._clock = write, clock
        self._owner, self._num_named = uuid.uuid4().hex, 0
        self._segments: set[Segment] = set()
        self._active: Segment | None = None
        self._retry_at = float("-inf")
        self._is_closed = False
        self.is_writable = True
        self.num_refused = 0

    @property
    def num_bytes(self) -> int:
        return sum(segment.num_bytes for segment in self._segments)

    def append(self, row_bytes: bytes) -> Segment | None:
        """The segment that holds the row, pinned once for the caller; None where it was not written."""
        if (
            self._is_closed
            or len(row_bytes) > MAX_ROW_BYTES
            or (not self.is_writable and self._clock() < self._retry_at)
        ):
            self.num_refused += 1
            return None
        try:
            segment = self._segment_for(len(row_bytes))
            self._write_whole(segment, row_bytes)
        except OSError as refusal:
            self.num_refused += 1
            self._stop(refusal)
            return None
        segment.num_bytes += len(row_bytes)
        segment.num_pins += 1
        if not self.is_writable:
            self.is_writable = True
            log.warning("journal: attempts are written again; %d rows were refused so far", self.num_refused)
        return segment

    def close(self) -> None:
        """Gives the locks back: what is still needed is from here on anybody's to adopt."""
        self._is_closed = True
        for segment in tuple(self._segments):
            if segment.num_pins == 0:
                delete_files([segment.path])
            os.close(segment.fd)
        self._segments.clear()
        self._active = None

    def _write_whole(self, segment: Segment, row_bytes: bytes) -> None:
        """Raises OSError, and then leaves no part of the row behind: the next one would be glued to it."""
        num_written = 0
        try:
            num_written = self._write(segment.fd, row_bytes)
        finally:
            if num_written != len(row_bytes):
                self._cut(segment)
        if num_written != len(row_bytes):
            raise OSError(errno.ENOSPC, "only a part of a row was written")

    def _cut(self, segment: Segment) -> None:
        try:
            os.ftruncate(segment.fd, segment.num_bytes)
        except OSError:
            self._seal()

    def _segment_for(self, num_bytes: int) -> Segment:
        active = self._active
        if active is not None and (active.num_bytes == 0 or active.num_bytes + num_bytes <= self._max_segment_bytes):
            return active
        self._seal()
        self._check_room()
        self._active = self._open_segment()
        self._segments.add(self._active)
        return self._active

    def _seal(self) -> None:
        segment, self._active = self._active, None
        if segment is not None and segment.num_pins == 0:
            self._forget(segment)

    def _check_room(self) -> None:
        """Raises OSError where another segment would go over the folder's bound, or there is no folder to be had."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        num_bytes = 0
        for entry in os.scandir(self.folder):
            if SEGMENT_NAME.fullmatch(entry.name):
                try:
                    num_bytes += entry.stat().st_size
                except FileNotFoundError:
                    continue
        if num_bytes + self._max_segment_bytes > self._max_bytes:
            raise OSError(errno.EDQUOT, "max_bytes is reached")

    def _open_segment(self) -> Segment:
        """Until the lock is held another process may take the file for an orphan: then the next name is tried."""
        for _ in range(_MAX_NAMES):
            path = self.folder / f"{self._owner}-{self._num_named:08d}.journal"
            self._num_named += 1
            fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o600)
            if try_lock(fd):
                return Segment(path, fd, self._free)
            os.close(fd)
        raise OSError(errno.EAGAIN, "no segment could be locked")

    def _free(self, segment: Segment) -> None:
        if segment not in self._segments:
            return
        if segment is not self._active:
            self._forget(segment)
            return
        try:
            os.ftruncate(segment.fd, 0)
        except OSError:
            return
        segment.num_bytes = segment.read_offset = 0
        self._retry_at = float("-inf")

    def _forget(self, segment: Segment) -> None:
        self._segments.discard(segment)
        delete_files([segment.path])
        os.close(segment.fd)
        self._retry_at = float("-inf")

    def _stop(self, refusal: OSError) -> None:
        self._retry_at = self._clock() + _RETRY_S
        if self.is_writable:
            self.is_writable = False
            reason = errno.errorcode.get(refusal.errno or 0, "OSError")
            log.error("journal: attempts are held in memory only, the disk refuses them: %s", reason)


def try_lock(fd: int) -> bool:
    """Takes the exclusive lock without waiting. False where another holds it or has deleted the file."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return os.fstat(fd).st_nlink > 0


def delete_files(paths: list[Path]) -> None:
    for path in paths:
        try:
            path.unlink(missing_ok=True)
        except OSError as refusal:
            log.warning("journal: a delivered file could not be deleted: %s", type(refusal).__name__)
