"""Runs scenarios one after another against one gateway and collects their verdicts."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from loadtests.chaos.books import Balance, Call, Row, UnreadableBooks, reconcile
from loadtests.chaos.cast import Cast
from loadtests.chaos.driver import Cue, Driver
from loadtests.chaos.gateway import CommandFailed
from loadtests.chaos.mishaps import NotPossible, Stage
from loadtests.chaos.plan import Mix, belongs_to, make_plans
from loadtests.chaos.promises import Violation, books_agree, stays_in_its_places
from loadtests.chaos.record import Record
from loadtests.chaos.scenarios import CLOUDS, Scenario, well
from loadtests.chaos.verdict import Evidence, Verdict, judge, mode_name

QUIET_WITHIN_S = 3.0
BOOKS_WITHIN_S = 30.0
SETTLE_WITHIN_S = 30.0
LOCAL_SETTLE_WITHIN_S = 240.0
_SETTLING = "settle"


@dataclass(slots=True)
class Runner:
    """One run: `stage` and `driver` are open. `local_model` is None where no local model runs."""

    stage: Stage
    driver: Driver
    seed: int
    num_usual: int
    local_model: str | None
    verdicts: list[Verdict] = field(default_factory=list)
    _num_settling: int = 0

    @property
    def cast(self) -> Cast:
        return self.stage.cast

    async def run_all(self, scenarios: Sequence[Scenario], tell: Callable[[Verdict], None]) -> None:
        for scenario in scenarios:
            for is_stream in (True, False):
                verdict = await self.run(scenario, is_stream=is_stream)
                self.verdicts.append(verdict)
                tell(verdict)

    async def run(self, scenario: Scenario, *, is_stream: bool) -> Verdict:
        mode = mode_name(is_stream=is_stream)
        try:
            if scenario.mishap is not None:
                self.stage.check(scenario.mishap)
            await self._settle()
            return await self._run(scenario, f"{scenario.name}.{mode}", is_stream=is_stream)
        except NotPossible as error:
            return Verdict(scenario.name, mode, skipped=str(error))
        except (TimeoutError, CommandFailed, UnreadableBooks) as error:
            # The suite goes on: what one scenario broke for good, the next ones will show too.
            return Verdict(scenario.name, mode, (Violation("run_to_its_end", "", str(error)),))

    async def _run(self, scenario: Scenario, prefix: str, *, is_stream: bool) -> Verdict:
        num = max(1, round(self.num_usual * scenario.share))
        plans = make_plans(prefix, scenario.mix_for(is_stream=is_stream), is_stream=is_stream, num=num, seed=self.seed)
        for name in CLOUDS:
            await self.cast.behave(name, scenario.behaviour_of(name))
        self.stage.killed_at_s.clear()
        began_s = time.monotonic()
        try:
            records = await self.driver.run(plans, scenario.pressure, self._cues(scenario, num))
        except* NotPossible as failures:
            raise NotPossible(str(failures.exceptions[0])) from None
        except* (TimeoutError, OSError, RuntimeError) as failures:
            raise CommandFailed(f"the mishap could not be made or mended: {failures.exceptions[0]}") from None
        finally:
            if scenario.mishap is not None:
                await self._mend(scenario)
        await self._quiet(prefix)
        if scenario.mishap is not None:
            await self.stage.recovered(scenario.mishap)
        rows, balance = await self._books(scenario, prefix)
        calls = [call for call in self.cast.calls() if call.started_s >= began_s]
        mine = [call for call in calls if belongs_to(call.request_id, prefix)]
        killed = tuple(self.stage.killed_at_s)
        return judge(Evidence(scenario, is_stream, records, mine, calls, rows, balance, killed))

    def _cues(self, scenario: Scenario, num: int) -> dict[int, Cue]:
        mishap = scenario.mishap
        if mishap is None:
            return {}

        async def strike() -> None:
            await self.stage.strike(mishap)

        async def mend() -> None:
            await self.stage.mend(mishap)

        return {num // 4: strike, num // 2: mend}

    async def _mend(self, scenario: Scenario) -> None:
        """Again, in case the load ended before it came to that."""
        if scenario.mishap is not None and not self.stage.is_mended:
            await self.stage.mend(scenario.mishap)

    async def _quiet(self, prefix: str) -> None:
        """Until the simulators answer none of these requests any more; one that never stops shows in the verdict."""
        give_up_at = time.monotonic() + QUIET_WITHIN_S
        while time.monotonic() < give_up_at:
            calls = await asyncio.to_thread(self.cast.calls)
            if all(call.ended_s is not None for call in calls if belongs_to(call.request_id, prefix)):
                return
            await asyncio.sleep(0.1)

    async def _books(self, scenario: Scenario, prefix: str) -> tuple[list[Row], Balance]:
        """Rows are written behind the request path: they get BOOKS_WITHIN_S to be there."""
        give_up_at = time.monotonic() + BOOKS_WITHIN_S
        while True:
            is_last = time.monotonic() > give_up_at
            try:
                exported = await self.stage.gateway.ledger()
            except CommandFailed:
                # A database that has just come back may refuse its first visitors.
                if is_last:
                    raise
            else:
                rows = [row for row in exported if belongs_to(row.request_id, prefix)]
                calls = [call for call in self.cast.calls() if belongs_to(call.request_id, prefix)]
                balance = reconcile(rows, calls, scenario.uncalled)
                if is_last or not books_agree(balance):
                    return rows, balance
            await asyncio.sleep(1.0)

    async def whole_run(self) -> tuple[list[Violation], dict[str, object]]:
        """The books from end to end: requests whose ids nobody knows would show here, and only here."""
        rows, calls = await self.stage.gateway.ledger(), self.cast.calls()
        kept = [verdict.name for verdict in self.verdicts if verdict.skipped is None]
        unknown_rows = [row for row in rows if row.request_id.split(".")[0] not in {*kept, _SETTLING}]
        found = [Violation("books_agree", row.request_id, "a row of a request nobody made") for row in unknown_rows]
        known = {row.id for row in rows}
        orphans: list[Call] = [call for call in calls if call.attempt is not None and call.attempt not in known]
        found += [
            Violation("books_agree", call.request_id or "", f"a call of {call.simulator} without a row")
            for call in orphans
        ]
        found += stays_in_its_places(calls)
        return found, {"ledger_rows": len(rows), "simulator_calls": len(calls), "calls_without_row": len(orphans)}

    async def _settle(self) -> None:
        """Everything well, and every upstream asked until it answers: breakers close, replicas come back."""
        for name in CLOUDS:
            await self.cast.behave(name, well(name))
        models = (*CLOUDS, *((self.local_model,) if self.local_model else ()))
        for model in models:
            limit_s = LOCAL_SETTLE_WITHIN_S if model == self.local_model else SETTLE_WITHIN_S
            give_up_at = time.monotonic() + limit_s
            while not (await self._try(model)).is_answered:
                if time.monotonic() > give_up_at:
                    raise TimeoutError(f"{model} did not answer within {limit_s:.0f} s of the scenario before")
                await asyncio.sleep(0.3)

    async def _try(self, model: str) -> Record:
        self._num_settling += 1
        mix = Mix({model: 1.0}, confidential_share=0.0, max_tokens=4)
        (plan,) = make_plans(f"{_SETTLING}.{self._num_settling}", mix, is_stream=False, num=1, seed=self.seed)
        return await self.driver.ask(replace(plan, max_tokens=4))
