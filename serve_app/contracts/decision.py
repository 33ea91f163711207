"""The one object that is logged, returned by /v1/route, put in headers, and acted on."""

from collections.abc import Mapping
from dataclasses import dataclass

from serve_app.contracts.fleet import Candidate
from serve_app.contracts.vocabulary import DropReason, Place, Reason


@dataclass(frozen=True, slots=True)
class Scored:
    """A candidate that may serve. `parts` holds each scorer's value in [0, 1]; `total` their weighted mean."""

    candidate: Candidate
    total: float
    parts: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Dropped:
    candidate: Candidate
    reason: DropReason


@dataclass(frozen=True, slots=True)
class Decision:
    """`ranked[0]` is chosen, the rest are its fallbacks in order. Every place in it is in `allowed_places`."""

    ranked: tuple[Scored, ...]
    dropped: tuple[Dropped, ...]
    reason: Reason
    allowed_places: frozenset[Place]

    @property
    def chosen(self) -> Candidate:
        return self.ranked[0].candidate

    @property
    def fallbacks(self) -> tuple[Candidate, ...]:
        return tuple(scored.candidate for scored in self.ranked[1:])


@dataclass(frozen=True, slots=True)
class Refusal:
    """Nobody may serve: `reason` is why the most nearly fitting candidate was dropped.

    `is_local_only` says that the request was allowed in no other place than `local`.
    """

    reason: DropReason
    dropped: tuple[Dropped, ...]
    is_local_only: bool
