"""A dispatcher over scripted upstreams, with everything that it touches at hand."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from serve_app.accounting.budget import BudgetKeeper
from serve_app.contracts.attempt import Attempt
from serve_app.contracts.chat import ChatCall
from serve_app.contracts.deadline import Deadline
from serve_app.contracts.decision import Decision, Scored
from serve_app.contracts.fleet import Candidate, Price, TimeLimits, UpstreamSpec
from serve_app.contracts.request import RequestFacts
from serve_app.contracts.tenant import Budget, Tenant
from serve_app.contracts.upstream import Upstream
from serve_app.contracts.vocabulary import LOCAL, Alias, Capability, DataClass, Domain, Outcome, Place, Reason, Tier
from serve_app.pipeline.committed import CommittedStream, PrecommitBounds
from serve_app.pipeline.dispatch import Dispatcher, DispatchPolicy
from serve_app.pipeline.prepare import Prepared
from serve_app.pipeline.trail import Trail
from serve_app.resilience.board import MemoryBreakerBoard
from serve_app.resilience.breaker import BreakerPolicy
from serve_app.resilience.hedging import HedgePolicy
from serve_app.resilience.mirror import BreakerMirror
from serve_app.upstreams.fleet import Fleet
from tests.fakes.builders import a_tenant
from tests.fakes.upstreams import ScriptedUpstream
from tests.fakes.wallets import FakeWallet

CLOUD = Place("cloud")
PLACES = frozenset({LOCAL, CLOUD})
NO_HEDGING = HedgePolicy(is_enabled=False, max_share=0.03, min_samples=5)


def candidate_of(
    upstream_id: str = "first",
    *,
    tier: Tier = Tier.CLOUD_ENHANCED,
    place: Place | None = None,
    max_in_flight: int = 8,
    context_window: int = 8192,
    max_output_tokens: int = 512,
    deadline_s: float = 5.0,
    length_field: str = "max_completion_tokens",
    capabilities: frozenset[Capability] = frozenset(Capability),
    time_limits: TimeLimits | None = None,
    scales_to_zero: bool = False,
) -> Candidate:
    if place is None:
        place = LOCAL if tier.is_local else CLOUD
    spec = UpstreamSpec(
        id=upstream_id,
        model=f"{upstream_id}-model",
        place=place,
        context_window=context_window,
        capabilities=capabilities,
        price=Price(1.0, 2.0),
        expected_ttft_s=0.01,
        expected_tokens_per_s=1000.0,
        max_in_flight=max_in_flight,
        length_field=length_field,
        time_limits=time_limits or TimeLimits(),
        scales_to_zero=scales_to_zero,
    )
    return Candidate(tier, spec, deadline_s, max_output_tokens)


def call_of(
    *,
    is_streaming: bool = False,
    needs: frozenset[Capability] = frozenset({Capability.CHAT}),
    num_prompt_tokens: int = 10,
    max_output_tokens: int | None = None,
    **body: Any,
) -> ChatCall:
    return ChatCall(
        body={"model": "auto", "messages": [{"role": "user", "content": "hi"}], **body},
        wanted_model="auto",
        is_streaming=is_streaming,
        wants_usage=False,
        needs=needs,
        turns=(),
        num_prompt_tokens=num_prompt_tokens,
        max_output_tokens=max_output_tokens,
    )


def facts_of(allowed_places: frozenset[Place] = PLACES, wanted: Alias | str = Alias.AUTO) -> RequestFacts:
    return RequestFacts(
        request_id="r-1",
        tenant_id="t-1",
        data_class=DataClass.PUBLIC,
        allowed_places=allowed_places,
        allowed_tiers=frozenset(Tier),
        wanted=wanted,
        wanted_tier=None,
        complexity=0.5,
        domain=Domain.KNOWLEDGE,
        num_prompt_tokens=10,
        max_output_tokens=None,
        needs=frozenset({Capability.CHAT}),
        remaining_s=5.0,
    )


class RowSink:
    """Implements AttemptSink: `opened` and `settled` in order."""

    def __init__(self) -> None:
        self.opened: list[Attempt] = []
        self.settled: list[Attempt] = []

    def open(self, attempt: Attempt) -> None:
        self.opened.append(attempt)

    def settle(self, attempt: Attempt) -> None:
        self.settled.append(attempt)


def breakers_of(upstream_ids: Iterable[str], failure_threshold: int = 5) -> BreakerMirror:
    """Over a board of their own, and without the background loop."""
    ids = tuple(upstream_ids)
    policy = BreakerPolicy(failure_threshold, open_for_s=5.0, max_open_for_s=60.0, probe_lease_s=30.0)
    board = MemoryBreakerBoard(policy, ids, time.monotonic)
    return BreakerMirror(board, "router-1", policy=policy, upstream_ids=ids, sync_interval_s=0.05)


@dataclass
class Bench:
    """`upstreams` by id in the order of the decision; `attempts` are the settled ones."""

    upstreams: Mapping[str, Upstream]
    candidates: tuple[Candidate, ...]
    max_precommit_bytes: int = 4096
    max_precommit_chunks: int = 256
    hedging: HedgePolicy = NO_HEDGING
    spill_after_s: float = 0.05
    local_wait_s: float = 0.2
    failure_threshold: int = 5
    total_budget: Budget = field(default_factory=Budget)
    wallet: FakeWallet = field(default_factory=FakeWallet)
    sink: RowSink = field(default_factory=RowSink)

    def __post_init__(self) -> None:
        self.breakers = breakers_of(self.upstreams, self.failure_threshold)
        self.fleet = Fleet(self.candidates, self.upstreams, self.breakers)
        policy = DispatchPolicy(
            spill_after_s=self.spill_after_s,
            local_wait_s=self.local_wait_s,
            hedging=self.hedging,
            precommit=PrecommitBounds(self.max_precommit_bytes, self.max_precommit_chunks),
        )
        self.dispatcher = Dispatcher(self.fleet, self.sink, BudgetKeeper(self.wallet, self.total_budget), policy)

    @property
    def attempts(self) -> list[Attempt]:
        return self.sink.settled

    def prepared(
        self,
        *,
        deadline_s: float = 5.0,
        call: ChatCall | None = None,
        allowed_places: frozenset[Place] = PLACES,
        tenant: Tenant | None = None,
        wanted: Alias | str = Alias.AUTO,
        candidates: Sequence[Candidate] = (),
    ) -> Prepared:
        """A decision for `candidates`; without any, for all."""
        ranked = tuple(Scored(candidate, 1.0, {}) for candidate in candidates or self.candidates)
        return Prepared(
            call=call or call_of(),
            tenant=tenant or a_tenant(id="t-1"),
            facts=facts_of(allowed_places, wanted),
            decision=Decision(ranked, (), Reason.COMPLEX, allowed_places),
            deadline=Deadline.after(deadline_s),
            traceparent=None,
        )

    async def complete(self, prepared: Prepared | None = None) -> tuple[bytes, Trail]:
        prepared = prepared or self.prepared()
        trail = self.trail(prepared)
        return await self.dispatcher.complete(prepared, trail), trail

    async def stream(self, prepared: Prepared | None = None) -> tuple[CommittedStream, Trail]:
        prepared = prepared or self.prepared(call=STREAMED)
        trail = self.trail(prepared)
        return await self.dispatcher.stream(prepared, trail), trail

    def trail(self, prepared: Prepared) -> Trail:
        return Trail("r-1", time.monotonic(), decision=prepared.decision)

    def has_seen(self, upstream_id: str, seconds: float, *, times: int = 5) -> None:
        """So many first tokens, and whole answers, after `seconds` each."""
        for _ in range(times):
            self.fleet.saw_first_token(upstream_id, seconds)
            self.fleet.saw_answer(upstream_id, seconds)

    def told(self) -> list[tuple[str, Outcome]]:
        """Who was called, and how it ended, in the order of the ends."""
        return [(row.upstream_id, row.outcome) for row in self.attempts]

    def check_nothing_is_left(self) -> None:
        """Slots, room, money and calls are given back, and every row that was opened is settled exactly once."""
        assert self.num_in_flight == 0
        assert self.wallet.num_held == 0
        for upstream in self.upstreams.values():
            assert isinstance(upstream, ScriptedUpstream)
            assert (upstream.num_running, upstream.num_reserved) == (0, 0)
        opened = [row.id for row in self.sink.opened]
        assert sorted(opened) == sorted(row.id for row in self.attempts)
        assert len(set(opened)) == len(opened)

    @property
    def num_in_flight(self) -> int:
        return sum(state.num_in_flight for state in self.fleet.snapshot().states.values())


STREAMED = call_of(is_streaming=True, stream=True)


def bench_of(max_precommit_bytes: int = 4096, **upstreams: Upstream) -> Bench:
    """One cloud candidate an upstream, in the given order."""
    candidates = tuple(candidate_of(upstream_id) for upstream_id in upstreams)
    return Bench(upstreams, candidates, max_precommit_bytes)
