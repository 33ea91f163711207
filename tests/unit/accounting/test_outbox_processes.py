"""What holds against the kernel itself: a killed process, a file-size limit, and two that adopt at once."""

import asyncio
import subprocess
import sys
from collections import Counter
from pathlib import Path

from serve_app.accounting.backlog import adopt_one
from serve_app.accounting.journal import AttemptJournal
from serve_app.accounting.outbox import LedgerOutbox
from serve_app.contracts.vocabulary import Outcome
from tests.fakes.outboxes import journal_files
from tests.fakes.scripted_ledger import ScriptedLedger, begun, ended

ROOT = Path(__file__).parents[3]
IMPORTS = """
import asyncio, os, resource, sys
from pathlib import Path
from serve_app.accounting.backlog import adopt_one
from serve_app.accounting.journal import AttemptJournal
from serve_app.accounting.outbox import LedgerOutbox
from tests.fakes.scripted_ledger import ScriptedLedger, begun, ended
folder = Path(sys.argv[1])
def say(words):
    os.write(1, words.encode() + b"\\n")
"""
APPENDS_UNTIL_KILLED = """
journal = AttemptJournal(folder, max_bytes=100_000_000, max_segment_bytes=20_000)
outbox = LedgerOutbox(ScriptedLedger(is_away=True), journal, 20)
number = 0
while True:
    outbox.open(begun(f"a-{number}"))
    say(f"open a-{number}")
    if number % 7:
        outbox.settle(ended(f"a-{number}"))
        say(f"settled a-{number}")
    number += 1
"""
APPENDS_UNTIL_REFUSED = """
now_s = [0.0]
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, resource.RLIM_INFINITY))
journal = AttemptJournal(folder, max_bytes=10_000_000, max_segment_bytes=1_000_000, clock=lambda: now_s[0])
outbox = LedgerOutbox(ScriptedLedger(is_away=True), journal, 1)
for number in range(400):
    if number == 350:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        now_s[0] = 1.0
    was_lost = outbox.num_lost
    outbox.settle(ended(f"a-{number}"))
    if outbox.num_lost == was_lost:
        say(f"settled a-{number}")
say(f"lost {outbox.num_lost}")
"""
ADOPTS = """
async def adopt():
    while (orphan := adopt_one(folder)) is not None:
        while not orphan.is_read:
            for attempt in (chunk := await orphan.read()).attempts:
                say(attempt.id)
                chunk.pin.release()
say("ready")
sys.stdin.readline()
asyncio.run(adopt())
"""


def a_child(script: str, folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", IMPORTS + script, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )


async def recovered(folder: Path) -> ScriptedLedger:
    """What the ledger holds after the next router has delivered everything."""
    ledger = ScriptedLedger()
    journal = AttemptJournal(folder, max_bytes=1_000_000, max_segment_bytes=100_000)
    outbox = LedgerOutbox(ledger, journal, 1000)
    while outbox.recover() or outbox.num_queued:
        assert await outbox._refill()
        assert await outbox._send_batch()
    outbox.close()
    return ledger


async def test_every_row_that_a_killed_process_had_written_is_recovered(tmp_path: Path) -> None:
    with a_child(APPENDS_UNTIL_KILLED, tmp_path) as child:
        assert child.stdout is not None
        said = [child.stdout.readline() for _ in range(1_500)]
        assert adopt_one(tmp_path) is None
        child.kill()
        said += child.stdout.readlines()
    said_whole = [line.split() for line in said if line.endswith("\n")]
    opened = {id_ for word, id_ in said_whole if word == "open"}
    settled = {id_ for word, id_ in said_whole if word == "settled"}
    ledger = await recovered(tmp_path)
    assert opened <= set(ledger.rows)
    assert len(ledger.rows) - len(opened) <= 1
    assert {id_ for id_ in settled if ledger.outcomes[id_] is not Outcome.COMPLETED} == set()
    never_settled = {f"a-{number}" for number in range(0, len(opened), 7)}
    assert {ledger.outcomes[id_] for id_ in never_settled & opened} == {Outcome.ABANDONED}
    assert journal_files(tmp_path) == []


async def test_what_was_written_before_and_after_a_file_size_limit_is_recovered(tmp_path: Path) -> None:
    with a_child(APPENDS_UNTIL_REFUSED, tmp_path) as child:
        assert child.stdout is not None
        *settled, lost = [line.split() for line in child.stdout]
    num_lost = int(lost[1])
    assert 0 < num_lost < 350
    ledger = await recovered(tmp_path)
    assert set(ledger.rows) == {id_ for _, id_ in settled}
    assert len(ledger.rows) == 400 - num_lost


async def test_two_that_adopt_at_once_never_take_the_same_file(tmp_path: Path) -> None:
    ids = set()
    for number in range(20):
        journal = AttemptJournal(tmp_path, max_bytes=10_000_000, max_segment_bytes=1_000)
        outbox = LedgerOutbox(ScriptedLedger(is_away=True), journal, 5)
        for row in range(20):
            outbox.open(begun(f"a-{number}-{row}"))
            outbox.settle(ended(f"a-{number}-{row}"))
            ids.add(f"a-{number}-{row}")
        outbox.close()
    with a_child(ADOPTS, tmp_path) as first, a_child(ADOPTS, tmp_path) as second:
        children = (first, second)
        for child in children:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
        for child in children:
            assert child.stdin is not None
            child.stdin.write("go\n")
            child.stdin.flush()
        taken = await asyncio.gather(*(asyncio.to_thread(child.communicate) for child in children))
    counts = Counter(id_ for said, _ in taken for id_ in said.split())
    assert set(counts) == ids
    assert set(counts.values()) == {1}
    assert journal_files(tmp_path) == []
