"""Money is set aside before each call outside the cluster, and what was not spent comes back however it ends."""

import asyncio

import pytest

from serve_app.accounting.budget import nano_usd
from serve_app.contracts.tenant import Budget, Tenant
from serve_app.contracts.vocabulary import DataClass, Outcome, Reason, Tier
from serve_app.errors import (
    AllUpstreamsFailed,
    CapacityError,
    LimitReached,
    UpstreamBroken,
    UpstreamFailed,
    UpstreamFull,
    UpstreamRefused,
    UpstreamRejectedRequest,
    UpstreamTimedOut,
    UpstreamUnreachable,
)
from serve_app.pipeline.bodies import most_prompt_tokens
from tests.fakes.chunks import FINISH, ROLE, WHOLE_STREAM, completion, content
from tests.fakes.dispatching import PLACES, STREAMED, Bench, bench_of, call_of, candidate_of
from tests.fakes.upstreams import HANG, Script, ScriptedUpstream

ANSWER = completion("Hello")  # 7 tokens in, 3 out, at 1 and 2 USD a million
PRICE_NANO_USD = 7 * 1_000 + 3 * 2_000
PROMPT_NANO_USD = 10 * 1_000
SET_ASIDE_NANO_USD = most_prompt_tokens(call_of()) * 1_000 + 512 * 2_000


def with_budget(day_usd: float = 1.0) -> Tenant:
    return Tenant("t-1", frozenset(Tier), PLACES, DataClass.PUBLIC, budget=Budget(day_usd=day_usd))


async def test_the_longest_answers_price_is_set_aside_and_the_rows_cost_is_spent() -> None:
    bench = bench_of(first=ScriptedUpstream([ANSWER]))
    await bench.complete(bench.prepared(tenant=with_budget()))
    assert bench.wallet.taken == [("spend-day:t-1", SET_ASIDE_NANO_USD)]
    assert bench.wallet.settled == [("spend-day:t-1", SET_ASIDE_NANO_USD, PRICE_NANO_USD)]
    assert nano_usd(bench.attempts[0].cost_usd) == PRICE_NANO_USD


async def test_the_tenants_and_the_gateways_budgets_are_both_charged() -> None:
    bench = Bench(
        {"first": ScriptedUpstream([ANSWER])}, (candidate_of("first"),), total_budget=Budget(day_usd=5.0, month_usd=9.0)
    )
    await bench.complete(bench.prepared(tenant=with_budget()))
    assert set(bench.wallet.used.values()) == {PRICE_NANO_USD}
    assert len(bench.wallet.used) == 3


async def test_the_money_is_set_aside_before_the_call_begins() -> None:
    first = ScriptedUpstream([HANG])
    bench = bench_of(first=first)
    task = asyncio.create_task(bench.complete(bench.prepared(tenant=with_budget())))
    await first.has_begun.wait()
    assert bench.wallet.num_held == SET_ASIDE_NANO_USD
    task.cancel()
    await asyncio.wait([task])
    bench.check_nothing_is_left()


@pytest.mark.parametrize(
    ("error", "spent_nano_usd"),
    [
        (UpstreamRefused("first", "busy", None, 503), 0),
        (UpstreamUnreachable("first", "connect"), 0),
        (UpstreamBroken("first", "connection_lost"), PROMPT_NANO_USD),
        (UpstreamTimedOut("first", "first_token"), PROMPT_NANO_USD),
    ],
)
async def test_a_failure_that_gave_nothing_costs_its_prompt_unless_the_upstream_never_took_it(
    error: UpstreamFailed, spent_nano_usd: int
) -> None:
    bench = bench_of(first=ScriptedUpstream([error]), second=ScriptedUpstream([ANSWER]))
    await bench.complete(bench.prepared(tenant=with_budget()))
    assert [used for _, _, used in bench.wallet.settled] == [spent_nano_usd, PRICE_NANO_USD]
    assert [nano_usd(row.cost_usd) for row in bench.attempts] == [spent_nano_usd, PRICE_NANO_USD]
    bench.check_nothing_is_left()


async def test_a_rejection_costs_nothing() -> None:
    bench = bench_of(first=ScriptedUpstream([UpstreamRejectedRequest("first", "no such tool")]))
    with pytest.raises(UpstreamRejectedRequest):
        await bench.complete(bench.prepared(tenant=with_budget()))
    assert bench.wallet.used.total() == 0
    bench.check_nothing_is_left()


