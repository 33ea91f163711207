"""Both owners of the meters obey one set of rules; and Redis goes, comes back, forgets, and is raced for."""

import asyncio
import calendar
import signal
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Protocol

import pytest
from redis.asyncio import Redis

from serve_app.admission.meters import DAY_S, MeterBook, period_ends_at, period_of
from serve_app.admission.wallet import PooledWallet
from serve_app.contracts.allowance import Allowances, Balance, Meter, MeterKind, Order
from serve_app.contracts.breaker import BreakerEvent
from serve_app.contracts.vocabulary import Circuit
from serve_app.errors import SharedStateUnavailable
from serve_app.resilience.breaker import BreakerPolicy
from serve_app.storage.redis_state import (
    MAX_WHOLE,
    RedisAllowances,
    RedisBreakerBoard,
    RedisUrlInvalid,
    open_redis,
)
from tests.fakes.builders import FakeClock
from tests.fakes.servers import StoreServer, redis_server

LEASE_S = 0.3
TIMEOUT_S = 3.0
SHORT_S = 0.3
TOKENS = Meter("tokens:acme", MeterKind.RATE, 600, 0.6)
SLOTS = Meter("concurrent:acme", MeterKind.LEVEL, 10)
DAILY = Meter("day:acme", MeterKind.DAY, 1000)
MONTHLY = Meter("month:acme", MeterKind.MONTH, 1000)
POLICY = BreakerPolicy(failure_threshold=3, open_for_s=0.2, max_open_for_s=1.0, probe_lease_s=0.2)


class Owner(Protocol):
    allowances: Allowances

    async def load(self, *, day: dict[str, int], month: dict[str, int]) -> None: ...

    async def advance(self, seconds: float) -> None: ...

    async def reopen(self, meter: Meter, by: int) -> None:
        """As if the account's period were `by` periods away from this one."""
        ...


class InMemory:
    def __init__(self) -> None:
        self.clock, self.wall = FakeClock(), FakeClock(time.time())
        self.book = MeterBook(self.clock, self.wall)
        self.allowances: Allowances = self.book

    async def load(self, *, day: dict[str, int], month: dict[str, int]) -> None:
        self.book.preset(day=day, month=month)

    async def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.wall.advance(seconds)

    async def reopen(self, meter: Meter, by: int) -> None:
        self.book._accounts[meter.key].period += by


