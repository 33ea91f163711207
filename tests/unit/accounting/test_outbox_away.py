"""While ledger, disk or both are away the outbox loses no row that has a place anywhere."""

import logging
import tracemalloc
from pathlib import Path

import pytest

from serve_app.contracts.vocabulary import Outcome
from tests.fakes.builders import FakeClock
from tests.fakes.outboxes import Disk, Sleeper, an_outbox, journal_files, names, put, running
from tests.fakes.scripted_ledger import ScriptedLedger, begun, ended


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


async def test_pauses_grow_to_a_cap_and_the_log_says_it_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ledger, sleep = ScriptedLedger(), Sleeper()
    ledger.num_failures = 8
    outbox = an_outbox(ledger, tmp_path, sleep=sleep)
    put(outbox, ["a", "b"])
    with caplog.at_level(logging.WARNING):
        async with running(outbox):
            await ledger.until_held(2)
    failures_s = [pause_s for number, pause_s in enumerate(sleep.pauses_s) if number % 2]
    assert failures_s[:8] == [0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0, 2.0]
    assert messages(caplog) == [
        "the ledger does not take attempts: InternalError",
        "the ledger takes attempts again, after 8 calls that failed",
    ]


async def test_rows_beyond_the_queue_wait_in_the_journal_and_come_oldest_first(tmp_path: Path) -> None:
    ledger = ScriptedLedger(is_away=True)
    outbox = an_outbox(ledger, tmp_path, max_queued=10)
    put(outbox, names(300))
    assert outbox.num_queued == 300
    assert len(journal_files(tmp_path)) > 3
    async with running(outbox):
        await ledger.until(lambda: len(ledger.calls) == 3)
        put(outbox, names(700, start=300))
        ledger.is_away = False
        await ledger.until_held(1000)
        put(outbox, names(5, start=1000))
        await ledger.until_held(1005)
    assert ledger.ids[10:] == names(995, start=10)
    assert (outbox.num_lost, outbox.num_queued, outbox.num_corrupt) == (0, 0, 0)
    assert outbox.num_journal_bytes == 0
    assert len(journal_files(tmp_path)) == 1


async def test_a_long_absence_takes_no_memory(tmp_path: Path) -> None:
    outbox = an_outbox(
        ScriptedLedger(is_away=True), tmp_path, max_queued=100, max_bytes=50_000_000, max_segment_bytes=1_000_000
    )
    put(outbox, names(2_000))
    tracemalloc.start()
    try:
        put(outbox, names(500, start=2_000))
        before, _ = tracemalloc.get_traced_memory()
        put(outbox, names(8_000, start=2_500))
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert outbox.num_queued == 10_500
    assert after - before < 10_000


async def test_a_journal_in_use_for_long_stays_small_on_disk_and_in_memory(tmp_path: Path) -> None:
    ledger = ScriptedLedger()
    outbox = an_outbox(ledger, tmp_path, max_bytes=200_000, max_segment_bytes=20_000)
    async with running(outbox):
        for start in range(0, 5_000, 100):
            put(outbox, names(100, start=start))
            await ledger.until_held(start + 100)
    assert (outbox.num_lost, outbox.num_queued) == (0, 0)
    assert outbox.is_journal_writable
    assert outbox.num_journal_bytes < 20_000
    assert len(journal_files(tmp_path)) == 1


async def test_only_what_fits_neither_queue_nor_journal_is_lost_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ledger = ScriptedLedger(is_away=True)
    outbox = an_outbox(ledger, tmp_path, max_queued=5, max_bytes=8_000, max_segment_bytes=2_000)
    with caplog.at_level(logging.ERROR):
        put(outbox, names(100))
        assert not outbox.is_journal_writable
        num_kept = 100 - outbox.num_lost
        assert 5 < num_kept < 100
        assert outbox.num_queued == num_kept
        async with running(outbox):
            ledger.is_away = False
            await ledger.until_held(num_kept)
    assert outbox.num_queued == 0
    assert messages(caplog)[1:3] == [
        "attempts are lost from here on: neither the queue nor the disk has room",
        f"{outbox.num_lost} attempts were lost so far",
    ]
    put(outbox, ["after"])
    assert outbox.is_journal_writable


@pytest.mark.parametrize("is_full", [False, True])
async def test_a_row_that_alone_is_refused_keeps_nobody_waiting_and_is_given_up(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, is_full: bool
) -> None:
    ledger = ScriptedLedger()
    ledger.refuses = lambda attempt: attempt.id == "a-000100"
    outbox = an_outbox(ledger, tmp_path, disk=Disk(is_full=is_full))
    put(outbox, names(400))
    with caplog.at_level(logging.ERROR):
        async with running(outbox):
            await ledger.until_held(399)
            for number in range(100):
                if outbox.num_lost:
                    break
                put(outbox, [f"b-{number}"])
                await ledger.until_held(400 + number)
    assert (outbox.num_lost, outbox.num_queued) == (1, 0)
    assert outbox.num_journal_bytes == 0
    assert "attempt a-000100 is given up: the ledger takes others, and never this one" in messages(caplog)


