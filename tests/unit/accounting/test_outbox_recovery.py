"""What a router that died has left is delivered by the next, once, and as it ended."""

import asyncio
import errno
import os
from pathlib import Path

import pytest

from serve_app.accounting import backlog
from serve_app.accounting.outbox import Pace
from serve_app.contracts.vocabulary import Outcome
from tests.fakes.builders import FakeClock
from tests.fakes.outboxes import an_outbox, journal_files, names, put, running
from tests.fakes.scripted_ledger import ScriptedLedger, begun


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


async def test_without_a_folder_there_is_nothing_to_recover(tmp_path: Path) -> None:
    assert an_outbox(ScriptedLedger(), tmp_path / "none").recover() is False


async def test_files_that_are_no_journal_are_let_alone(tmp_path: Path) -> None:
    (tmp_path / "README").write_text("not a journal")
    assert an_outbox(ScriptedLedger(), tmp_path).recover() is False
    assert (tmp_path / "README").exists()


async def test_a_file_that_another_took_meanwhile_is_left_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = an_outbox(ScriptedLedger(is_away=True), tmp_path)
    put(first, ["old"])
    first.close()
    entries = list(os.scandir(tmp_path))
    for path in journal_files(tmp_path):
        path.unlink()
    monkeypatch.setattr(os, "scandir", lambda _folder: entries)
    assert an_outbox(ScriptedLedger(), tmp_path).recover() is False


async def test_a_predecessor_with_more_open_than_it_could_have_takes_bounded_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backlog, "_MAX_UNSETTLED", 3)
    first = an_outbox(ScriptedLedger(is_away=True), tmp_path)
    for id_ in names(10):
        first.open(begun(id_))
    first.close()
    ledger = ScriptedLedger()
    second = an_outbox(ledger, tmp_path)
    async with running(second):
        await ledger.until_held(10)
    assert set(ledger.outcomes.values()) == {Outcome.ABANDONED}


async def test_a_restarted_router_delivers_how_attempts_ended_and_the_others_as_abandoned(tmp_path: Path) -> None:
    first = an_outbox(ScriptedLedger(is_away=True), tmp_path, max_queued=10, max_segment_bytes=1_000)
    put(first, names(50))
    first.open(begun("open"))
    first.close()
    ledger = ScriptedLedger()
    second = an_outbox(ledger, tmp_path)
    async with running(second):
        await ledger.until_held(51)
    assert sorted(ledger.ids) == [*names(50), "open"]
    assert ledger.outcomes == dict.fromkeys(names(50), Outcome.COMPLETED) | {"open": Outcome.ABANDONED}
    assert journal_files(tmp_path) == []


@pytest.mark.parametrize("max_queued", [10, 1000])
async def test_files_larger_than_what_is_read_at_a_time_come_whole(tmp_path: Path, max_queued: int) -> None:
    ledger = ScriptedLedger(is_away=True)
    first = an_outbox(ledger, tmp_path, max_queued=max_queued, max_segment_bytes=200_000)
    put(first, names(450))
    if max_queued == 1000:
        first.close()
        first = an_outbox(ledger, tmp_path)
    ledger.is_away = False
    async with running(first):
        await ledger.until_held(450)
    assert ledger.ids == names(450)
    assert first.num_corrupt == 0


async def test_every_predecessor_is_adopted_one_after_the_other(tmp_path: Path) -> None:
    for start in range(0, 30, 10):
        first = an_outbox(ScriptedLedger(is_away=True), tmp_path)
        put(first, names(10, start=start))
        first.close()
    ledger = ScriptedLedger()
    async with running(an_outbox(ledger, tmp_path)):
        await ledger.until_held(30)
    assert sorted(ledger.ids) == names(30)


async def test_an_orphan_is_found_while_running_too(tmp_path: Path) -> None:
    ledger, clock = ScriptedLedger(), FakeClock()
    second = an_outbox(ledger, tmp_path, clock=clock, pace=Pace(recover_every_s=0.01))
    first = an_outbox(ScriptedLedger(is_away=True), tmp_path)
    put(first, ["a"])
    async with running(second):
        await asyncio.sleep(0.02)
        assert ledger.rows == {}
        first.close()
        clock.advance(1.0)
        await ledger.until_held(1)


