"""Who may enter, what is given back, and what holds while nobody keeps count."""

import asyncio
import random
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from serve_app.admission.gate import Admission, AdmissionGate
from serve_app.admission.saturation import Saturation
from serve_app.contracts.tenant import Quota, Tenant
from serve_app.contracts.vocabulary import Priority
from serve_app.errors import GatewaySaturated, LimitReached
from tests.fakes.builders import a_tenant
from tests.fakes.wallets import FakeWallet

CONCURRENT, REQUESTS, TOKENS = "concurrent:acme", "requests:acme", "tokens:acme"


def limited(
    requests: int | None = None,
    tokens: int | None = None,
    concurrent: int | None = None,
    priority: Priority = Priority.NORMAL,
) -> Tenant:
    return replace(a_tenant(), quota=Quota(requests, tokens, 60.0, concurrent), priority=priority)


class Bench:
    """A gate over a fake wallet, both on one clock."""

    def __init__(self, capacity: int = 100, wallet: FakeWallet | None = None) -> None:
        self.wallet = FakeWallet() if wallet is None else wallet
        self.clock = self.wallet.clock
        self.saturation = Saturation(capacity, 0.75, 0.9, clock=self.clock)
        self.gate = AdmissionGate(self.wallet, self.saturation, retry_floor_s=0.5, clock=self.clock)

    async def admit(self, tenant: Tenant, num_tokens: int = 10) -> Admission:
        return await self.gate.admit(tenant, num_tokens=num_tokens)

    async def refusal(self, tenant: Tenant, num_tokens: int = 10) -> LimitReached:
        with pytest.raises(LimitReached) as refused:
            await self.admit(tenant, num_tokens)
        return refused.value


def wait_s(refused: LimitReached) -> float:
    assert refused.retry_after_s is not None
    return refused.retry_after_s


def runs_without_yielding(coroutine: Coroutine[Any, Any, Admission]) -> Admission:
    with pytest.raises(StopIteration) as finished:
        coroutine.send(None)
    admission: Admission = finished.value.value
    return admission


def test_a_tenant_without_a_quota_asks_nobody_and_never_waits() -> None:
    bench = Bench(wallet=FakeWallet(num_yields=lambda: 1))
    admission = runs_without_yielding(bench.gate.admit(a_tenant(), num_tokens=10**9))
    assert bench.saturation.num_in_progress == 1
    assert admission.headers() == {}
    admission.close(5)
    assert not bench.wallet.taken
    assert bench.saturation.num_in_progress == 0


async def test_every_limit_is_taken_at_the_start_and_settled_at_the_end() -> None:
    bench = Bench()
    admission = await bench.admit(limited(10, 1_000, 2), num_tokens=300)
    assert bench.wallet.taken == [(CONCURRENT, 1), (REQUESTS, 1), (TOKENS, 300)]
    admission.close(120)
    assert bench.wallet.used == {CONCURRENT: 0, REQUESTS: 1, TOKENS: 120}
    assert bench.wallet.num_held == 0


async def test_closing_again_does_nothing() -> None:
    bench = Bench()
    admission = await bench.admit(limited(10, 1_000, 2), num_tokens=300)
    await bench.admit(a_tenant(id="globex"))
    for num_tokens_used in (120, None, 7):
        admission.close(num_tokens_used)
    admission.withdraw()
    assert len(bench.wallet.settled) == 3
    assert bench.wallet.used[TOKENS] == 120
    assert bench.saturation.num_in_progress == 1


async def test_tokens_that_nobody_counted_stay_used_as_estimated() -> None:
    bench = Bench()
    (await bench.admit(limited(tokens=1_000), num_tokens=300)).close(None)
    assert bench.wallet.used[TOKENS] == 300


async def test_a_request_that_reached_no_upstream_used_no_tokens_but_counts_as_a_request() -> None:
    bench = Bench()
    (await bench.admit(limited(10, 1_000), num_tokens=300)).close(0)
    assert bench.wallet.used == {REQUESTS: 1, TOKENS: 0}


async def test_an_answer_beyond_its_estimate_holds_up_the_requests_after_it() -> None:
    bench = Bench()
    (await bench.admit(limited(tokens=600), num_tokens=10)).close(660)
    refused = await bench.refusal(limited(tokens=600), num_tokens=10)
    assert wait_s(refused) == pytest.approx(7.0), "70 tokens at 10 a second"


async def test_requests_over_the_rate_are_refused_until_one_fits_again() -> None:
    bench = Bench()
    for _ in range(6):
        (await bench.admit(limited(requests=6))).close(0)
    refused = await bench.refusal(limited(requests=6))
    assert (refused.code, refused.status_code) == ("rate_limited", 429)
    assert refused.public_message == "Rate limit reached: 6 requests in 60 seconds."
    assert wait_s(refused) == pytest.approx(10.0), "not the 60 s until all six are there again"
    bench.clock.advance(9.9)
    await bench.refusal(limited(requests=6))
    bench.clock.advance(0.1)
    await bench.admit(limited(requests=6))