async def test_a_stream_keeps_its_money_until_its_end() -> None:
    bench = bench_of(first=ScriptedUpstream(WHOLE_STREAM))
    stream, _ = await bench.stream(bench.prepared(call=STREAMED, tenant=with_budget()))
    assert bench.wallet.num_held == SET_ASIDE_NANO_USD
    async for _ in stream.chunks():
        assert bench.wallet.num_held == SET_ASIDE_NANO_USD
    assert bench.wallet.used.total() == PRICE_NANO_USD
    bench.check_nothing_is_left()


async def test_a_stream_that_its_reader_leaves_costs_what_it_gave() -> None:
    bench = bench_of(first=ScriptedUpstream([ROLE, content("abcdefgh"), HANG, FINISH]))
    stream, _ = await bench.stream(bench.prepared(call=STREAMED, tenant=with_budget()))
    await stream.aclose()
    assert bench.wallet.used.total() == PROMPT_NANO_USD + 2 * 2_000
    bench.check_nothing_is_left()


def home_and_cloud(home: Script = (ANSWER,)) -> Bench:
    upstreams = {"cloud": ScriptedUpstream([ANSWER]), "home": ScriptedUpstream(home)}
    return Bench(upstreams, (candidate_of("cloud"), candidate_of("home", tier=Tier.LOCAL_FAST)), local_wait_s=0.0)


async def test_what_is_local_needs_no_money() -> None:
    bench = home_and_cloud()
    _, trail = await bench.complete(bench.prepared(tenant=with_budget(0.0)))
    assert trail.reason is Reason.OVER_BUDGET
    assert trail.num_attempts == 1
    assert bench.told() == [("home", Outcome.COMPLETED)]
    assert bench.wallet.used.total() == 0
    bench.check_nothing_is_left()


async def test_a_call_without_money_is_not_made_and_has_no_row() -> None:
    bench = bench_of(first=ScriptedUpstream([ANSWER]))
    with pytest.raises(LimitReached) as caught:
        await bench.complete(bench.prepared(tenant=with_budget(0.0)))
    assert (caught.value.status_code, caught.value.code) == (429, "budget_exhausted")
    assert caught.value.retry_after_s
    assert bench.sink.opened == []
    bench.check_nothing_is_left()


async def test_a_dearer_answer_than_the_budget_holds_is_not_asked_for_but_a_shorter_one_is() -> None:
    bench = bench_of(first=ScriptedUpstream([ANSWER]))
    tenant = with_budget(0.0005)
    with pytest.raises(LimitReached):
        await bench.complete(bench.prepared(tenant=tenant))
    await bench.complete(bench.prepared(tenant=tenant, call=call_of(max_output_tokens=20)))


async def test_when_the_owner_of_the_counters_is_away_nothing_is_spent() -> None:
    bench = home_and_cloud()
    bench.wallet.is_away = True
    _, trail = await bench.complete(bench.prepared(tenant=with_budget()))
    assert trail.reason is Reason.OVER_BUDGET
    assert bench.told() == [("home", Outcome.COMPLETED)]


async def test_out_of_money_and_out_of_room_is_a_lack_of_capacity() -> None:
    bench = home_and_cloud()
    home = bench.upstreams["home"]
    assert isinstance(home, ScriptedUpstream)
    home.reserve_errors += [UpstreamFull("home", "no_slot")] * 2
    with pytest.raises(CapacityError):
        await bench.complete(bench.prepared(tenant=with_budget(0.0)))


async def test_out_of_money_after_a_failure_is_a_failure() -> None:
    bench = home_and_cloud([UpstreamBroken("home", "malformed_answer")])
    with pytest.raises(AllUpstreamsFailed):
        await bench.complete(bench.prepared(tenant=with_budget(0.0)))


async def test_racing_callers_spend_no_more_than_there_is() -> None:
    bench = Bench({"first": ScriptedUpstream([ANSWER])}, (candidate_of("first", max_in_flight=64),))
    bench.wallet._num_yields = lambda: 2
    tenant = with_budget(10 * SET_ASIDE_NANO_USD / 1e9)
    asked = [bench.complete(bench.prepared(tenant=tenant)) for _ in range(64)]
    ends = await asyncio.gather(*asked, return_exceptions=True)
    assert {type(end) for end in ends} <= {tuple, LimitReached}
    assert bench.wallet.used.total() <= 10 * SET_ASIDE_NANO_USD
    assert len(bench.sink.opened) == sum(isinstance(end, tuple) for end in ends) >= 9
    bench.check_nothing_is_left()


async def test_all_tokens_of_a_request_are_counted_whoever_took_them() -> None:
    bench = bench_of(
        first=ScriptedUpstream([UpstreamBroken("first", "malformed_answer")]), second=ScriptedUpstream([ANSWER])
    )
    _, trail = await bench.complete()
    assert trail.num_tokens == 10 + 7 + 3
