"""Money is set aside before it is spent: in all meters or in none, and never more than there is."""

import asyncio
import random
from dataclasses import replace

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from serve_app.accounting.budget import TOTAL, BudgetKeeper, Reservation, nano_usd
from serve_app.contracts.fleet import Candidate
from serve_app.contracts.tenant import Budget, Tenant
from serve_app.contracts.vocabulary import LOCAL, Tier
from serve_app.errors import LimitReached
from tests.fakes.builders import CLOUD, FakeClock, a_candidate, a_price, a_tenant, an_upstream
from tests.fakes.wallets import FakeWallet

DAY, MONTH, ALL_DAY, ALL_MONTH = "spend-day:acme", "spend-month:acme", f"spend-day:{TOTAL}", f"spend-month:{TOTAL}"
NOTHING = Budget()
A_DOLLAR_A_TOKEN = a_price(input_usd_per_mtok=1e6, output_usd_per_mtok=1e6)
IN_CLOUD = a_candidate(tier=Tier.CLOUD_ENHANCED, upstream=an_upstream(id="cloud", place=CLOUD, price=A_DOLLAR_A_TOKEN))
USD = 10**9


def with_budget(day_usd: float | None = None, month_usd: float | None = None, name: str = "acme") -> Tenant:
    return replace(a_tenant(id=name), budget=Budget(day_usd, month_usd))


class Bench:
    """A keeper over a fake wallet. Tokens cost a dollar each, so that `reserve(tenant, 3)` is about 3 USD."""

    def __init__(self, total: Budget = NOTHING, wallet: FakeWallet | None = None) -> None:
        self.wallet = FakeWallet() if wallet is None else wallet
        self.clock: FakeClock = self.wallet.clock
        self.keeper = BudgetKeeper(self.wallet, total, least_usd=0.5, clock=self.clock)

    async def reserve(self, tenant: Tenant, usd: int, candidate: Candidate = IN_CLOUD) -> Reservation | None:
        return await self.keeper.reserve(tenant, candidate, num_input_tokens=usd - 1, max_output_tokens=1)

    async def spend(self, tenant: Tenant, usd: int) -> None:
        reservation = await self.reserve(tenant, usd)
        assert reservation is not None
        reservation.settle(usd)


def wait_s(refused: LimitReached) -> float:
    assert refused.retry_after_s is not None
    return refused.retry_after_s


async def test_prompt_and_longest_answer_are_reserved_at_the_upstreams_price() -> None:
    wallet = FakeWallet()
    upstream = an_upstream(place=CLOUD, price=a_price(input_usd_per_mtok=0.15, output_usd_per_mtok=0.6))
    candidate = a_candidate(tier=Tier.CLOUD_ENHANCED, upstream=upstream)
    keeper = BudgetKeeper(wallet, NOTHING)
    reservation = await keeper.reserve(with_budget(1.0), candidate, num_input_tokens=1_001, max_output_tokens=300)
    assert reservation is not None
    assert wallet.held == {DAY: 330_150}


@pytest.mark.parametrize(
    ("usd", "nano"),
    [(0.000123, 123_000), (1e-9, 1), (1.2e-9, 2), (0.0, 0), (-1.0, 0), (123_456.789, 123_456_789_000_000)],
)
def test_an_amount_is_rounded_up_to_a_whole_unit_and_binary_fractions_add_none(usd: float, nano: int) -> None:
    assert nano_usd(usd) == nano


async def test_day_and_month_of_the_tenant_and_of_all_are_taken_in_this_order() -> None:
    bench = Bench(Budget(100.0, 1_000.0))
    await bench.reserve(with_budget(10.0, 50.0), 3)
    assert bench.wallet.taken == [(key, 3 * USD) for key in (DAY, MONTH, ALL_DAY, ALL_MONTH)]


async def test_what_was_not_spent_may_be_spent_again() -> None:
    bench, tenant = Bench(), with_budget(10.0)
    reservation = await bench.reserve(tenant, 9)
    assert reservation is not None
    assert await bench.reserve(tenant, 2) is None
    reservation.settle(4.0)
    assert bench.keeper.left_usd(tenant) == 6.0
    assert await bench.reserve(tenant, 6) is not None


@pytest.mark.parametrize("ends", [("settle", "settle"), ("settle", "release"), ("release", "settle")])
async def test_a_reservation_ends_once(ends: tuple[str, str]) -> None:
    bench = Bench()
    reservation = await bench.reserve(with_budget(10.0, 50.0), 5)
    assert reservation is not None
    for end in ends:
        if end == "settle":
            reservation.settle(2.0)
        else:
            reservation.release()
    spent = 2 * USD if ends[0] == "settle" else 0
    assert bench.wallet.settled == [(DAY, 5 * USD, spent), (MONTH, 5 * USD, spent)]
    assert bench.wallet.num_held == 0


