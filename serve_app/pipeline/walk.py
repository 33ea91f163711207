"""One request's way over the candidates of its decision: fail over, spill, hedge, retry, give up.

Invariants: only candidates of the decision are asked, each once, and one of them once more when nobody is left; at most
two at a time; whoever loses a race is cancelled and settled before the answer goes on.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from serve_app.contracts.fleet import Candidate
from serve_app.contracts.vocabulary import LOCAL, Alias, Circuit, Reason
from serve_app.errors import (
    AllUpstreamsFailed,
    CapacityError,
    DeadlineExceeded,
    GatewayError,
    LocalUnavailable,
    UpstreamCold,
    UpstreamFailed,
    UpstreamFull,
    UpstreamRejectedRequest,
    UpstreamUnreachable,
)
from serve_app.pipeline.prepare import Prepared
from serve_app.pipeline.trail import Trail
from serve_app.pipeline.verdicts import tell
from serve_app.resilience.hedging import HedgeBudget, HedgePolicy, delay_s
from serve_app.resilience.table import Action
from serve_app.upstreams.fleet import Fleet

log = logging.getLogger(__name__)

Answer = TypeVar("Answer")
Attempt = Callable[[Candidate, Reason, "SlotWait"], Awaitable[Answer]]


class NoMoney(Exception):
    """The budget does not cover this attempt; it was not made."""


@dataclass(frozen=True, slots=True)
class Won(Generic[Answer]):
    """An answer and whose it is."""

    answer: Answer
    candidate: Candidate
    reason: Reason


@dataclass(frozen=True, slots=True)
class SlotWait:
    """How long an attempt may wait for its upstream to have room, in seconds, and for it to start where it is down."""

    limit_s: float
    waits_for_start: bool


@dataclass(frozen=True, slots=True)
class Patience:
    """When somebody else is asked: instead, after these seconds without room, or beside, when one is slow to answer."""

    spill_after_s: float
    local_wait_s: float
    hedging: HedgePolicy
    hedges: HedgeBudget


Running = set[asyncio.Task[Won[Answer] | None]]


class Walk(Generic[Answer]):
    """`attempt` makes one, `discard` closes an answer that came too late, `over_budget` words its refusal. Use once."""

    def __init__(
        self,
        prepared: Prepared,
        trail: Trail,
        fleet: Fleet,
        *,
        attempt: Attempt[Answer],
        discard: Callable[[Answer], Awaitable[None]],
        patience: Patience,
        over_budget: Callable[[], GatewayError],
    ) -> None:
        self._prepared, self._trail, self._fleet = prepared, trail, fleet
        self._attempt, self._discard = attempt, discard
        self._patience, self._over_budget = patience, over_budget
        self._left = deque((prepared.decision.chosen, *prepared.decision.fallbacks))
        self._failures: list[UpstreamFailed] = []
        self._had_no_room = False
        self._may_wait: list[Candidate] = []
        self._may_retry: list[tuple[float, Candidate]] = []
        self._is_out_of_money = False

    async def go(self) -> Answer:
        """Raises what is the caller's to know: a rejection, the deadline, or that nobody could serve."""
        self._patience.hedges.saw_request()
        won = await self._first() or await self._ask_once_more()
        if won is None:
            raise self._give_up()
        self._trail.turn_to(won.candidate, won.reason)
        return won.answer

    async def _first(self) -> Won[Answer] | None:
        while (candidate := await self._next()) is not None:
            won = await self._ask(candidate)
            if won is not None:
                return won
        return None

    async def _next(self) -> Candidate | None:
        """The next candidate whose usual time still fits and whose circuit lets a call through."""
        while self._left:
            self._prepared.deadline.check()
            candidate = self._left.popleft()
            if self._fits(candidate) and await self._fleet.may_call(candidate.upstream.id):
                return candidate
        return None

    def _fits(self, candidate: Candidate) -> bool:
        """The first one passed the decision's own look at the clock."""
        return not self._trail.num_attempts or self._is_time_for(candidate)

    def _is_time_for(self, candidate: Candidate, after_s: float = 0.0) -> bool:
        usual_s = self._fleet.usual_s(candidate, is_streaming=self._prepared.call.is_streaming)
        return after_s + usual_s < self._prepared.deadline.remaining_s()

    async def _ask(self, candidate: Candidate) -> Won[Answer] | None:
        latency = self._fleet.latency(candidate.upstream.id, is_streaming=self._prepared.call.is_streaming)
        hedge_after_s = delay_s(self._patience.hedging, latency) if self._left else None
        if hedge_after_s is None:
            return await self._try(candidate, self._reason(candidate), self._wait(candidate))
        return await self._race(candidate, hedge_after_s)

    def _reason(self, candidate: Candidate) -> Reason:
        """The chosen one stays what the decision chose, also on its second call."""
        if candidate == self._prepared.decision.chosen:
            return self._prepared.decision.reason
        if self._failures:
            return Reason.FAILOVER
        if self._had_no_room:
            return Reason.SPILLED
        return Reason.OVER_BUDGET if self._is_out_of_money else self._prepared.decision.reason

    def _wait(self, candidate: Candidate) -> SlotWait:
        if self._left:
            return SlotWait(self._patience.spill_after_s, waits_for_start=False)
        remaining_s = self._prepared.deadline.remaining_s()
        if candidate.upstream.place == LOCAL:
            return SlotWait(min(self._patience.local_wait_s, remaining_s), waits_for_start=True)
        return SlotWait(remaining_s, waits_for_start=False)

    async def _try(self, candidate: Candidate, reason: Reason, wait: SlotWait) -> Won[Answer] | None:
        """None when the next candidate may be tried. Whatever happened is told to the fleet."""
        upstream_id = candidate.upstream.id
        self._trail.turn_to(candidate, reason)
        try:
            answer = await self._attempt(candidate, reason, wait)
        except NoMoney:
            self._is_out_of_money = True
            self._fleet.not_called(upstream_id)
            return None
        except (UpstreamFull, UpstreamCold) as error:
            self._had_no_room = True
            if not wait.waits_for_start:
                self._may_wait.append(candidate)
            self._fleet.not_called(upstream_id)
            self._fleet.saw_failure(upstream_id, error)
            return None
        except UpstreamFailed as error:
            self._failed(candidate, error)
            return None
        except UpstreamRejectedRequest as error:
            tell(self._fleet, candidate, error)
            raise
        except BaseException:
            self._fleet.not_called(upstream_id)
            raise
        return Won(answer, candidate, reason)

    def _failed(self, candidate: Candidate, error: UpstreamFailed) -> None:
        self._failures.append(error)
        verdict = tell(self._fleet, candidate, error)
        if verdict.action is Action.RETRY_ALONE:
            self._may_retry.append((verdict.wait_s, candidate))
        log.warning(
            "request %s: attempt %d on %s failed: %s (%s)",
            self._prepared.facts.request_id,
            self._trail.num_attempts,
            candidate.upstream.id,
            error.code,
            error.detail,
        )

    async def _race(self, candidate: Candidate, hedge_after_s: float) -> Won[Answer] | None:
        """The candidate, and one more beside it when it is slower than usual: the first answer wins."""
        own = self._try(candidate, self._reason(candidate), self._wait(candidate))
        running = {asyncio.create_task(own)}
        won = None
        try:
            done, _ = await asyncio.wait(running, timeout=hedge_after_s)
            other = None if done else self._take_hedge()
            if other is not None:
                beside = self._try(other, Reason.HEDGED, SlotWait(0.0, waits_for_start=False))
                running.add(asyncio.create_task(beside))
            won = await self._first_answer(running)
        finally:
            await self._end(running, won)
        return won

    def _take_hedge(self) -> Candidate | None:
        """Only somebody who is surely there, and only while few requests are hedged."""
        snapshot = self._fleet.snapshot()
        for candidate in self._left:
            state = snapshot.state_of(candidate.upstream.id)
            if state.is_available and state.circuit is Circuit.CLOSED and self._fits(candidate):
                if not self._patience.hedges.try_take():
                    return None
                self._left.remove(candidate)
                return candidate
        return None

    async def _first_answer(self, running: Running[Answer]) -> Won[Answer] | None:
        """Takes what has ended out of `running`, up to the first answer."""
        while running:
            await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in [task for task in running if task.done()]:
                running.discard(task)
                won = task.result()
                if won is not None:
                    return won
        return None

    async def _end(self, running: Running[Answer], won: Won[Answer] | None) -> None:
        """Gone through with also when the caller leaves meanwhile; then nobody takes the answer any more."""
        if not running:
            return
        ending = asyncio.create_task(self._call_off(running))
        try:
            await asyncio.shield(ending)
        except asyncio.CancelledError:
            await asyncio.wait((ending,))
            if won is not None:
                await self._discard(won.answer)
            raise

    async def _call_off(self, running: Running[Answer]) -> None:
        for task in running:
            task.cancel()
        await asyncio.wait(running)
        for task in running:
            # An error of the one that lost is taken here: asyncio would log it, with a text that may be private.
            if not task.cancelled() and task.exception() is None and (late := task.result()) is not None:
                await self._discard(late.answer)

    async def _ask_once_more(self) -> Won[Answer] | None:
        """Nobody is left: whoever had no room is waited for, then whoever may do better on a second call is called."""
        for candidate in self._may_wait[:1]:
            won = await self._again(candidate, after_s=0.0)
            if won is not None:
                return won
        for wait_s, candidate in sorted(self._may_retry, key=lambda pair: pair[0])[:1]:
            return await self._again(candidate, after_s=wait_s)
        return None

    async def _again(self, candidate: Candidate, *, after_s: float) -> Won[Answer] | None:
        if not self._is_time_for(candidate, after_s):
            return None
        await asyncio.sleep(after_s)
        if not await self._fleet.may_call(candidate.upstream.id):
            return None
        return await self._try(candidate, self._reason(candidate), self._wait(candidate))

    def _give_up(self) -> GatewayError:
        decision = self._prepared.decision
        if self._prepared.deadline.remaining_s() <= 0:
            return DeadlineExceeded()
        ids = [scored.candidate.upstream.id for scored in decision.ranked]
        stays = all(scored.candidate.upstream.place == LOCAL for scored in decision.ranked)
        may_not_leave = decision.allowed_places <= {LOCAL} or self._prepared.facts.wanted is not Alias.AUTO
        if stays and may_not_leave and all(isinstance(error, UpstreamUnreachable) for error in self._failures):
            return LocalUnavailable(max(self._fleet.starts_in_s(ids), self._fleet.opens_in_s(ids)))
        if self._failures:
            return AllUpstreamsFailed(len(self._failures))
        if self._is_out_of_money and not self._had_no_room:
            return self._over_budget()
        return CapacityError(self._fleet.opens_in_s(ids))
