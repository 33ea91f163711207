"""The outbox takes rows without waiting and hands each to the ledger, also at a router's end."""

import asyncio
from pathlib import Path

import pytest

from serve_app.accounting.outbox import Pace
from serve_app.contracts.vocabulary import Outcome
from tests.fakes.outboxes import Disk, Sleeper, an_outbox, journal_files, names, put, running
from tests.fakes.scripted_ledger import ScriptedLedger, begun, ended


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


async def test_rows_arrive_in_order_whenever_they_were_put(tmp_path: Path) -> None:
    ledger = ScriptedLedger()
    outbox = an_outbox(ledger, tmp_path)
    put(outbox, ["a", "b"])
    async with running(outbox):
        await ledger.until_held(2)
        put(outbox, ["c"])
        await ledger.until_held(3)
    assert ledger.batches == [["a", "b"], ["c"]]
    assert ledger.rows["a"] == ended("a")
    assert (outbox.num_lost, outbox.num_queued, outbox.num_open) == (0, 0, 0)


async def test_a_row_lingers_for_company_but_a_full_batch_does_not(tmp_path: Path) -> None:
    ledger, sleep = ScriptedLedger(), Sleeper()
    outbox = an_outbox(ledger, tmp_path, sleep=sleep)
    put(outbox, names(600))
    async with running(outbox):
        await ledger.until_held(600)
    assert [len(batch) for batch in ledger.batches] == [256, 256, 88]
    assert ledger.ids == names(600)
    assert sleep.pauses_s == [0.1]


async def test_what_is_still_open_is_not_delivered(tmp_path: Path) -> None:
    ledger = ScriptedLedger()
    outbox = an_outbox(ledger, tmp_path)
    outbox.open(begun("running"))
    put(outbox, ["done"])
    async with running(outbox):
        await ledger.until_held(1)
        assert outbox.recover() is False
    assert ledger.ids == ["done"]
    assert outbox.num_open == 1


async def test_an_attempt_that_was_never_opened_settles_all_the_same(tmp_path: Path) -> None:
    ledger = ScriptedLedger()
    outbox = an_outbox(ledger, tmp_path)
    outbox.settle(ended("a"))
    async with running(outbox):
        await ledger.until_held(1)


async def test_settling_never_waits_for_a_ledger_that_hangs(tmp_path: Path) -> None:
    ledger = ScriptedLedger()
    ledger.may_take.clear()
    outbox = an_outbox(ledger, tmp_path, max_queued=2)
    async with running(outbox):
        put(outbox, ["a"])
        await ledger.until(lambda: len(ledger.calls) == 1)
        put(outbox, ["b", "c", "d"])
        assert outbox.num_queued == 4
        ledger.may_take.set()
        await ledger.until_held(4)
    assert ledger.ids == ["a", "b", "c", "d"]
    assert outbox.num_lost == 0


async def test_a_call_that_takes_too_long_counts_as_a_failure(tmp_path: Path) -> None:
    ledger = ScriptedLedger()
    ledger.may_take.clear()
    outbox = an_outbox(ledger, tmp_path, pace=Pace(record_limit_s=0.01))
    put(outbox, ["a"])
    async with running(outbox):
        await ledger.until(lambda: len(ledger.calls) == 2)
        ledger.may_take.set()
        await ledger.until_held(1)


async def test_it_ends_when_it_is_cancelled(tmp_path: Path) -> None:
    task = asyncio.create_task(an_outbox(ScriptedLedger(), tmp_path).run())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_flush_sends_what_is_left_and_what_is_still_open_as_abandoned(tmp_path: Path) -> None:
    ledger = ScriptedLedger()
    outbox = an_outbox(ledger, tmp_path, max_queued=300)
    put(outbox, names(900))
    outbox.open(begun("open"))
    await outbox.flush(5.0)
    assert len(ledger.rows) == 901
    assert ledger.outcomes["open"] is Outcome.ABANDONED
    outbox.close()
    assert journal_files(tmp_path) == []


async def test_what_ends_after_it_was_abandoned_is_one_row_of_one_batch(tmp_path: Path) -> None:
    ledger = ScriptedLedger()
    outbox = an_outbox(ledger, tmp_path, max_queued=1)
    outbox.open(begun("a"))
    outbox.open(begun("b"))
    outbox.settle(ended("a"))
    await outbox.flush(5.0)
    assert ledger.outcomes == {"a": Outcome.COMPLETED, "b": Outcome.ABANDONED}


async def test_what_was_abandoned_does_not_hide_how_it_ended_in_the_same_batch(tmp_path: Path) -> None:
    ledger = ScriptedLedger()
    outbox = an_outbox(ledger, tmp_path)
    outbox.settle(ended("a"))
    outbox.settle(begun("a"))
    await outbox.flush(5.0)
    assert ledger.batches == [["a"]]
    assert ledger.outcomes == {"a": Outcome.COMPLETED}


async def test_what_a_flush_could_not_send_is_not_lost_but_left_to_the_next_process(tmp_path: Path) -> None:
    away = ScriptedLedger(is_away=True)
    first = an_outbox(away, tmp_path, max_queued=100)
    put(first, names(300))
    await first.flush(5.0)
    assert len(away.calls) == 1
    assert first.num_lost == 0
    first.close()
    ledger = ScriptedLedger()
    second = an_outbox(ledger, tmp_path)
    async with running(second):
        await ledger.until_held(300)
    second.close()
    assert sorted(ledger.ids) == names(300)
    assert journal_files(tmp_path) == []


async def test_without_a_journal_flush_tries_until_its_time_is_out_and_counts_the_rest(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ledger = ScriptedLedger(is_away=True)
    outbox = an_outbox(ledger, tmp_path, disk=Disk(is_full=True))
    put(outbox, ["a", "b"])
    await outbox.flush(0.05)
    assert len(ledger.calls) > 1
    assert (outbox.num_lost, outbox.num_queued) == (2, 0)
    assert messages(caplog)[-2:] == [
        "no time left for the ledger",
        "2 attempts reached neither the ledger nor the journal",
    ]


async def test_a_ledger_that_hangs_does_not_keep_a_router_from_ending(tmp_path: Path) -> None:
    ledger = ScriptedLedger()
    ledger.may_take.clear()
    outbox = an_outbox(ledger, tmp_path)
    put(outbox, ["a"])
    await outbox.flush(0.01)
    assert (outbox.num_lost, outbox.num_queued) == (0, 1)
