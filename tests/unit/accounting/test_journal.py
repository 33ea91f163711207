"""The journal holds what it was given until it is told otherwise, within its bounds, and never raises."""

import errno
import fcntl
import logging
import os
from pathlib import Path

import pytest

from serve_app.accounting.journal import MAX_ROW_BYTES, AttemptJournal, try_lock
from tests.fakes.builders import FakeClock

ROW = b"x" * 39 + b"\n"


class Disk:
    """os.write, but for what a test takes away: `room` is how many bytes still fit, None for any number."""

    def __init__(self) -> None:
        self.error: int | None = None
        self.room: int | None = None

    def write(self, fd: int, row_bytes: bytes) -> int:
        if self.error is not None:
            raise OSError(self.error, os.strerror(self.error))
        return os.write(fd, row_bytes if self.room is None else row_bytes[: self.room])


def a_journal(
    folder: Path,
    *,
    max_bytes: int = 400,
    max_segment_bytes: int = 100,
    disk: Disk | None = None,
    clock: FakeClock | None = None,
) -> AttemptJournal:
    return AttemptJournal(
        folder,
        max_bytes=max_bytes,
        max_segment_bytes=max_segment_bytes,
        write=(disk or Disk()).write,
        clock=clock or FakeClock(),
    )


def contents(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted(folder.iterdir())]


def test_rows_follow_each_other_and_a_full_segment_is_followed_by_the_next(tmp_path: Path) -> None:
    journal = a_journal(tmp_path / "deep" / "journal")
    segments = [journal.append(ROW) for _ in range(5)]
    assert contents(tmp_path / "deep" / "journal") == [ROW * 2, ROW * 2, ROW]
    assert segments[0] is segments[1]
    assert len(set(segments)) == 3
    assert journal.num_bytes == 5 * len(ROW)


def test_only_the_owner_may_read_it(tmp_path: Path) -> None:
    a_journal(tmp_path / "journal").append(ROW)
    assert (tmp_path / "journal").stat().st_mode & 0o077 == 0
    assert next((tmp_path / "journal").iterdir()).stat().st_mode & 0o077 == 0


def test_every_segment_is_locked_until_the_journal_is_closed(tmp_path: Path) -> None:
    journal = a_journal(tmp_path)
    for _ in range(3):
        journal.append(ROW)
    others = [os.open(path, os.O_RDWR) for path in tmp_path.iterdir()]
    assert len(others) == 2
    assert not any(try_lock(fd) for fd in others)
    journal.close()
    assert all(try_lock(fd) for fd in others)
    for fd in others:
        os.close(fd)


def test_a_segment_goes_when_its_last_row_is_released(tmp_path: Path) -> None:
    journal = a_journal(tmp_path)
    first, second, third = (journal.append(ROW) for _ in range(3))
    assert first is not None
    assert second is not None
    assert third is not None
    first.release()
    assert len(contents(tmp_path)) == 2
    second.release()
    assert contents(tmp_path) == [ROW]
    assert journal.num_bytes == len(ROW)


def test_the_segment_in_use_is_emptied_instead(tmp_path: Path) -> None:
    journal = a_journal(tmp_path)
    segment = journal.append(ROW)
    assert segment is not None
    segment.release()
    assert contents(tmp_path) == [b""]
    assert journal.num_bytes == 0
    assert journal.append(b"next\n") is segment
    assert contents(tmp_path) == [b"next\n"]


def test_closing_deletes_what_nobody_needs_and_leaves_the_rest(tmp_path: Path) -> None:
    journal = a_journal(tmp_path)
    for _ in range(2):
        journal.append(ROW)
    last = journal.append(ROW)
    assert last is not None
    last.release()
    journal.close()
    assert contents(tmp_path) == [ROW * 2]
    assert journal.append(ROW) is None
    assert contents(tmp_path) == [ROW * 2]


def test_a_release_after_closing_changes_nothing(tmp_path: Path) -> None:
    journal = a_journal(tmp_path)
    segment = journal.append(ROW)
    assert segment is not None
    journal.close()
    segment.release()
    assert contents(tmp_path) == [ROW]


def test_a_row_longer_than_any_should_be_is_refused(tmp_path: Path) -> None:
    journal = a_journal(tmp_path)
    assert journal.append(b"x" * (MAX_ROW_BYTES + 1)) is None
    assert journal.is_writable
    assert journal.num_refused == 1


def test_a_row_longer_than_a_segment_has_one_of_its_own(tmp_path: Path) -> None:
    journal = a_journal(tmp_path, max_segment_bytes=10)
    assert journal.append(ROW) is not journal.append(ROW)
    assert contents(tmp_path) == [ROW, ROW]


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
def test_a_disk_that_refuses_is_said_once_counted_and_tried_again_a_second_later(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, error: int
) -> None:
    disk, clock = Disk(), FakeClock()
    journal = a_journal(tmp_path, disk=disk, clock=clock)
    journal.append(ROW)
    disk.error = error
    with caplog.at_level(logging.WARNING):
        assert [journal.append(ROW) for _ in range(3)] == [None] * 3
        assert not journal.is_writable
        clock.advance(1.0)
        assert journal.append(ROW) is None
        disk.error = None
        assert journal.append(ROW) is None
        clock.advance(1.0)
        assert journal.append(ROW) is not None
    assert journal.is_writable
    assert journal.num_refused == 5
    assert [record.getMessage() for record in caplog.records] == [
        f"journal: attempts are held in memory only, the disk refuses them: {errno.errorcode[error]}",
        "journal: attempts are written again; 5 rows were refused so far",
    ]
    assert contents(tmp_path) == [ROW * 2]