async def test_tokens_over_the_rate_wait_for_what_is_missing_of_them() -> None:
    bench = Bench()
    (await bench.admit(limited(tokens=600), num_tokens=500)).close(None)
    refused = await bench.refusal(limited(tokens=600), num_tokens=300)
    assert refused.code == "rate_limited"
    assert refused.public_message == (
        "Rate limit reached: 600 tokens in 60 seconds, and prompt and answer may come to 300."
    )
    assert wait_s(refused) == pytest.approx(20.0), "200 are missing, 10 come a second"
    bench.clock.advance(wait_s(refused))
    await bench.admit(limited(tokens=600), num_tokens=300)


async def test_a_request_larger_than_the_window_enters_when_it_has_the_window_to_itself() -> None:
    bench = Bench()
    admission = await bench.admit(limited(tokens=600), num_tokens=5_000)
    assert bench.wallet.held[TOKENS] == 600
    admission.close(60)
    refused = await bench.refusal(limited(tokens=600), num_tokens=5_000)
    assert wait_s(refused) == pytest.approx(6.0)
    bench.clock.advance(6.0)
    await bench.admit(limited(tokens=600), num_tokens=5_000)


async def test_a_request_estimated_at_nothing_still_asks() -> None:
    bench = Bench()
    (await bench.admit(limited(tokens=600), num_tokens=600)).close(None)
    await bench.refusal(limited(tokens=600), num_tokens=0)


@pytest.mark.parametrize("tenant", [limited(requests=0), limited(tokens=0), limited(concurrent=0)])
async def test_a_limit_of_none_lets_nobody_in(tenant: Tenant) -> None:
    assert wait_s(await Bench().refusal(tenant, num_tokens=0)) >= 0.5


async def test_requests_at_once_are_bounded_and_come_free_one_by_one() -> None:
    bench = Bench()
    first, _ = await bench.admit(limited(concurrent=2)), await bench.admit(limited(concurrent=2))
    refused = await bench.refusal(limited(concurrent=2))
    assert refused.code == "too_many_concurrent"
    assert refused.public_message == "Too many requests at once: 2 may be in progress."
    first.close(0)
    await bench.admit(limited(concurrent=2))


async def test_too_many_at_once_may_come_again_when_one_of_them_has_usually_ended() -> None:
    bench = Bench()
    admission = await bench.admit(a_tenant())
    bench.clock.advance(12.0)
    admission.close(0)
    for _ in range(4):
        await bench.admit(limited(concurrent=4))
    assert wait_s(await bench.refusal(limited(concurrent=4))) == pytest.approx(3.0)


async def test_a_refusal_names_at_least_the_floor() -> None:
    bench = Bench()
    for _ in range(600):
        (await bench.admit(limited(requests=600))).close(0)
    assert wait_s(await bench.refusal(limited(requests=600))) == 0.5


@pytest.mark.parametrize("left", [None, 5])
async def test_a_wallet_that_refuses_without_a_reason_is_asked_again_after_the_floor(left: int | None) -> None:
    class Refusing(FakeWallet):
        async def take(self, meter: object, amount: int) -> bool:
            return False

    bench = Bench(wallet=Refusing())
    if left is not None:
        bench.wallet.left[REQUESTS] = left
    assert wait_s(await bench.refusal(limited(requests=5))) == 0.5


@pytest.mark.parametrize(
    ("tenant", "spent"),
    [
        (limited(0, 1_000, 5), {}),
        (limited(10, 1_000, 5), {TOKENS: 1_000}),
        (limited(10, 1_000, 0), {}),
    ],
)
async def test_what_was_taken_before_a_refusal_is_given_back(tenant: Tenant, spent: dict[str, int]) -> None:
    bench = Bench()
    for _ in spent:
        (await bench.admit(tenant, num_tokens=1_000)).close(None)
    used_before = dict(bench.wallet.used)
    await bench.refusal(tenant, num_tokens=1_000)
    assert bench.wallet.num_held == bench.saturation.num_in_progress == 0
    assert +bench.wallet.used == {key: num for key, num in used_before.items() if num}


async def test_a_saturated_gateway_refuses_before_it_looks_at_limits() -> None:
    bench = Bench(capacity=1)
    await bench.admit(limited(10, 1_000, 5))
    num_taken = len(bench.wallet.taken)
    with pytest.raises(GatewaySaturated):
        await bench.admit(limited(10, 1_000, 5, Priority.HIGH))
    assert len(bench.wallet.taken) == num_taken
    assert bench.saturation.num_in_progress == 1


async def test_low_priority_is_shed_while_high_still_enters() -> None:
    bench = Bench(capacity=4)
    for _ in range(3):
        await bench.admit(limited(priority=Priority.HIGH))
    with pytest.raises(GatewaySaturated):
        await bench.admit(limited(priority=Priority.LOW))
    await bench.admit(limited(priority=Priority.HIGH))


async def test_a_client_that_leaves_while_it_waits_to_enter_leaves_nothing_behind() -> None:
    bench = Bench(wallet=FakeWallet(num_yields=lambda: 1))
    for num_steps in range(8):
        task = asyncio.create_task(bench.admit(limited(100, 10_000, 50)))
        for _ in range(num_steps):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            task.result().close(0)
        assert bench.wallet.num_held == bench.saturation.num_in_progress == 0


