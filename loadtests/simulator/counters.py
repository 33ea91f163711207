"""What the simulator served. Every request that was started ends in exactly one way, so that

    started = completed + failed + aborted + rejected + in flight

holds at any moment. Completion tokens are those that were sent, also where the answer was cut off.
"""

from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from loadtests.simulator.faults import Fault

MAX_REQUEST_IDS = 10_000


class Ending(StrEnum):
    COMPLETED = "completed"  # the whole answer was sent
    FAILED = "failed"  # a fault of the simulator ended it
    ABORTED = "aborted"  # the client left first
    REJECTED = "rejected"  # the request itself was wrong


@dataclass(slots=True)
class Tally:
    """Counts of one kind: for all requests, or for those under one X-Request-Id."""

    started: int = 0
    endings: Counter[Ending] = field(default_factory=Counter)
    num_prompt_tokens: int = 0
    num_completion_tokens: int = 0

    def as_json(self) -> dict[str, int]:
        ended = {ending.value: self.endings[ending] for ending in Ending}
        return {
            "started": self.started,
            **ended,
            "in_flight": self.started - sum(ended.values()),
            "prompt_tokens": self.num_prompt_tokens,
            "completion_tokens": self.num_completion_tokens,
        }


class Counters:
    """All counts since the start or the last reset. Holds at most MAX_REQUEST_IDS ids, the oldest leave first."""

    def __init__(self) -> None:
        self.total = Tally()
        self.faults: Counter[Fault] = Counter()
        self.by_request_id: OrderedDict[str, Tally] = OrderedDict()

    def start(self, request_id: str | None) -> "Ticket":
        tallies = (self.total,) if request_id is None else (self.total, self._tally_of(request_id))
        for tally in tallies:
            tally.started += 1
        return Ticket(self, tallies)

    def as_json(self) -> dict[str, object]:
        return {
            **self.total.as_json(),
            "faults": {fault.value: count for fault, count in self.faults.items()},
            "by_request_id": {request_id: tally.as_json() for request_id, tally in self.by_request_id.items()},
        }

    def _tally_of(self, request_id: str) -> Tally:
        tally = self.by_request_id.get(request_id)
        if tally is not None:
            return tally
        if len(self.by_request_id) >= MAX_REQUEST_IDS:
            self.by_request_id.popitem(last=False)
        return self.by_request_id.setdefault(request_id, Tally())


class Ticket:
    """One request's account. `end` counts once: what comes after the first ending is ignored.

    `model` and `fault` are None until they are known; `when_ended` is told the first ending, after it was counted.
    """

    __slots__ = (
        "_counters",
        "_has_ended",
        "_tallies",
        "fault",
        "model",
        "num_prompt_tokens",
        "num_sent_tokens",
        "when_ended",
    )

    def __init__(self, counters: Counters, tallies: tuple[Tally, ...]) -> None:
        self._counters, self._tallies = counters, tallies
        self._has_ended = False
        self.num_sent_tokens = 0
        self.num_prompt_tokens = 0
        self.model: str | None = None
        self.fault: Fault | None = None
        self.when_ended: Callable[[Ending], None] | None = None

    def read_prompt(self, num_tokens: int) -> None:
        self.num_prompt_tokens += num_tokens
        for tally in self._tallies:
            tally.num_prompt_tokens += num_tokens

    def suffer(self, fault: Fault) -> None:
        self.fault = fault
        self._counters.faults[fault] += 1

    def end(self, ending: Ending) -> None:
        if self._has_ended:
            return
        self._has_ended = True
        for tally in self._tallies:
            tally.endings[ending] += 1
            tally.num_completion_tokens += self.num_sent_tokens
        if self.when_ended is not None:
            self.when_ended(ending)
