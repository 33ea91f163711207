"""The state of every upstream's circuit breaker, shared by all routers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from serve_app.contracts.vocabulary import Circuit


@dataclass(frozen=True, slots=True)
class BreakerEvent:
    """What one call said of one upstream. `open_for_s` is the shortest pause that the upstream itself asked for.

    `trips`: this failure alone is reason enough to open.
    """

    upstream_id: str
    is_success: bool
    trips: bool = False
    open_for_s: float = 0.0


@dataclass(frozen=True, slots=True)
class BreakerView:
    """One breaker as its owner sees it now. `opens_for_s` is what is left of the pause; 0 unless open."""

    upstream_id: str
    circuit: Circuit
    opens_for_s: float
    num_failures: int


class BreakerBoard(Protocol):
    """The owner of all breakers: in the ledger's process, or in Redis."""

    async def report(self, holder: str, events: Sequence[BreakerEvent]) -> Sequence[BreakerView]:
        """Takes events in order and answers with every breaker that is not closed and quiet.

        Raises SharedStateUnavailable.
        """
        ...

    async def try_probe(self, holder: str, upstream_id: str) -> bool:
        """Whether this holder may make the one call that a half-open breaker allows; a lease ends a silent holder's.

        Raises SharedStateUnavailable.
        """
        ...
