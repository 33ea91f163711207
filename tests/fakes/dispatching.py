"""A dispatcher over scripted upstreams, with everything that it touches at hand."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from serve_app.contracts.attempt import Attempt
from serve_app.contracts.chat import ChatCall
from serve_app.contracts.deadline import Deadline
from serve_app.contracts.decision import Decision, Scored
from serve_app.contracts.fleet import Candidate, Price, UpstreamSpec
from serve_app.contracts.request import RequestFacts
from serve_app.contracts.upstream import Upstream
from serve_app.contracts.vocabulary import LOCAL, Alias, Capability, DataClass, Domain, Place, Reason, Tier
from serve_app.pipeline.dispatch import Dispatcher
from serve_app.pipeline.prepare import Prepared
from serve_app.pipeline.trail import Trail
from serve_app.upstreams.fleet import Fleet

CLOUD = Place("cloud")
PLACES = frozenset({LOCAL, CLOUD})
RETRY_AFTER_S = 5.0


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


def facts_of(allowed_places: frozenset[Place] = PLACES) -> RequestFacts:
    return RequestFacts(
        request_id="r-1",
        tenant_id="t-1",
        data_class=DataClass.PUBLIC,
        allowed_places=allowed_places,
        allowed_tiers=frozenset(Tier),
        wanted=Alias.AUTO,
        wanted_tier=None,
        complexity=0.5,
        domain=Domain.KNOWLEDGE,
        num_prompt_tokens=10,
        max_output_tokens=None,
        needs=frozenset({Capability.CHAT}),
        remaining_s=5.0,
    )


@dataclass
class Bench:
    """`upstreams` by id in the order of the decision; `attempts` are the settled ones."""

    upstreams: Mapping[str, Upstream]
    candidates: tuple[Candidate, ...]
    max_precommit_bytes: int = 4096
    attempts: list[Attempt] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.fleet = Fleet(self.candidates, self.upstreams)
        self.dispatcher = Dispatcher(
            self.fleet,
            self.attempts.append,
            max_precommit_bytes=self.max_precommit_bytes,
            retry_after_s=RETRY_AFTER_S,
        )

    def prepared(
        self,
        *,
        deadline_s: float = 5.0,
        call: ChatCall | None = None,
        allowed_places: frozenset[Place] = PLACES,
    ) -> Prepared:
        ranked = tuple(Scored(candidate, 1.0, {}) for candidate in self.candidates)
        return Prepared(
            call=call or call_of(),
            facts=facts_of(allowed_places),
            decision=Decision(ranked, (), Reason.COMPLEX, allowed_places),
            deadline=Deadline.after(deadline_s),
            traceparent=None,
        )

    def trail(self, prepared: Prepared) -> Trail:
        return Trail("r-1", time.monotonic(), decision=prepared.decision)

    @property
    def num_in_flight(self) -> int:
        return sum(state.num_in_flight for state in self.fleet.snapshot().states.values())


def bench_of(max_precommit_bytes: int = 4096, **upstreams: Upstream) -> Bench:
    """One cloud candidate an upstream, in the given order."""
    candidates = tuple(candidate_of(upstream_id) for upstream_id in upstreams)
    return Bench(upstreams, candidates, max_precommit_bytes)
