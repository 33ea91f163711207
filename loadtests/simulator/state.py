"""All that the simulator remembers between requests."""

import random
from collections import deque
from dataclasses import dataclass

from loadtests.simulator.answers import Author
from loadtests.simulator.behaviour import Behaviour
from loadtests.simulator.counters import Counters, Ending, Ticket
from loadtests.simulator.damage import Damage
from loadtests.simulator.faults import Fault, FaultOrder, order_from_header, order_from_model
from loadtests.simulator.frames import Naming
from loadtests.simulator.journal import Journal
from loadtests.simulator.wire import Exchange, Header, Request

MAX_LAST = 256
# Headers whose values are shown; of all others only the name is.
SAFE_HEADERS = frozenset(
    {"accept", "connection", "content-length", "content-type", "host", "traceparent", "user-agent", "x-request-id"}
)


@dataclass(frozen=True, slots=True)
class Seen:
    """One request as it arrived, its body left out."""

    path: str
    headers: list[Header]
    num_body_bytes: int

    def as_json(self) -> dict[str, object]:
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in self.headers]
        return {
            "path": self.path,
            "header_names": [name for name, _ in headers],
            "headers": {name: value for name, value in headers if name in SAFE_HEADERS},
            "body_bytes": self.num_body_bytes,
        }


class State:
    """One simulator. `behaviour` is what holds now, `base` what held at the start; `journal` outlives every reset."""

    def __init__(self, name: str, base: Behaviour, journal: Journal | None = None) -> None:
        self.name, self.base, self.author, self.journal = name, base, Author(name), journal
        self._num_answers = 0
        self.reset()

    def reset(self) -> None:
        """Everything as it was at the start, but for the numbers of answers."""
        self.counters = Counters()
        self.last: deque[Seen] = deque(maxlen=MAX_LAST)
        self.behave(self.base)

    def behave(self, behaviour: Behaviour) -> None:
        """Takes on a behaviour and starts its draws anew."""
        self.behaviour = behaviour
        self.draw = random.Random(behaviour.seed)

    def open_ticket(self, exchange: Exchange) -> Ticket:
        """Counts the request as started, and as aborted should its client leave before it has ended."""
        request = exchange.request
        self.last.append(Seen(request.path, request.headers, len(request.body)))
        ticket = self.counters.start(request.header(b"x-request-id"))
        if self.journal is not None:
            self.journal.begin(request, ticket)
        exchange.when_client_left = lambda: ticket.end(Ending.ABORTED)
        return ticket

    def naming(self, model: str) -> Naming:
        self._num_answers += 1
        return Naming.of(self._num_answers, model)

    def damage_for(self, request: Request, model: str) -> Damage | None:
        """The request's own order first, then the behaviour's fault, then its error rate. Raises UnknownFault."""
        order = self._order_for(request, model)
        return None if order is None else Damage.of(order, self.behaviour)

    def _order_for(self, request: Request, model: str) -> FaultOrder | None:
        wanted = request.header(b"x-sim-fault")
        if wanted is not None:
            return order_from_header(wanted)
        order = order_from_model(model)
        if order is not None:
            return order
        behaviour = self.behaviour
        if behaviour.fault is not None and self.draw.random() < behaviour.fault_rate:
            return FaultOrder(behaviour.fault)
        if behaviour.error_rate and self.draw.random() < behaviour.error_rate:
            return FaultOrder(Fault.HTTP_500)
        return None