def test_no_part_of_a_row_stays_behind(tmp_path: Path) -> None:
    disk, clock = Disk(), FakeClock()
    journal = a_journal(tmp_path, disk=disk, clock=clock)
    journal.append(ROW)
    disk.room = 7
    assert journal.append(ROW) is None
    assert contents(tmp_path) == [ROW]
    disk.room = None
    clock.advance(1.0)
    assert journal.append(ROW) is not None
    assert contents(tmp_path) == [ROW * 2]


def test_where_a_part_of_a_row_cannot_be_cut_off_the_next_row_goes_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk, clock = Disk(), FakeClock()
    journal = a_journal(tmp_path, disk=disk, clock=clock)
    kept = journal.append(ROW)
    disk.room = 7

    def refuse(_fd: int, _length: int) -> None:
        raise OSError(errno.EIO, "")

    with monkeypatch.context() as patch:
        patch.setattr(os, "ftruncate", refuse)
        assert journal.append(ROW) is None
    disk.room = None
    clock.advance(1.0)
    assert journal.append(ROW) not in (None, kept)
    assert contents(tmp_path) == [ROW + ROW[:7], ROW]


def test_a_segment_that_cannot_be_emptied_grows_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = a_journal(tmp_path)
    segment = journal.append(ROW)
    assert segment is not None

    def refuse(_fd: int, _length: int) -> None:
        raise OSError(errno.EIO, "")

    monkeypatch.setattr(os, "ftruncate", refuse)
    segment.release()
    assert journal.append(ROW) is segment
    assert contents(tmp_path) == [ROW * 2]


def test_a_used_up_segment_without_a_needed_row_goes_when_the_next_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = a_journal(tmp_path)

    def refuse(_fd: int, _length: int) -> None:
        raise OSError(errno.EIO, "")

    with monkeypatch.context() as patch:
        patch.setattr(os, "ftruncate", refuse)
        for _ in range(2):
            segment = journal.append(ROW)
            assert segment is not None
            segment.release()
    assert contents(tmp_path) == [ROW * 2]
    journal.append(ROW)
    assert contents(tmp_path) == [ROW]


def test_at_its_bound_it_stops_and_goes_on_as_soon_as_a_segment_went(tmp_path: Path) -> None:
    journal = a_journal(tmp_path)
    segments = [journal.append(ROW) for _ in range(8)]
    assert None not in segments
    assert journal.append(ROW) is None
    assert not journal.is_writable
    assert journal.num_bytes == 8 * len(ROW) <= 400
    for segment in segments[:2]:
        assert segment is not None
        segment.release()
    assert journal.append(ROW) is not None
    assert journal.is_writable


def test_the_bound_is_the_folders_and_counts_what_others_left(tmp_path: Path) -> None:
    first, clock = a_journal(tmp_path), FakeClock()
    for _ in range(8):
        first.append(ROW)
    (tmp_path / "a stranger's file").write_bytes(b"x" * 1000)
    second = a_journal(tmp_path, clock=clock)
    assert second.append(ROW) is None
    first.close()
    next(tmp_path.glob("*.journal")).unlink()
    assert second.append(ROW) is None
    clock.advance(1.0)
    assert second.append(ROW) is not None


def test_a_file_that_goes_while_sizes_are_added_up_counts_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / f"{'0' * 32}-00000000.journal"
    gone.touch()
    entries = list(os.scandir(tmp_path))
    gone.unlink()
    monkeypatch.setattr(os, "scandir", lambda _folder: entries)
    assert a_journal(tmp_path).append(ROW) is not None


def test_a_folder_that_cannot_be_had_stops_it_and_raises_nothing(tmp_path: Path) -> None:
    (tmp_path / "journal").write_text("a file where the folder should be")
    journal = a_journal(tmp_path / "journal")
    assert journal.append(ROW) is None
    assert not journal.is_writable


def test_a_file_that_cannot_be_deleted_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    journal = a_journal(tmp_path)
    segments = [journal.append(ROW) for _ in range(3)]

    def refuse(_path: Path, missing_ok: bool) -> None:
        raise PermissionError

    monkeypatch.setattr(Path, "unlink", refuse)
    for segment in segments[:2]:
        assert segment is not None
        segment.release()
    assert [record.getMessage() for record in caplog.records] == [
        "journal: a delivered file could not be deleted: PermissionError"
    ]


def test_a_name_that_another_locked_first_is_left_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flock, others = fcntl.flock, []

    def adopter_is_quicker(fd: int, operation: int) -> None:
        if not others:
            others.append(os.open(next(tmp_path.iterdir()), os.O_RDWR))
            flock(others[0], fcntl.LOCK_EX)
        flock(fd, operation)

    monkeypatch.setattr(fcntl, "flock", adopter_is_quicker)
    assert a_journal(tmp_path).append(ROW) is not None
    assert contents(tmp_path) == [b"", ROW]
    os.close(others[0])


def test_a_name_that_an_adopter_deleted_meanwhile_is_not_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flock, deleted = fcntl.flock, []

    def adopter_was_here(fd: int, operation: int) -> None:
        if not deleted:
            deleted.append(next(tmp_path.iterdir()))
            deleted[0].unlink()
        flock(fd, operation)

    monkeypatch.setattr(fcntl, "flock", adopter_was_here)
    assert a_journal(tmp_path).append(ROW) is not None
    assert contents(tmp_path) == [ROW]


def test_without_any_lock_to_be_had_it_stops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_fd: int, _operation: int) -> None:
        raise OSError(errno.ENOLCK, "")

    monkeypatch.setattr(fcntl, "flock", refuse)
    journal = a_journal(tmp_path)
    assert journal.append(ROW) is None
    assert not journal.is_writable


def test_a_bound_below_one_segment_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="max_segment_bytes"):
        a_journal(tmp_path, max_bytes=99)
