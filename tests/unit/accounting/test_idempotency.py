"""A key has one owner at a time; a request that ended is never run again while its key is remembered."""

import contextlib

import hypothesis.strategies as st
import pytest
from hypothesis import given

from serve_app.accounting.idempotency import Bounds, ClaimChanges, ClaimRecord, IdempotencyBook
from serve_app.contracts.ledger import Claim, StoredAnswer
from serve_app.errors import IdempotencyAnswerGone, IdempotencyConflict

OWNER, RUNNING = Claim(is_owner=True), Claim(is_owner=False)
BODY, OTHER_BODY = b"digest", b"other digest"
TTL_S, LEASE_S = 60.0, 20.0


class Clock:
    def __init__(self, now_s: float) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s

    def advance(self, seconds: float) -> None:
        self.now_s += seconds


def an_answer(num_bytes: int = 2) -> StoredAnswer:
    return StoredAnswer(200, "application/json", (), b"x" * num_bytes)


def replay(num_bytes: int = 2) -> Claim:
    return Claim(is_owner=False, answer=an_answer(num_bytes))


class Desk:
    """A book, and both of its clocks."""

    def __init__(self, *, max_keys: int = 2, max_answer_bytes: int = 10, max_bytes: int = 100) -> None:
        self.bounds = Bounds(max_keys, max_answer_bytes, max_bytes, TTL_S, LEASE_S)
        self.steady, self.wall = Clock(1000.0), Clock(1_800_000_000.0)
        self.book = IdempotencyBook(self.bounds, self.steady, self.wall)

    def advance(self, seconds: float) -> None:
        self.steady.advance(seconds)
        self.wall.advance(seconds)

    def claim(self, key: str = "k", body: bytes = BODY, tenant_id: str = "acme") -> Claim:
        return self.book.claim(tenant_id, key, body)

    def keep(self, answer: StoredAnswer | None, key: str = "k", body: bytes = BODY) -> None:
        self.book.keep_answer("acme", key, body, answer)

    def written(self) -> ClaimChanges:
        return self.book.take_changes(1000)

    def restarted(self, records: list[ClaimRecord], *, away_s: float = 0.0) -> "Desk":
        """Another owner, whose steady clock starts anew."""
        after = Desk(max_keys=self.bounds.max_idempotency_keys)
        after.wall.now_s = self.wall.now_s + away_s
        after.book.load(records)
        return after


def test_the_first_to_claim_a_key_owns_it_and_the_next_waits_for_the_answer() -> None:
    desk = Desk()
    assert desk.claim() == OWNER
    assert desk.claim() == RUNNING
    desk.keep(an_answer())
    assert desk.claim() == replay()


@pytest.mark.parametrize("is_finished", [True, False])
def test_a_key_with_another_body_is_a_conflict(is_finished: bool) -> None:
    desk = Desk()
    desk.claim()
    if is_finished:
        desk.keep(an_answer())
    with pytest.raises(IdempotencyConflict):
        desk.claim(body=OTHER_BODY)


def test_tenants_do_not_share_keys() -> None:
    desk = Desk()
    desk.claim()
    desk.keep(an_answer())
    assert desk.claim(body=OTHER_BODY, tenant_id="globex") == OWNER


def test_a_claim_that_is_given_back_is_free_again() -> None:
    desk = Desk()
    desk.claim()
    desk.keep(None)
    assert desk.claim(body=OTHER_BODY) == OWNER


def test_an_answer_that_was_kept_is_not_given_back_and_not_replaced() -> None:
    desk = Desk()
    desk.claim()
    desk.keep(an_answer(3))
    desk.keep(None)
    desk.keep(an_answer(5))
    assert desk.claim() == replay(3)


def test_a_request_whose_answer_was_too_large_to_keep_is_not_run_again() -> None:
    desk = Desk(max_answer_bytes=10)
    desk.claim()
    desk.keep(an_answer(10))
    assert desk.claim() == replay(10)
    desk.claim("large")
    desk.keep(an_answer(11), "large")
    with pytest.raises(IdempotencyAnswerGone):
        desk.claim("large")


def test_an_answer_that_made_room_for_others_is_gone_and_its_request_is_not_run_again() -> None:
    desk = Desk(max_keys=10, max_bytes=25)
    for key in ("first", "second", "third"):
        desk.claim(key)
        desk.keep(an_answer(10), key)
    assert desk.claim("third") == replay(10)
    assert desk.claim("second") == replay(10)
    with pytest.raises(IdempotencyAnswerGone):
        desk.claim("first")


