"""The ledger's rows, totals and claims stay within their bounds, and a claim has one owner."""

import asyncio

import hypothesis.strategies as st
import pytest
from hypothesis import given

from serve_app.accounting.memory_ledger import Bounds, MemoryLedger, Total
from serve_app.contracts.ledger import Claim
from serve_app.contracts.vocabulary import Outcome
from serve_app.errors import IdempotencyConflict
from tests.fakes.builders import FakeClock, an_answer, an_attempt

OWNER, RUNNING = Claim(is_owner=True), Claim(is_owner=False)
BODY, OTHER_BODY = b"digest", b"other digest"
TTL_S = 60.0


def a_ledger(
    *,
    max_attempts: int = 3,
    max_idempotency_keys: int = 2,
    max_kept_answer_bytes: int = 10,
    max_kept_bytes: int = 100,
    clock: FakeClock | None = None,
) -> MemoryLedger:
    bounds = Bounds(max_attempts, max_idempotency_keys, max_kept_answer_bytes, max_kept_bytes, TTL_S)
    return MemoryLedger(bounds, clock or FakeClock())


async def test_attempts_of_a_request_come_back_in_order() -> None:
    ledger = a_ledger()
    first, other, second = an_attempt(), an_attempt(request_id="req-2"), an_attempt(number=2)
    await ledger.record([first, other])
    await ledger.record([second])
    assert await ledger.attempts_of("req-1") == [first, second]
    assert await ledger.attempts_of("nobody") == []


async def test_the_oldest_rows_go_first_and_totals_remember_them() -> None:
    ledger = a_ledger(max_attempts=2)
    await ledger.record([an_attempt(number=number) for number in (1, 2, 3)])
    assert [attempt.number for attempt in await ledger.attempts_of("req-1")] == [2, 3]
    assert (await ledger.totals())["acme", "mistral-7b"].num_attempts == 3


@pytest.mark.parametrize("outcome", list(Outcome))
async def test_every_outcome_counts_and_costs_but_only_an_answer_is_completed(outcome: Outcome) -> None:
    ledger = a_ledger()
    await ledger.record([an_attempt(outcome=outcome, num_input_tokens=3, num_output_tokens=4, cost_usd=0.25)])
    completed = int(outcome is Outcome.COMPLETED)
    assert await ledger.totals() == {("acme", "mistral-7b"): Total(1, completed, 3, 4, 0.25)}


async def test_totals_are_kept_by_tenant_and_upstream() -> None:
    ledger = a_ledger()
    await ledger.record(
        [an_attempt(), an_attempt(tenant_id="globex"), an_attempt(upstream_id="gpt-5"), an_attempt(cost_usd=1.0)]
    )
    totals = await ledger.totals()
    assert {key: total.num_attempts for key, total in totals.items()} == {
        ("acme", "mistral-7b"): 2,
        ("globex", "mistral-7b"): 1,
        ("acme", "gpt-5"): 1,
    }
    assert totals["acme", "mistral-7b"].cost_usd == 1.5


@given(st.lists(st.sampled_from(["a", "b"])), st.integers(1, 5))
def test_rows_never_exceed_their_bound_and_totals_never_lose_one(tenants: list[str], max_attempts: int) -> None:
    async def recorded() -> tuple[int, int]:
        ledger = a_ledger(max_attempts=max_attempts)
        for tenant in tenants:
            await ledger.record([an_attempt(tenant_id=tenant)])
        totals = await ledger.totals()
        return len(await ledger.attempts_of("req-1")), sum(total.num_attempts for total in totals.values())

    assert asyncio.run(recorded()) == (min(len(tenants), max_attempts), len(tenants))


async def test_the_first_to_claim_a_key_owns_it_and_the_next_waits_for_the_answer() -> None:
    ledger = a_ledger()
    assert await ledger.claim("acme", "k", BODY) == OWNER
    assert await ledger.claim("acme", "k", BODY) == RUNNING
    await ledger.keep_answer("acme", "k", BODY, an_answer())
    assert await ledger.claim("acme", "k", BODY) == Claim(is_owner=False, answer=an_answer())


@pytest.mark.parametrize("is_finished", [True, False])
async def test_a_key_with_another_body_is_a_conflict(is_finished: bool) -> None:
    ledger = a_ledger()
    await ledger.claim("acme", "k", BODY)
    if is_finished:
        await ledger.keep_answer("acme", "k", BODY, an_answer())
    with pytest.raises(IdempotencyConflict):
        await ledger.claim("acme", "k", OTHER_BODY)