async def test_an_orphans_files_stay_until_the_ledger_took_its_rows(tmp_path: Path) -> None:
    first = an_outbox(ScriptedLedger(is_away=True), tmp_path)
    put(first, ["a", "b"])
    first.close()
    away = ScriptedLedger(is_away=True)
    second = an_outbox(away, tmp_path)
    async with running(second):
        await away.until(lambda: len(away.calls) == 3)
        assert second.recover() is True
    assert len(journal_files(tmp_path)) == 1
    second.close()
    ledger = ScriptedLedger()
    async with running(an_outbox(ledger, tmp_path)):
        await ledger.until_held(2)
    assert journal_files(tmp_path) == []


async def test_corrupt_lines_are_skipped_and_counted(tmp_path: Path) -> None:
    first = an_outbox(ScriptedLedger(is_away=True), tmp_path)
    put(first, ["a", "b"])
    first.close()
    (path,) = journal_files(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(b"\x00" * 50_000 + b"\nrubbish\n" + whole + whole[:50])
    ledger = ScriptedLedger()
    second = an_outbox(ledger, tmp_path)
    async with running(second):
        await ledger.until_held(2)
    assert second.num_corrupt == 4
    assert journal_files(tmp_path) == []


async def test_a_row_damaged_while_it_waited_keeps_no_file_and_is_counted(tmp_path: Path) -> None:
    ledger = ScriptedLedger(is_away=True)
    outbox = an_outbox(ledger, tmp_path, max_queued=1, max_segment_bytes=1_000)
    put(outbox, names(10))
    path = journal_files(tmp_path)[1]
    num_damaged = path.read_bytes().count(b"[1,true,")
    path.write_bytes(b"?" * path.stat().st_size)
    ledger.is_away = False
    async with running(outbox):
        await ledger.until_held(10 - num_damaged)
    assert num_damaged > 0
    assert outbox.num_corrupt == 1
    assert outbox.num_queued == 0
    assert path not in journal_files(tmp_path)


async def test_a_file_that_cannot_be_read_does_not_keep_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = an_outbox(ScriptedLedger(is_away=True), tmp_path)
    put(first, ["old"])
    first.close()
    ledger, pread = ScriptedLedger(), os.pread

    def refuse(_fd: int, _num_bytes: int, _offset: int) -> bytes:
        raise OSError(errno.EIO, "")

    monkeypatch.setattr(os, "pread", refuse)
    second = an_outbox(ledger, tmp_path, max_queued=1)
    put(second, ["queued", "in the journal"])
    async with running(second):
        await ledger.until_held(1)
        monkeypatch.setattr(os, "pread", pread)
        await ledger.until_held(3)
    assert sorted(ledger.ids) == ["in the journal", "old", "queued"]


async def test_an_orphan_that_cannot_be_read_stays_for_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = an_outbox(ScriptedLedger(is_away=True), tmp_path)
    put(first, ["old"])
    first.close()

    def refuse(_fd: int, _num_bytes: int, _offset: int) -> bytes:
        raise OSError(errno.EIO, "")

    second = an_outbox(ScriptedLedger(), tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "pread", refuse)
        assert second.recover()
        assert not await second._refill()
    assert len(journal_files(tmp_path)) == 1
    assert second.recover()


async def test_a_folder_that_cannot_be_searched_is_said_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    outbox = an_outbox(ScriptedLedger(), tmp_path)

    def refuse(_folder: Path) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "scandir", refuse)
    assert outbox.recover() is False
    assert messages(caplog) == ["journal: the folder could not be searched: PermissionError"]


async def test_an_answer_that_got_lost_makes_no_second_row(tmp_path: Path) -> None:
    ledger = ScriptedLedger()
    ledger.loses_its_answer = True
    outbox = an_outbox(ledger, tmp_path)
    put(outbox, ["a", "b"])
    async with running(outbox):
        await ledger.until(lambda: len(ledger.batches) == 2)
        ledger.loses_its_answer = False
        await ledger.until(lambda: outbox.num_queued == 0 or len(ledger.batches) > 4)
    assert len(ledger.rows) == 2