@pytest.mark.parametrize("short", [DAY, MONTH, ALL_DAY, ALL_MONTH])
async def test_all_meters_give_or_none_does(short: str) -> None:
    bench, tenant = Bench(Budget(10.0, 10.0)), with_budget(10.0, 10.0)
    await bench.spend(tenant, 1)
    bench.wallet.left[short] = 1.0
    assert await bench.reserve(tenant, 5) is None
    assert bench.wallet.num_held == 0
    assert bench.wallet.used == dict.fromkeys((DAY, MONTH, ALL_DAY, ALL_MONTH), 1 * USD)


async def test_what_is_local_is_free_even_when_nothing_is_left() -> None:
    bench, tenant = Bench(), with_budget(0.0)
    upstream = an_upstream(place=LOCAL, price=A_DOLLAR_A_TOKEN)
    for tier in (Tier.LOCAL_FAST, Tier.CLOUD_ENHANCED):
        reservation = await bench.reserve(tenant, 5, a_candidate(tier=tier, upstream=upstream))
        assert reservation is not None
        reservation.settle(3.0)
    assert bench.wallet.taken == []
    assert await bench.reserve(tenant, 5) is None


async def test_without_any_budget_the_cloud_is_not_counted() -> None:
    bench = Bench()
    reservation = await bench.reserve(a_tenant(), 10**6)
    assert reservation is not None
    reservation.settle(1e6)
    assert bench.wallet.taken == []
    assert not bench.keeper.is_over(a_tenant())
    assert bench.keeper.left_usd(a_tenant()) is None
    assert bench.keeper.resets_in_s(a_tenant()) == 0.0


async def test_the_total_binds_tenants_that_have_no_budget_of_their_own() -> None:
    bench = Bench(Budget(month_usd=10.0))
    await bench.spend(a_tenant(id="globex"), 10)
    assert await bench.reserve(a_tenant(), 1) is None
    assert bench.keeper.is_over(a_tenant())


@pytest.mark.parametrize("covered", [set(), {DAY}])
async def test_money_fails_closed_while_nobody_keeps_count(covered: set[str]) -> None:
    bench = Bench()
    bench.wallet.is_away, bench.wallet.own_part = True, covered
    assert await bench.reserve(with_budget(10.0, 10.0), 1) is None
    assert bench.wallet.num_held == 0
    assert await bench.reserve(with_budget(10.0, 10.0), 1, a_candidate()) is not None, "local still serves"


async def test_what_the_routers_own_part_covers_is_spent_while_the_owner_is_away() -> None:
    bench = Bench()
    bench.wallet.is_away, bench.wallet.own_part = True, {DAY, MONTH}
    assert await bench.reserve(with_budget(10.0, 10.0), 1) is not None


async def test_a_client_that_leaves_while_money_is_set_aside_gives_it_back() -> None:
    bench = Bench(Budget(100.0, 100.0), FakeWallet(num_yields=lambda: 1))
    for num_steps in range(10):
        task = asyncio.create_task(bench.reserve(with_budget(100.0, 100.0), 5))
        for _ in range(num_steps):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            reservation = task.result()
            assert reservation is not None
            reservation.release()
        assert bench.wallet.num_held == 0


async def test_a_cost_beyond_the_reservation_is_counted_whole_and_stops_what_comes_after() -> None:
    bench, tenant = Bench(), with_budget(10.0)
    reservation = await bench.reserve(tenant, 9)
    assert reservation is not None
    reservation.settle(12.0)
    assert bench.wallet.used[DAY] == 12 * USD
    assert bench.keeper.is_over(tenant)
    assert bench.keeper.left_usd(tenant) == 0.0
    assert await bench.reserve(tenant, 1) is None


@pytest.mark.parametrize(("spent", "is_over"), [(9, False), (10, True)])
async def test_a_budget_is_over_when_nothing_worth_a_request_is_left(spent: int, is_over: bool) -> None:
    bench, tenant = Bench(), with_budget(100.0, 10.25)
    assert not bench.keeper.is_over(tenant), "nobody has asked yet"
    await bench.spend(tenant, spent)
    assert bench.keeper.is_over(tenant) is is_over
    assert bench.keeper.left_usd(tenant) == 10.25 - spent


def test_a_budget_too_small_for_any_request_is_over_before_anybody_asked() -> None:
    assert Bench().keeper.is_over(with_budget(0.0))
    assert Bench(Budget(day_usd=0.25)).keeper.is_over(a_tenant())