async def test_tenants_do_not_share_keys() -> None:
    ledger = a_ledger()
    await ledger.claim("acme", "k", BODY)
    await ledger.keep_answer("acme", "k", BODY, an_answer())
    assert await ledger.claim("globex", "k", OTHER_BODY) == OWNER


async def test_a_claim_that_is_given_back_is_free_again() -> None:
    ledger = a_ledger()
    await ledger.claim("acme", "k", BODY)
    await ledger.keep_answer("acme", "k", BODY, None)
    assert await ledger.claim("acme", "k", OTHER_BODY) == OWNER


@pytest.mark.parametrize(("num_bytes", "is_kept"), [(10, True), (11, False)])
async def test_an_answer_over_the_bound_is_not_kept(num_bytes: int, is_kept: bool) -> None:
    ledger = a_ledger(max_kept_answer_bytes=10)
    await ledger.claim("acme", "k", BODY)
    await ledger.keep_answer("acme", "k", BODY, an_answer(body=b"x" * num_bytes))
    assert (await ledger.claim("acme", "k", BODY)).is_owner is not is_kept


async def test_an_answer_for_a_key_that_nobody_holds_is_dropped() -> None:
    ledger = a_ledger()
    await ledger.keep_answer("acme", "k", BODY, an_answer())
    assert await ledger.claim("acme", "k", BODY) == OWNER


async def test_the_oldest_key_makes_room() -> None:
    ledger = a_ledger(max_idempotency_keys=2)
    for key in ("first", "second", "third"):
        await ledger.claim("acme", key, BODY)
    assert await ledger.claim("acme", "third", BODY) == RUNNING
    assert await ledger.claim("acme", "second", BODY) == RUNNING
    assert await ledger.claim("acme", "first", BODY) == OWNER


@pytest.mark.parametrize(("elapsed_s", "expected"), [(TTL_S - 0.5, RUNNING), (TTL_S, OWNER), (TTL_S * 2, OWNER)])
async def test_a_key_is_forgotten_after_its_time(elapsed_s: float, expected: Claim) -> None:
    clock = FakeClock()
    ledger = a_ledger(clock=clock)
    await ledger.claim("acme", "k", BODY)
    clock.advance(elapsed_s)
    assert await ledger.claim("acme", "k", BODY) == expected


async def test_time_runs_from_the_claim_and_only_what_is_old_is_forgotten() -> None:
    clock = FakeClock()
    ledger = a_ledger(clock=clock)
    await ledger.claim("acme", "old", BODY)
    clock.advance(TTL_S / 2)
    await ledger.claim("acme", "young", BODY)
    await ledger.keep_answer("acme", "old", BODY, an_answer())
    clock.advance(TTL_S / 2)
    assert await ledger.claim("acme", "young", BODY) == RUNNING
    assert await ledger.claim("acme", "old", OTHER_BODY) == OWNER


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.floats(0.0, TTL_S)), max_size=40), st.integers(1, 4))
def test_keys_never_exceed_their_bound(claims: list[tuple[str, float]], max_keys: int) -> None:
    async def most_held() -> int:
        clock = FakeClock()
        ledger = a_ledger(max_idempotency_keys=max_keys, clock=clock)
        most = 0
        for key, pause_s in claims:
            clock.advance(pause_s)
            await ledger.claim("acme", key, BODY)
            most = max(most, len(ledger._entries))
        return most

    assert asyncio.run(most_held()) <= max_keys


async def test_all_kept_answers_together_stay_within_their_bound() -> None:
    ledger = a_ledger(max_idempotency_keys=10, max_kept_bytes=25)
    for key in ("first", "second", "third"):
        await ledger.claim("acme", key, BODY)
        await ledger.keep_answer("acme", key, BODY, an_answer(body=b"x" * 10))
    assert await ledger.claim("acme", "third", BODY) == Claim(is_owner=False, answer=an_answer(body=b"x" * 10))
    assert await ledger.claim("acme", "first", BODY) == OWNER


async def test_a_late_answer_is_not_kept_for_another_body() -> None:
    ledger = a_ledger(max_idempotency_keys=1)
    await ledger.claim("acme", "k", BODY)
    await ledger.claim("acme", "other", BODY)
    await ledger.claim("acme", "k", OTHER_BODY)
    await ledger.keep_answer("acme", "k", BODY, an_answer())
    assert await ledger.claim("acme", "k", OTHER_BODY) == RUNNING