def test_an_answer_over_the_bound_of_all_answers_is_not_kept() -> None:
    desk = Desk(max_bytes=5)
    desk.claim()
    desk.keep(an_answer(6))
    with pytest.raises(IdempotencyAnswerGone):
        desk.claim()


def test_an_answer_for_a_key_that_nobody_holds_is_dropped() -> None:
    desk = Desk()
    desk.keep(an_answer())
    assert desk.claim() == OWNER


def test_a_late_answer_is_not_kept_for_another_body() -> None:
    desk = Desk(max_keys=1)
    desk.claim()
    desk.claim("other")
    desk.claim(body=OTHER_BODY)
    desk.keep(an_answer())
    assert desk.claim(body=OTHER_BODY) == RUNNING


def test_the_oldest_key_makes_room() -> None:
    desk = Desk(max_keys=2)
    for key in ("first", "second", "third"):
        desk.claim(key)
    assert desk.claim("third") == RUNNING
    assert desk.claim("second") == RUNNING
    assert desk.claim("first") == OWNER


@pytest.mark.parametrize(("elapsed_s", "expected"), [(TTL_S - 0.5, replay()), (TTL_S, OWNER), (TTL_S * 2, OWNER)])
def test_a_key_is_forgotten_after_its_time(elapsed_s: float, expected: Claim) -> None:
    desk = Desk()
    desk.claim()
    desk.keep(an_answer())
    desk.advance(elapsed_s)
    assert desk.claim() == expected


def test_time_runs_from_the_claim_and_only_what_is_old_is_forgotten() -> None:
    desk = Desk()
    desk.claim("old")
    desk.keep(an_answer(), "old")
    desk.advance(TTL_S / 2)
    desk.claim("young")
    desk.keep(an_answer(), "young")
    desk.advance(TTL_S / 2)
    assert desk.claim("young") == replay()
    assert desk.claim("old", OTHER_BODY) == OWNER


@pytest.mark.parametrize(("elapsed_s", "expected"), [(LEASE_S - 0.5, RUNNING), (LEASE_S, OWNER)])
def test_a_request_that_never_ends_holds_its_key_for_a_lease(elapsed_s: float, expected: Claim) -> None:
    desk = Desk()
    desk.claim()
    desk.advance(elapsed_s)
    assert desk.claim() == expected
    assert desk.claim() == RUNNING


def test_a_lease_that_ran_out_frees_the_key_for_another_body_too() -> None:
    desk = Desk()
    desk.claim()
    desk.advance(LEASE_S)
    assert desk.claim(body=OTHER_BODY) == OWNER
    assert len(desk.book) == 1


@pytest.mark.parametrize("jump_s", [-1e6, 1e6])
def test_a_jump_of_the_wall_clock_frees_no_key(jump_s: float) -> None:
    desk = Desk()
    desk.claim()
    desk.wall.advance(jump_s)
    assert desk.claim() == RUNNING


def test_what_is_stored_are_digests() -> None:
    desk = Desk()
    desk.claim("a very private key")
    desk.advance(1.0)
    desk.keep(an_answer(), "a very private key")
    (record,), gone = desk.written().held, desk.written().gone
    assert (record.tenant_id, record.body_digest, len(record.key_digest)) == ("acme", BODY, 32)
    assert (record.claimed_at_unix_s, record.finished_at_unix_s) == (1_800_000_000.0, 1_800_000_001.0)
    assert not gone
    assert "private" not in repr(record)


def test_a_change_is_handed_out_once_and_again_when_it_was_put_back() -> None:
    desk = Desk()
    desk.claim("held")
    desk.claim("given back")
    desk.keep(None, "given back")
    changes = desk.written()
    assert (len(changes.held), len(changes.gone)) == (1, 1)
    assert not desk.book.has_changes
    assert desk.written() == ClaimChanges([], [])
    desk.book.put_back(changes)
    assert desk.written() == changes


def test_changes_come_in_portions() -> None:
    desk = Desk(max_keys=5)
    for key in "abcde":
        desk.claim(key)
    portions = [len(desk.book.take_changes(2).held) for _ in range(4)]
    assert portions == [2, 2, 1, 0]


def test_a_key_that_was_forgotten_is_handed_out_as_gone() -> None:
    desk = Desk(max_keys=1)
    desk.claim("first")
    (first,) = desk.written().held
    desk.claim("second")
    changes = desk.written()
    assert changes.gone == [first.id]
    assert len(changes.held) == 1


