"""Calls the decision's candidates until one answers: what one attempt is, whole or streamed.

Invariants: every attempt gets what the one deadline leaves, and no more than its upstream's own limits; every attempt
settles exactly once; nothing outside the cluster is called without money set aside for it.
"""

import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from serve_app.accounting.budget import BudgetKeeper
from serve_app.contracts.attempt import Attempt, AttemptSink
from serve_app.contracts.fleet import Candidate
from serve_app.contracts.upstream import UpstreamCall
from serve_app.contracts.vocabulary import Capability, Outcome, Reason
from serve_app.errors import UpstreamError, UpstreamTimedOut
from serve_app.pipeline.answers import read_answer, usage_of_failure
from serve_app.pipeline.attempts import AttemptAccount, outcome_of
from serve_app.pipeline.bodies import answer_length, body_for, most_prompt_tokens
from serve_app.pipeline.committed import Call, CommittedStream, PrecommitBounds
from serve_app.pipeline.prepare import Prepared
from serve_app.pipeline.trail import Trail
from serve_app.pipeline.verdicts import tell, tell_success
from serve_app.pipeline.waiting import LimitPassed, within
from serve_app.pipeline.walk import NoMoney, Patience, SlotWait, Walk
from serve_app.resilience.hedging import HedgeBudget, HedgePolicy
from serve_app.upstreams.fleet import Fleet

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class DispatchPolicy:
    """Seconds. `spill_after_s`: how long a slot is waited for while another candidate is left.

    `local_wait_s`: how long a local upstream is waited for when nobody else may serve.
    """

    spill_after_s: float
    local_wait_s: float
    hedging: HedgePolicy
    precommit: PrecommitBounds


class Dispatcher:
    """One router's way of making attempts; `sink` takes each of them and never waits."""

    def __init__(self, fleet: Fleet, sink: AttemptSink, budgets: BudgetKeeper, policy: DispatchPolicy) -> None:
        self._fleet, self._sink, self._budgets, self._precommit = fleet, sink, budgets, policy.precommit
        hedges = HedgeBudget(policy.hedging)
        self._patience = Patience(policy.spill_after_s, policy.local_wait_s, policy.hedging, hedges)

    async def complete(self, prepared: Prepared, trail: Trail) -> bytes:
        """The whole answer of the first candidate that gives one."""
        return await self._walk(prepared, trail, partial(self._complete, prepared), _drop).go()

    async def stream(self, prepared: Prepared, trail: Trail) -> CommittedStream:
        """The stream of the first candidate that sends content; no other will be tried after that."""
        return await self._walk(prepared, trail, partial(self._stream, prepared), CommittedStream.aclose).go()

    def _walk(
        self,
        prepared: Prepared,
        trail: Trail,
        run: Callable[[Call, AsyncExitStack], Awaitable[Answer]],
        discard: Callable[[Answer], Awaitable[None]],
    ) -> Walk[Answer]:
        return Walk(
            prepared,
            trail,
            self._fleet,
            attempt=lambda candidate, reason, wait: self._attempt(prepared, trail, candidate, reason, wait, run),
            discard=discard,
            patience=self._patience,
            over_budget=lambda: self._budgets.refusal(prepared.tenant),
        )

    async def _attempt(
        self,
        prepared: Prepared,
        trail: Trail,
        candidate: Candidate,
        reason: Reason,
        wait: SlotWait,
        run: Callable[[Call, AsyncExitStack], Awaitable[Answer]],
    ) -> Answer:
        """A slot, money where the call costs some, then the call itself. Raises what the upstream did, or NoMoney."""
        upstream_id = candidate.upstream.id
        async with AsyncExitStack() as held:
            with trail.time_queue():
                slot = self._fleet.slot(upstream_id, wait.limit_s, waits_for_start=wait.waits_for_start)
                upstream = await held.enter_async_context(slot)
            body = body_for(prepared.call, candidate)
            money = await self._budgets.reserve(
                prepared.tenant,
                candidate,
                num_input_tokens=most_prompt_tokens(prepared.call),
                max_output_tokens=answer_length(prepared.call, candidate),
            )
            if money is None:
                raise NoMoney
            trail.num_attempts += 1

            def settled(attempt: Attempt) -> None:
                money.settle(attempt.cost_usd)
                trail.num_tokens += attempt.usage.num_input_tokens + attempt.usage.num_output_tokens

            account = AttemptAccount(
                prepared.facts,
                candidate,
                number=trail.num_attempts,
                reason=reason,
                sink=self._sink,
                on_settled=settled,
            )
            try:
                order = _order(prepared, candidate, body, account.id)
                call = Call(candidate, upstream, order, account, time.monotonic())
                with trail.time_upstream():
                    return await run(call, held.pop_all())
            except BaseException as error:
                usage = usage_of_failure(error, prepared.call.num_prompt_tokens)
                account.settle(outcome_of(error), usage, error=error)
                raise

    async def _complete(self, prepared: Prepared, call: Call, held: AsyncExitStack) -> bytes:
        spec = call.candidate.upstream
        is_embedding = Capability.EMBEDDINGS in prepared.call.needs
        ask = call.upstream.embed if is_embedding else call.upstream.complete
        limit_s = spec.time_limits.whole_answer_s(answer_length(prepared.call, call.candidate))
        try:
            async with held, within(prepared.deadline, limit_s):
                body = await ask(call.order)
        except LimitPassed:
            raise UpstreamTimedOut(spec.id, "answer") from None
        usage = read_answer(body, spec.id, num_prompt_tokens=prepared.call.num_prompt_tokens, is_embedding=is_embedding)
        call.account.settle(Outcome.COMPLETED, usage)
        self._fleet.saw_answer(spec.id, time.monotonic() - call.called_at)
        tell_success(self._fleet, call.candidate)
        return body

    async def _stream(self, prepared: Prepared, call: Call, held: AsyncExitStack) -> CommittedStream:
        def ended(error: BaseException | None) -> None:
            if error is None:
                tell_success(self._fleet, call.candidate)
            elif isinstance(error, UpstreamError):
                tell(self._fleet, call.candidate, error)
            else:
                self._fleet.not_called(call.candidate.upstream.id)

        stream = CommittedStream(call, held, prepared.deadline, prepared.call.num_prompt_tokens, ended)
        await stream.commit(self._precommit)
        self._fleet.saw_first_token(call.candidate.upstream.id, time.monotonic() - call.called_at)
        return stream


async def _drop(answer: bytes) -> None:
    """A whole answer that came too late holds nothing open."""


def _order(prepared: Prepared, candidate: Candidate, body: dict[str, object], attempt_id: str) -> UpstreamCall:
    return UpstreamCall(
        body=body,
        upstream_id=candidate.upstream.id,
        place=candidate.upstream.place,
        allowed_places=prepared.decision.allowed_places,
        request_id=prepared.facts.request_id,
        attempt_id=attempt_id,
        traceparent=prepared.traceparent,
        remaining_s=prepared.deadline.remaining_s(),
    )
