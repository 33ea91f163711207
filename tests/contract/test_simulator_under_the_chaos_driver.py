"""The chaos suite's client and its reading of journals, against a simulator without a gateway in between."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from loadtests.chaos.cast import Cast
from loadtests.chaos.driver import Driver, Pressure
from loadtests.chaos.plan import MARKER, Manner, Mix, RequestPlan, make_plans
from loadtests.chaos.promises import ends_in_time, stays_in_its_places, stops_for_who_left
from loadtests.chaos.scenarios import PRIMARY, well
from loadtests.chaos.script import Script
from loadtests.simulator.faults import Fault


@pytest.fixture
async def cast(tmp_path: Path) -> AsyncIterator[Cast]:
    async with Cast([PRIMARY], tmp_path) as opened:
        await opened.behave(PRIMARY, well(PRIMARY))
        yield opened


@pytest.fixture
async def driver(cast: Cast) -> AsyncIterator[Driver]:
    async with Driver(cast.actors[PRIMARY].address, {"chaos": "any"}) as opened:
        yield opened


def plans_of(num: int = 1, *, is_stream: bool = True, **mix: object) -> tuple[RequestPlan, ...]:
    drawn = Mix({"cloud": 1.0}, **{"confidential_share": 0.0, **mix})  # type: ignore[arg-type]
    return make_plans("s", drawn, is_stream=is_stream, num=num, seed=1)


@pytest.mark.parametrize("is_stream", [True, False])
async def test_a_whole_answer_is_read_as_the_script_says(driver: Driver, is_stream: bool) -> None:
    (record,) = await driver.run(plans_of(is_stream=is_stream), Pressure())
    assert record.is_answered
    assert Script({PRIMARY: well(PRIMARY)}).is_whole(record.plan, PRIMARY, record.text)
    assert record.is_done
    assert not ends_in_time([record])


async def test_a_stream_that_is_cut_is_recorded_with_what_had_come(cast: Cast, driver: Driver) -> None:
    await cast.behave(PRIMARY, well(PRIMARY, fault=Fault.DIE_AFTER_N, fault_after_chunks=3, tokens_per_s=100.0))
    (record,) = await driver.run(plans_of(), Pressure())
    assert record.cut is not None
    assert record.text
    assert not record.is_done
    assert [call.fault for call in cast.calls()] == ["die_after_n"]


@pytest.mark.parametrize(("manner", "leave_after"), [(Manner.LEAVES_EARLY, 0.2), (Manner.LEAVES_IN_STREAM, 2.0)])
async def test_a_client_that_leaves_is_recorded_and_its_upstream_stops(
    cast: Cast, driver: Driver, manner: Manner, leave_after: float
) -> None:
    await cast.behave(
        PRIMARY, well(PRIMARY, ttft_ms=400.0 if manner is Manner.LEAVES_EARLY else 5.0, tokens_per_s=10.0)
    )
    plans = plans_of(3, manner=manner, least_leave_after=leave_after, most_leave_after=leave_after)
    records = await driver.run(plans, Pressure())
    assert all(record.left_s is not None and record.cut is None for record in records)
    await driver.run(plans_of(), Pressure())
    assert not stops_for_who_left(records, cast.calls()[:3])
    assert [call.ending for call in cast.calls()[:3]] == ["aborted"] * 3


async def test_a_confidential_request_at_a_cloud_is_seen_by_the_sink(cast: Cast, driver: Driver) -> None:
    (plan,) = plans_of(confidential_share=1.0)
    assert MARKER in plan.prompt
    await driver.ask(plan)
    assert len(stays_in_its_places(cast.calls())) == 1


async def test_a_slow_reader_gets_all_of_it_in_the_end(driver: Driver) -> None:
    (record,) = await driver.run(plans_of(manner=Manner.SLOW_READER), Pressure())
    assert record.is_answered
    assert record.elapsed_s > 1.9


async def test_a_killed_simulator_comes_back_as_it_was(cast: Cast, driver: Driver) -> None:
    await driver.run(plans_of(), Pressure())
    cast.actors[PRIMARY].kill()
    (refused,) = await driver.run(plans_of(), Pressure())
    assert refused.status is None
    cast.actors[PRIMARY].start()
    await cast.wait_for(PRIMARY)
    (record,) = await driver.run(plans_of(), Pressure())
    assert record.is_answered
    assert Script({PRIMARY: well(PRIMARY)}).is_whole(record.plan, PRIMARY, record.text)
    assert len(cast.calls()) == 2


async def test_cues_run_beside_the_load_when_their_plan_is_due(driver: Driver) -> None:
    heard: list[int] = []

    async def cue() -> None:
        heard.append(len(heard))

    await driver.run(plans_of(6), Pressure(concurrency=2, rate_per_s=200.0), {1: cue, 4: cue})
    assert heard == [0, 1]