async def test_while_nobody_keeps_count_the_router_enforces_the_whole_limit_alone() -> None:
    bench = Bench()
    tenant = limited(2, 1_000, 2)
    bench.wallet.is_away = True
    first, second = await bench.admit(tenant), await bench.admit(tenant)
    assert (await bench.refusal(tenant)).code == "too_many_concurrent"
    first.close(0)
    refused = await bench.refusal(tenant)
    assert refused.code == "rate_limited"
    assert wait_s(refused) == pytest.approx(30.0), "from the router's own bucket"
    second.close(0)
    assert bench.wallet.settled == [], "what was taken alone is never told to the owner"
    bench.clock.advance(30.0)
    await bench.admit(tenant)


async def test_a_request_asks_an_owner_that_is_away_only_once() -> None:
    bench = Bench()
    bench.wallet.is_away = True
    await bench.admit(limited(10, 1_000, 5))
    assert bench.wallet.taken == [(CONCURRENT, 1)]


async def test_what_the_routers_own_part_covers_is_taken_from_it_while_the_owner_is_away() -> None:
    bench = Bench()
    bench.wallet.is_away, bench.wallet.own_part = True, {CONCURRENT}
    (await bench.admit(limited(10, 1_000, 5))).close(7)
    assert bench.wallet.settled == [(CONCURRENT, 1, 0)]


async def test_limits_are_shared_again_when_the_owner_is_back() -> None:
    bench = Bench()
    tenant = limited(1, 1_000)
    bench.wallet.is_away = True
    alone = await bench.admit(tenant)
    assert alone.headers()["x-ratelimit-remaining-requests"] == "0"
    bench.wallet.is_away = False
    shared = await bench.admit(tenant)
    alone.close(5)
    shared.close(7)
    assert bench.wallet.used == {REQUESTS: 1, TOKENS: 7}


async def test_the_gate_knows_what_is_left_from_whom_it_asked_last() -> None:
    bench, tenant = Bench(), limited(requests=6)
    (await bench.admit(tenant)).close(0)
    meter_balances = []
    for is_away in (False, True, False):
        bench.wallet.is_away = is_away
        admission = await bench.admit(tenant)
        held = admission.requests
        assert held is not None
        balance = bench.gate.balance(held.meter)
        assert balance is not None
        meter_balances.append(balance.left)
    assert meter_balances == [4, 5, 3]


async def test_an_admission_tells_what_is_left_in_openais_headers() -> None:
    bench = Bench()
    admission = await bench.admit(limited(60, 6_000, 5), num_tokens=600)
    assert admission.headers() == {
        "x-ratelimit-limit-requests": "60",
        "x-ratelimit-remaining-requests": "59",
        "x-ratelimit-reset-requests": "1s",
        "x-ratelimit-limit-tokens": "6000",
        "x-ratelimit-remaining-tokens": "5400",
        "x-ratelimit-reset-tokens": "6s",
    }
    assert (await bench.admit(limited(concurrent=5))).headers() == {}


async def test_an_admission_knows_nothing_of_what_it_took_nothing_of() -> None:
    bench = Bench()
    requests = (await bench.admit(limited(requests=60))).requests
    assert requests is not None
    assert (await bench.admit(limited(tokens=60))).balance(requests.meter) is None


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    concurrent=st.integers(1, 6),
    num_requests=st.integers(1, 40),
    num_tokens=st.integers(1, 2_000),
    is_away_at=st.none() | st.integers(0, 63),
)
async def test_however_callers_race_the_limits_hold_and_everything_comes_back(
    seed: int, concurrent: int, num_requests: int, num_tokens: int, is_away_at: int | None
) -> None:
    chance = random.Random(seed)
    bench = Bench(wallet=FakeWallet(num_yields=lambda: chance.randrange(3)))
    tenant = limited(num_requests, num_tokens, concurrent, Priority.HIGH)
    num_inside, num_most, num_alone = 0, 0, 0

    async def call(number: int) -> None:
        nonlocal num_inside, num_most, num_alone
        for _ in range(chance.randrange(4)):
            await asyncio.sleep(0)
        bench.wallet.is_away = number == is_away_at
        asked = chance.randrange(1, 200)
        try:
            admission = await bench.admit(tenant, asked)
        except LimitReached:
            return
        num_inside, num_alone = num_inside + 1, num_alone + admission.is_alone
        num_most = max(num_most, num_inside)
        await asyncio.sleep(0)
        num_inside -= 1
        admission.close(chance.choice([None, 0, min(asked, num_tokens) // 2]))

    await asyncio.gather(*(call(number) for number in range(64)))
    assert num_most <= concurrent * (2 if num_alone else 1)
    assert bench.wallet.used[REQUESTS] <= num_requests
    assert bench.wallet.used[TOKENS] <= num_tokens
    assert bench.wallet.num_held == bench.saturation.num_in_progress == 0