async def test_that_a_budget_is_over_is_believed_for_a_while_and_then_one_request_asks() -> None:
    bench, tenant = Bench(), with_budget(10.0)
    await bench.spend(tenant, 10)
    assert bench.keeper.is_over(tenant)
    bench.clock.advance(4.9)
    assert bench.keeper.is_over(tenant)
    bench.clock.advance(0.1)
    assert not bench.keeper.is_over(tenant), "so that somebody asks"
    assert await bench.reserve(tenant, 1) is None
    assert bench.keeper.is_over(tenant)
    bench.clock.advance(5.0)
    bench.wallet.left[DAY] = 10.0 * USD
    assert await bench.reserve(tenant, 1) is not None
    assert not bench.keeper.is_over(tenant)


async def test_a_budget_that_is_over_again_is_believed_anew() -> None:
    bench, tenant = Bench(), with_budget(10.0)
    await bench.spend(tenant, 10)
    for left_usd, is_over in ((0.0, True), (9.0, False), (0.0, True)):
        bench.wallet.left[DAY] = left_usd * USD
        assert bench.keeper.is_over(tenant) is is_over
        bench.clock.advance(20.0)


async def test_a_budget_that_fills_sooner_is_believed_to_be_over_no_longer_than_that() -> None:
    bench, tenant = Bench(), with_budget(10.0)
    bench.wallet.resets_in_s = dict.fromkeys(bench.wallet.resets_in_s, 2.0)
    await bench.spend(tenant, 10)
    assert bench.keeper.is_over(tenant)
    bench.clock.advance(2.0)
    assert not bench.keeper.is_over(tenant)


async def test_what_is_remembered_of_tenants_without_money_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BudgetKeeper, "_MAX_OUT", 3)
    bench = Bench()
    for number in range(10):
        tenant = with_budget(10.0, name=f"tenant-{number}")
        await bench.spend(tenant, 10)
        assert bench.keeper.is_over(tenant)
        assert len(bench.keeper._believed_until) <= 3


@pytest.mark.parametrize(
    ("tenant", "total", "spent", "resets_in_s", "whose"),
    [
        (with_budget(10.0, 100.0), NOTHING, 10, 3_600.0, "Your"),
        (with_budget(10.0, 10.0), NOTHING, 10, 86_400.0, "Your"),
        (with_budget(10.0, 10.0), Budget(day_usd=10.0), 10, 86_400.0, "The gateway's"),
        (with_budget(10.0, 100.0), Budget(month_usd=100.0), 8, 3_600.0, "Your"),
        (with_budget(100.0), Budget(month_usd=10.0), 8, 86_400.0, "The gateway's"),
    ],
)
async def test_a_refusal_says_whose_budget_is_out_and_when_it_fills(
    tenant: Tenant, total: Budget, spent: int, resets_in_s: float, whose: str
) -> None:
    bench = Bench(total)
    await bench.spend(tenant, spent)
    assert bench.keeper.resets_in_s(tenant) == resets_in_s
    refused = bench.keeper.refusal(tenant)
    assert (refused.code, refused.status_code) == ("budget_exhausted", 429)
    assert refused.public_message.startswith(f"{whose} budget for models outside the cluster")
    assert wait_s(refused) == resets_in_s


def test_a_refusal_before_anything_is_known_names_the_floor() -> None:
    assert wait_s(Bench().keeper.refusal(with_budget(10.0))) == 1.0


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    budgets=st.tuples(*[st.none() | st.integers(0, 60)] * 4),
    excess=st.integers(0, 40),
)
async def test_racing_callers_never_spend_past_a_budget_by_more_than_one_requests_excess(
    seed: int, budgets: tuple[int | None, ...], excess: int
) -> None:
    """64 callers of two tenants, of whom one costs `excess` USD more than it was estimated at."""
    chance = random.Random(seed)
    wallet = FakeWallet(num_yields=lambda: chance.randrange(3))
    day, month, all_day, all_month = budgets
    bench = Bench(Budget(all_day, all_month), wallet)
    tenants = [with_budget(day, month), a_tenant(id="globex")]
    liar = chance.randrange(64)

    async def call(number: int) -> None:
        tenant, usd = chance.choice(tenants), chance.randrange(1, 9)
        for _ in range(chance.randrange(6)):
            await asyncio.sleep(0)
        reservation = await bench.reserve(tenant, usd)
        if reservation is None:
            return
        for _ in range(chance.randrange(6)):
            await asyncio.sleep(0)
        reservation.settle(usd + excess if number == liar else chance.randrange(usd + 1))

    await asyncio.gather(*(call(number) for number in range(64)))
    for key, budget in zip((DAY, MONTH, ALL_DAY, ALL_MONTH), budgets, strict=True):
        assert wallet.used[key] <= ((budget or 0) + excess) * USD
        assert (budget is None) <= (key not in wallet.used)
    assert wallet.num_held == 0