async def test_no_row_is_given_up_while_the_ledger_takes_nothing_at_all(tmp_path: Path) -> None:
    ledger = ScriptedLedger(is_away=True)
    outbox = an_outbox(ledger, tmp_path)
    put(outbox, ["a", "b"])
    async with running(outbox):
        await ledger.until(lambda: len(ledger.calls) == 200)
        ledger.is_away = False
        await ledger.until_held(2)
    assert outbox.num_lost == 0


async def test_what_ends_while_others_wait_in_the_journal_waits_behind_them(tmp_path: Path) -> None:
    ledger = ScriptedLedger()
    outbox = an_outbox(ledger, tmp_path, max_queued=2)
    put(outbox, ["a", "b", "c"])
    assert await outbox._send_batch()
    put(outbox, ["d"])
    async with running(outbox):
        await ledger.until_held(4)
    assert ledger.ids == ["a", "b", "c", "d"]
    assert outbox.num_queued == 0


async def test_on_a_full_disk_the_queue_alone_holds(tmp_path: Path) -> None:
    ledger, disk = ScriptedLedger(is_away=True), Disk(is_full=True)
    outbox = an_outbox(ledger, tmp_path, max_queued=3, disk=disk)
    put(outbox, names(5))
    assert (outbox.num_queued, outbox.num_lost) == (3, 2)
    assert not outbox.is_journal_writable
    async with running(outbox):
        ledger.is_away = False
        await ledger.until_held(3)
    assert ledger.ids == names(3)


async def test_while_the_disk_is_full_a_row_still_finds_the_queue_though_others_wait_in_the_journal(
    tmp_path: Path,
) -> None:
    ledger, disk, clock = ScriptedLedger(is_away=True), Disk(), FakeClock()
    outbox = an_outbox(ledger, tmp_path, max_queued=2, disk=disk, clock=clock)
    put(outbox, ["a", "b", "c"])
    ledger.is_away = False
    assert await outbox._send_batch()
    disk.is_full = True
    put(outbox, ["d"])
    disk.is_full = False
    clock.advance(1.0)
    put(outbox, ["e"])
    async with running(outbox):
        await ledger.until_held(5)
    assert sorted(ledger.ids) == ["a", "b", "c", "d", "e"]
    assert outbox.num_lost == 0


async def test_a_final_row_that_the_disk_refuses_leaves_the_opened_one_until_it_is_delivered(tmp_path: Path) -> None:
    disk = Disk()
    first = an_outbox(ScriptedLedger(is_away=True), tmp_path, disk=disk)
    first.open(begun("a"))
    disk.is_full = True
    first.settle(ended("a"))
    first.close()
    ledger = ScriptedLedger()
    second = an_outbox(ledger, tmp_path)
    async with running(second):
        await ledger.until_held(1)
    assert ledger.outcomes == {"a": Outcome.ABANDONED}


async def test_a_row_lost_on_a_full_disk_keeps_no_file(tmp_path: Path) -> None:
    disk = Disk()
    outbox = an_outbox(ScriptedLedger(is_away=True), tmp_path, max_queued=1, disk=disk)
    outbox.settle(ended("a"))
    outbox.open(begun("b"))
    disk.is_full = True
    outbox.settle(ended("b"))
    assert outbox.num_lost == 1
    assert [segment.num_pins for segment in outbox._journal._segments] == [1]


async def test_an_attempt_that_cannot_be_written_down_is_held_in_memory(tmp_path: Path) -> None:
    ledger = ScriptedLedger()
    outbox = an_outbox(ledger, tmp_path)
    put(outbox, ["\ud800"])
    async with running(outbox):
        await ledger.until_held(1)


async def test_more_open_attempts_than_the_bound_give_up_the_oldest_which_may_still_settle(tmp_path: Path) -> None:
    ledger = ScriptedLedger()
    outbox = an_outbox(ledger, tmp_path, max_queued=2)
    for id_ in ("a", "b", "c"):
        outbox.open(begun(id_))
    assert outbox.num_open == 2
    async with running(outbox):
        await ledger.until_held(1)
        assert ledger.outcomes == {"a": Outcome.ABANDONED}
        outbox.settle(ended("a"))
        await ledger.until(lambda: ledger.outcomes == {"a": Outcome.COMPLETED})