def test_a_finished_request_of_an_earlier_owner_neither_runs_again_nor_replays() -> None:
    desk = Desk()
    desk.claim()
    desk.keep(an_answer())
    after = desk.restarted(list(desk.written().held))
    with pytest.raises(IdempotencyAnswerGone):
        after.claim()
    with pytest.raises(IdempotencyConflict):
        after.claim(body=OTHER_BODY)
    after.keep(None)
    with pytest.raises(IdempotencyAnswerGone):
        after.claim()


def test_a_request_that_ran_through_the_restart_of_the_owner_still_ends_its_claim() -> None:
    desk = Desk()
    desk.claim()
    after = desk.restarted(list(desk.written().held), away_s=LEASE_S / 2)
    assert after.claim() == RUNNING
    after.keep(an_answer())
    assert after.claim() == replay()


def test_a_request_that_died_with_its_owner_is_run_again_after_its_lease() -> None:
    desk = Desk()
    desk.claim()
    after = desk.restarted(list(desk.written().held), away_s=LEASE_S / 2)
    after.advance(LEASE_S / 2)
    assert after.claim() == OWNER


def test_claims_that_ran_out_meanwhile_are_not_loaded_and_cleared_from_the_store() -> None:
    desk = Desk()
    desk.claim()
    records = list(desk.written().held)
    after = desk.restarted(records, away_s=TTL_S)
    assert len(after.book) == 0
    assert after.written().gone == [records[0].id]


def test_a_claim_from_the_future_is_as_old_as_the_moment_it_is_loaded() -> None:
    desk = Desk()
    desk.claim()
    after = desk.restarted(list(desk.written().held), away_s=-1e6)
    assert after.claim() == RUNNING
    after.advance(LEASE_S)
    assert after.claim() == OWNER


def test_what_was_claimed_before_the_store_came_back_holds_over_what_it_has() -> None:
    desk = Desk(max_keys=5)
    desk.claim("again")
    desk.claim("free")
    desk.advance(1.0)
    records = list(desk.written().held)
    after = Desk(max_keys=5)
    assert after.claim("again", OTHER_BODY) == OWNER
    after.claim("free")
    after.keep(None, "free")
    after.book.load(records)
    assert after.claim("again", OTHER_BODY) == RUNNING
    assert after.claim("free") == OWNER


def test_loaded_claims_stay_within_the_bound_and_the_oldest_go() -> None:
    desk = Desk(max_keys=4)
    for key in ("first", "second", "third"):
        desk.claim(key)
        desk.keep(an_answer(), key)
        desk.advance(1.0)
    records = list(desk.written().held)
    after = Desk(max_keys=2)
    after.wall.now_s = desk.wall.now_s
    after.book.load(records)
    with pytest.raises(IdempotencyAnswerGone):
        after.claim("third")
    assert after.claim("first") == OWNER


@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.sampled_from(["run", "end", "back", "wait"])), max_size=60))
def test_nothing_exceeds_its_bound_and_a_store_that_takes_every_change_holds_what_the_book_does(
    steps: list[tuple[str, str]],
) -> None:
    desk = Desk(max_keys=3, max_answer_bytes=10, max_bytes=12)
    store: dict[tuple[str, bytes], ClaimRecord] = {}
    for key, step in steps:
        if step == "wait":
            desk.advance(TTL_S / 5)
        elif step == "run":
            with contextlib.suppress(IdempotencyAnswerGone):
                desk.claim(key)
        else:
            desk.keep(an_answer(5) if step == "end" else None, key)
        changes = desk.book.take_changes(100)
        store.update({record.id: record for record in changes.held})
        for claim_id in changes.gone:
            store.pop(claim_id, None)
        entries = desk.book._entries
        assert {claim_id: entry.record for claim_id, entry in entries.items()} == store
        assert len(entries) <= 3
        kept = [entry.answer for entry in entries.values() if entry.answer is not None]
        assert sum(len(answer.body) for answer in kept) == desk.book._num_kept_bytes <= 12


@given(st.lists(st.sampled_from("abcdefghijklmnop"), max_size=100))
def test_changes_that_no_store_takes_stay_within_their_bound(keys: list[str]) -> None:
    desk = Desk(max_keys=2)
    for key in keys:
        desk.claim(key)
        assert len(desk.book._changed) <= 4