class InRedis:
    def __init__(self, client: Redis) -> None:
        self.client = client
        self.redis = RedisAllowances(client)
        self.allowances: Allowances = self.redis

    async def load(self, *, day: dict[str, int], month: dict[str, int]) -> None:
        await self.redis.preset(day=day, month=month)

    async def advance(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def reopen(self, meter: Meter, by: int) -> None:
        await self.client.hincrby(f"{{upcoach}}:meter:{meter.key}", "p", by)


@pytest.fixture
async def client(redis_store: StoreServer) -> AsyncIterator[Redis]:
    opened = open_redis(redis_store.url, TIMEOUT_S)
    await opened.flushall()
    yield opened
    await opened.aclose()


@pytest.fixture(params=["memory", "redis"])
async def unloaded(request: pytest.FixtureRequest) -> AsyncIterator[Owner]:
    if request.param == "memory":
        yield InMemory()
        return
    opened = open_redis(request.getfixturevalue("redis_store").url, TIMEOUT_S)
    await opened.flushall()
    yield InRedis(opened)
    await opened.aclose()


@pytest.fixture
async def owner(unloaded: Owner) -> Owner:
    await unloaded.load(day={}, month={})
    return unloaded


async def order(owner: Owner, meter: Meter, holder: str = "a", **amounts: int) -> Balance:
    return (await owner.allowances.trade(holder, LEASE_S, [Order(meter, **amounts)]))[0]


async def left(owner: Owner, meter: Meter) -> int:
    return (await order(owner, meter, "looks")).left


async def test_at_least_what_is_asked_for_is_lent_and_a_fair_part_beyond_it(owner: Owner) -> None:
    assert (await order(owner, SLOTS, wanted=10, at_least=2)).granted == 5
    assert (await order(owner, SLOTS, "b", wanted=10, at_least=4)).granted == 4
    assert (await order(owner, SLOTS, "c", wanted=10)).granted == 0
    assert (await order(owner, SLOTS, "c", wanted=1, at_least=2)).granted == 0
    assert await left(owner, SLOTS) == 1


async def test_less_than_what_is_of_use_is_not_lent_and_marks_the_meter_scarce_for_a_lease(owner: Owner) -> None:
    assert not (await order(owner, SLOTS, wanted=8, at_least=8)).is_scarce
    refused = await order(owner, SLOTS, "b", wanted=4, at_least=3)
    assert (refused.granted, refused.left, refused.is_scarce) == (0, 2, True)
    assert (await order(owner, SLOTS)).is_scarce
    await owner.advance(LEASE_S * 1.1)
    assert not (await order(owner, SLOTS)).is_scarce


async def test_what_was_used_moves_from_held_to_spent_and_more_than_held_counts_too(owner: Owner) -> None:
    await order(owner, DAILY, wanted=100, at_least=100)
    assert (await order(owner, DAILY, used=60)).left == 900
    assert (await order(owner, DAILY, returned=10**15)).left == 940
    assert (await order(owner, DAILY, used=5000)).left == 0


async def test_several_orders_in_one_trade_are_taken_in_order(owner: Owner) -> None:
    await order(owner, SLOTS, wanted=9, at_least=9)
    orders = [
        Order(SLOTS, returned=10**15, wanted=9, at_least=9),
        Order(SLOTS, wanted=5, at_least=1),
        Order(DAILY, wanted=7, at_least=7),
        Order(SLOTS, wanted=1, at_least=1),
    ]
    balances = await owner.allowances.trade("a", LEASE_S, orders)
    assert [balance.granted for balance in balances] == [9, 1, 7, 0]
    assert [balance.key for balance in balances] == [each.meter.key for each in orders]


async def test_a_trade_of_nothing_is_answered_with_nothing(owner: Owner) -> None:
    assert list(await owner.allowances.trade("a", LEASE_S, [])) == []


async def test_a_rate_refills_steadily_and_never_beyond_its_capacity(owner: Owner) -> None:
    spent = await order(owner, TOKENS, used=1200)
    assert spent.left == 0
    assert spent.resets_in_s == pytest.approx(1.2, abs=0.01)
    await owner.advance(0.5)
    assert await left(owner, TOKENS) == 0
    await owner.advance(0.4)
    assert 250 <= await left(owner, TOKENS) <= 500
    await owner.advance(0.6)
    assert await left(owner, TOKENS) == 600


async def test_a_slow_rate_loses_no_fraction_however_often_it_is_looked_at(owner: Owner) -> None:
    meter = Meter("requests:acme", MeterKind.RATE, 10, 1.0)
    began_s = time.monotonic()
    await order(owner, meter, used=10)
    for _ in range(50):
        await owner.advance(0.01)
        await left(owner, meter)
    took_s = max(0.5, time.monotonic() - began_s)
    assert 4 <= await left(owner, meter) <= int(10 * took_s) + 1


async def test_a_holder_that_fell_silent_holds_nothing_also_when_it_comes_back(owner: Owner) -> None:
    await order(owner, SLOTS, wanted=6, at_least=6)
    assert await left(owner, SLOTS) == 4
    await owner.advance(LEASE_S * 1.1)
    await owner.allowances.trade("a", LEASE_S, [])
    assert await left(owner, SLOTS) == 10


async def test_what_a_silent_holder_reports_later_still_counts(owner: Owner) -> None:
    await order(owner, DAILY, wanted=600, at_least=600)
    await owner.advance(LEASE_S * 1.1)
    assert (await order(owner, DAILY, "b", wanted=1000, at_least=1000)).granted == 1000
    await order(owner, DAILY, used=600)
    assert (await order(owner, DAILY, "b", returned=1000)).left == 400


async def test_any_trade_renews_the_lease_of_all_that_is_held(owner: Owner) -> None:
    await order(owner, SLOTS, wanted=6, at_least=6)
    for _ in range(4):
        await owner.advance(LEASE_S * 0.5)
        await owner.allowances.trade("a", LEASE_S, [])
    assert await left(owner, SLOTS) == 4


async def test_money_is_not_lent_before_it_is_known_what_was_spent(unloaded: Owner) -> None:
    balance = await order(unloaded, DAILY, wanted=1, at_least=1)
    assert (balance.granted, balance.left, balance.resets_in_s) == (0, 0, 1.0)
    assert (await order(unloaded, SLOTS, wanted=1, at_least=1)).granted == 1
    await unloaded.load(day={DAILY.key: 100}, month={MONTHLY.key: 200})
    assert (await left(unloaded, DAILY), await left(unloaded, MONTHLY)) == (900, 800)


@pytest.mark.parametrize("meter", [DAILY, MONTHLY])
async def test_a_period_that_is_over_opens_the_meter_and_one_to_come_stays(owner: Owner, meter: Meter) -> None:
    await order(owner, meter, used=700)
    await owner.reopen(meter, +1)
    assert await left(owner, meter) == 300
    await owner.reopen(meter, -2)
    assert await left(owner, meter) == 1000


@pytest.mark.parametrize("meter", [DAILY, MONTHLY])
async def test_a_period_resets_at_midnight_utc(owner: Owner, meter: Meter) -> None:
    now_s = time.time()
    ends_at_s = period_ends_at(meter.kind, period_of(meter.kind, now_s))
    assert (await order(owner, meter)).resets_in_s == pytest.approx(ends_at_s - now_s, abs=5)


async def test_a_capacity_that_is_changed_counts_from_the_next_order(owner: Owner) -> None:
    await order(owner, DAILY, used=700)
    assert await left(owner, replace(DAILY, capacity=5000)) == 4300
    assert await left(owner, replace(DAILY, capacity=500)) == 0


async def test_amounts_of_money_are_exact(owner: Owner) -> None:
    budget = Meter("day:big", MeterKind.DAY, 9 * 10**15)
    await order(owner, budget, used=8 * 10**15 + 1)
    assert await left(owner, budget) == 10**15 - 1
    assert (await order(owner, budget, wanted=10**15 - 1, at_least=10**15 - 1)).granted == 10**15 - 1
    assert await left(owner, budget) == 0


async def test_the_months_of_redis_are_those_of_the_calendar(client: Redis) -> None:
    source = RedisAllowances(client)._script.script
    assert isinstance(source, str)
    ends = source.index("local function is_period")
    asked = source[:ends] + "return { period_of('month', ARGV[2]), period_ends_at('month', ARGV[3]) }"
    for year in (1970, 1999, 2000, 2024, 2026, 2099, 2100):
        for month in range(1, 13):
            last_s = calendar.timegm((year, month, calendar.monthrange(year, month)[1], 23, 59, 59))
            period = period_of(MeterKind.MONTH, last_s)
            found = await client.eval(asked, 1, "{upcoach}", "", last_s * 1000, period)
            assert found == [period, round(period_ends_at(MeterKind.MONTH, period) * 1000)]


async def test_a_preset_only_raises_what_is_spent(client: Redis) -> None:
    owner = InRedis(client)
    await owner.load(day={DAILY.key: 100}, month={})
    await order(owner, DAILY, used=50)
    await owner.load(day={DAILY.key: 120}, month={})
    assert await left(owner, DAILY) == 850
    await owner.load(day={DAILY.key: 200}, month={})
    assert await left(owner, DAILY) == 800


async def test_sums_of_another_day_say_nothing_of_this_one(client: Redis) -> None:
    owner = InRedis(client)
    now_s = time.time()
    for moment_s in (now_s - DAY_S, now_s + DAY_S):
        await owner.redis.preset(day={DAILY.key: 900}, month={}, as_of_unix_s=moment_s)
    assert await left(owner, DAILY) == 1000


async def test_many_tenants_are_preset_and_the_meters_open_with_the_last(client: Redis) -> None:
    owner = InRedis(client)
    await owner.load(day={f"day:{index}": index for index in range(1201)}, month={})
    assert await left(owner, Meter("day:1200", MeterKind.DAY, 2000)) == 800


async def test_a_budget_larger_than_redis_can_count_counts_as_the_largest(client: Redis) -> None:
    owner = InRedis(client)
    await owner.load(day={}, month={})
    assert await left(owner, replace(DAILY, capacity=10**18)) == MAX_WHOLE


async def test_everything_but_the_mark_that_it_is_loaded_expires(client: Redis) -> None:
    owner = InRedis(client)
    await owner.load(day={DAILY.key: 1}, month={MONTHLY.key: 1})
    for meter in (TOKENS, SLOTS, DAILY, MONTHLY):
        await order(owner, meter, used=3, wanted=2, at_least=2)
    board = RedisBreakerBoard(client, POLICY, ["one"])
    await board.report("a", [failure("one")])
    keys = [key async for key in client.scan_iter()]
    lasting = [key for key in keys if await client.pttl(key) < 0]
    assert len(keys) == 11
    assert lasting == [b"{upcoach}:loaded"]


async def test_redis_that_lost_everything_lends_no_money_until_it_is_told_what_was_spent(client: Redis) -> None:
    owner = InRedis(client)
    await owner.load(day={DAILY.key: 400}, month={})
    assert (await order(owner, DAILY, wanted=100, at_least=100)).granted == 100
    await client.flushall()
    await client.script_flush()
    assert (await order(owner, DAILY, wanted=100, at_least=100)).granted == 0
    await owner.load(day={DAILY.key: 400}, month={})
    assert (await order(owner, DAILY, wanted=600, at_least=600)).granted == 600


async def test_redis_gone_is_said_in_time_and_back_it_knows_what_was_spent(
    client: Redis, redis_store: StoreServer
) -> None:
    owner, board = InRedis(client), RedisBreakerBoard(client, POLICY, ["one"])
    await owner.load(day={}, month={})
    await order(owner, DAILY, used=300)
    await board.report("a", [failure("one", trips=True, open_for_s=60.0)])
    redis_store.stop()
    began_s = time.monotonic()
    try:
        for _ in range(2):
            with pytest.raises(SharedStateUnavailable):
                await order(owner, DAILY)
            with pytest.raises(SharedStateUnavailable):
                await board.report("a", [])
            with pytest.raises(SharedStateUnavailable):
                await board.try_probe("a", "one")
            with pytest.raises(SharedStateUnavailable):
                await owner.load(day={}, month={})
        assert time.monotonic() - began_s < TIMEOUT_S
    finally:
        redis_store.start()
    assert await left(owner, DAILY) == 700
    assert [view.circuit for view in await board.report("a", [])] == [Circuit.OPEN]


async def test_a_redis_that_hangs_counts_as_gone(client: Redis, redis_store: StoreServer) -> None:
    impatient = open_redis(redis_store.url, SHORT_S)
    assert redis_store.process is not None
    redis_store.process.send_signal(signal.SIGSTOP)
    began_s = time.monotonic()
    try:
        with pytest.raises(SharedStateUnavailable):
            await RedisAllowances(impatient).trade("a", LEASE_S, [])
        assert time.monotonic() - began_s < 10 * SHORT_S
    finally:
        redis_store.process.send_signal(signal.SIGCONT)
        await impatient.aclose()
    assert (await order(InRedis(client), SLOTS, wanted=1, at_least=1)).granted == 1


async def test_nothing_is_sent_twice_by_the_client_itself() -> None:
    num_connections = 0

    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal num_connections
        num_connections += 1
        writer.close()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
        client = open_redis(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0", TIMEOUT_S)
        with pytest.raises(SharedStateUnavailable):
            await RedisAllowances(client).trade("a", LEASE_S, [])
        await client.aclose()
    assert num_connections == 1


async def test_racing_clients_are_never_lent_more_than_there_is(redis_store: StoreServer, client: Redis) -> None:
    await RedisAllowances(client).preset(day={}, month={})
    clients = [open_redis(redis_store.url, TIMEOUT_S) for _ in range(2)]

    async def racer(index: int) -> int:
        owner = RedisAllowances(clients[index % 2])
        granted = 0
        for _ in range(20):
            balances = await owner.trade(f"racer-{index}", 30.0, [Order(DAILY, wanted=5, at_least=3)])
            granted += balances[0].granted
        return granted

    granted = await asyncio.gather(*(racer(index) for index in range(20)))
    for each in clients:
        await each.aclose()
    assert DAILY.capacity - 3 < sum(granted) <= DAILY.capacity


async def test_64_callers_over_two_routers_spend_a_day_in_redis_and_no_more(
    redis_store: StoreServer, client: Redis
) -> None:
    await RedisAllowances(client).preset(day={}, month={})
    clients = [open_redis(redis_store.url, TIMEOUT_S) for _ in range(2)]
    wallets = [
        PooledWallet(RedisAllowances(each), f"router-{index}", lease_s=10.0, sync_interval_s=0.02, timeout_s=TIMEOUT_S)
        for index, each in enumerate(clients)
    ]
    spent = 0

    async def caller(wallet: PooledWallet) -> None:
        nonlocal spent
        for _ in range(10):
            if await wallet.take(DAILY, 4):
                await asyncio.sleep(0.001)
                wallet.settle(DAILY, taken=4, used=3)
                spent += 3

    loops = [asyncio.create_task(wallet.run()) for wallet in wallets]
    await asyncio.gather(*(caller(wallets[index % 2]) for index in range(64)))
    await asyncio.sleep(0.1)
    for loop, wallet in zip(loops, wallets, strict=True):
        loop.cancel()
        with suppress(asyncio.CancelledError):
            await loop
        await wallet.close()
    balance = (await RedisAllowances(client).trade("looks", 1.0, [Order(DAILY)]))[0]
    for each in clients:
        await each.aclose()
    assert 900 < spent <= DAILY.capacity
    assert balance.left <= DAILY.capacity - spent


def failure(upstream_id: str, *, trips: bool = False, open_for_s: float = 0.0) -> BreakerEvent:
    return BreakerEvent(upstream_id, is_success=False, trips=trips, open_for_s=open_for_s)


def success(upstream_id: str) -> BreakerEvent:
    return BreakerEvent(upstream_id, is_success=True)


async def circuits(board: RedisBreakerBoard, events: Sequence[BreakerEvent] = ()) -> dict[str, Circuit]:
    return {view.upstream_id: view.circuit for view in await board.report("looks", events)}


async def test_a_breaker_in_redis_opens_half_opens_lends_one_probe_and_closes(client: Redis) -> None:
    board = RedisBreakerBoard(client, POLICY, ["one", "two"])
    assert await circuits(board, [failure("one"), failure("one")]) == {"one": Circuit.CLOSED}
    assert await circuits(board, [failure("one"), failure("two")]) == {"one": Circuit.OPEN, "two": Circuit.CLOSED}
    assert not await board.try_probe("a", "one")
    assert await board.try_probe("a", "two")
    await asyncio.sleep(POLICY.open_for_s * 1.1)
    assert await circuits(board) == {"one": Circuit.HALF_OPEN, "two": Circuit.CLOSED}
    assert [await board.try_probe("a", "one"), await board.try_probe("b", "one")] == [True, False]
    assert await circuits(board, [success("one"), success("two")]) == {}
    assert await client.exists("{upcoach}:breaker:one") == 0


async def test_every_router_sees_the_same_breaker_and_only_one_gets_the_probe(client: Redis) -> None:
    boards = [RedisBreakerBoard(client, POLICY, ["one"]) for _ in range(6)]
    await boards[0].report("a", [failure("one", trips=True)])
    assert await circuits(boards[1]) == {"one": Circuit.OPEN}
    await asyncio.sleep(POLICY.open_for_s * 1.1)
    answers = await asyncio.gather(*(board.try_probe(f"r{index}", "one") for index, board in enumerate(boards)))
    assert sum(answers) == 1


async def test_no_failure_is_lost_when_routers_report_at_once(client: Redis) -> None:
    patient = replace(POLICY, failure_threshold=100)
    boards = [RedisBreakerBoard(client, patient, ["one"]) for _ in range(4)]
    await asyncio.gather(*(board.report("a", [failure("one")] * 5) for board in boards))
    assert [view.num_failures for view in await boards[0].report("a", [])] == [20]


async def test_an_upstream_that_is_not_configured_is_ignored_and_never_probed(client: Redis) -> None:
    board = RedisBreakerBoard(client, POLICY, ["one"])
    assert await circuits(board, [failure("other", trips=True)]) == {}
    assert not await board.try_probe("a", "other")
    assert await client.keys() == []


async def test_a_state_that_cannot_be_read_counts_as_quiet(client: Redis) -> None:
    await client.set("{upcoach}:breaker:one", "rubbish")
    board = RedisBreakerBoard(client, POLICY, ["one"])
    assert await circuits(board) == {}
    assert await circuits(board, [failure("one")]) == {"one": Circuit.CLOSED}


async def test_a_breaker_that_is_always_changed_by_others_is_given_up(client: Redis) -> None:
    class Restless(RedisBreakerBoard):
        async def _wrote(self, *_: object) -> bool:
            return False

    board = Restless(client, POLICY, ["one"])
    with pytest.raises(SharedStateUnavailable):
        await board.report("a", [failure("one")])
    with pytest.raises(SharedStateUnavailable):
        await board.try_probe("a", "one")


async def test_no_password_is_shown_when_redis_refuses_it(caplog: pytest.LogCaptureFixture) -> None:
    with redis_server(password="right-word") as server:
        wrong = open_redis(server.url.replace("right-word", "wrong-word"), TIMEOUT_S)
        with pytest.raises(SharedStateUnavailable) as refused:
            await RedisAllowances(wrong).trade("a", 1.0, [])
        await wrong.aclose()
        right = open_redis(server.url, TIMEOUT_S)
        assert list(await RedisAllowances(right).trade("a", 1.0, [])) == []
        await right.aclose()
    assert "Redis does not answer: AuthenticationError" in caplog.text
    assert "wrong-word" not in caplog.text + repr(refused.value) + repr(refused.value.__cause__)


@pytest.mark.parametrize("url", ["http://u:secret@host", "redis://u:secret@host:por/0", "secret"])
def test_an_address_that_is_none_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(RedisUrlInvalid) as refused:
        open_redis(url, TIMEOUT_S)
    assert "secret" not in str(refused.value)
