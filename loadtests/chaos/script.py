"""What each simulator says in full: the simulator's own author, asked again.

Two upstreams never say the same, since each names itself at the beginning and has a seed of its own. So a text that is
a beginning of what one of them says comes from that one alone: nobody was switched to in the middle.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import count, islice

import orjson

from loadtests.chaos.plan import RequestPlan
from loadtests.simulator.answers import Answer, Author
from loadtests.simulator.behaviour import Behaviour
from loadtests.simulator.chat_request import parse_chat
from loadtests.simulator.faults import Fault

_HUGE = "huge"
_INVENTED_ARGUMENTS = '{"first":"simulated","second":"simulated"}'


@dataclass(frozen=True, slots=True)
class Line:
    """The whole text of one answer and how it ends."""

    text: str
    finish_reason: str


@dataclass(frozen=True, slots=True)
class Script:
    """`behaviours` by the simulator's name, as they hold for the scenario."""

    behaviours: Mapping[str, Behaviour]

    def knows(self, upstream: str) -> bool:
        """Local models are not simulated: nobody knows what they would have said."""
        return upstream in self.behaviours

    def whole(self, plan: RequestPlan, upstream: str) -> Line:
        """What `upstream` says to `plan` when nothing goes wrong."""
        behaviour = self.behaviours[upstream]
        answer = _author(upstream).write(
            parse_chat(plan.body()), 0, seed=behaviour.seed, num_tokens=behaviour.num_tokens
        )
        return Line(_said(answer), answer.finish_reason)

    def is_whole(self, plan: RequestPlan, upstream: str, text: str) -> bool:
        """Whether `text` is all that `upstream` says to `plan`."""
        if text == self.whole(plan, upstream).text:
            return True
        return self.behaviours[upstream].fault is Fault.HUGE_CHUNK and text != "" and _is_huge(text)

    def is_beginning(self, plan: RequestPlan, upstream: str, text: str) -> bool:
        """Whether `upstream` alone can have said `text`, in full or cut off."""
        whole = self.whole(plan, upstream).text
        if whole.startswith(text):
            return True
        match self.behaviours[upstream].fault:
            case Fault.HUGE_CHUNK:
                return _is_huge(text)
            case Fault.DIE_IN_TOOL_CALL:
                return _INVENTED_ARGUMENTS.startswith(text)
            case Fault.NEVER_FINISH:
                return text.startswith(whole) and self._endless(upstream, len(text)).startswith(text[len(whole) :])
            case _:
                return False

    def _endless(self, upstream: str, num_chars: int) -> str:
        author = _author(upstream)
        return _unescape(islice((author.endless(at) for at in count()), num_chars + 1))


def _is_huge(text: str) -> bool:
    return text == _HUGE * (len(text) // len(_HUGE))


@lru_cache(maxsize=16)
def _author(upstream: str) -> Author:
    return Author(upstream)


def _said(answer: Answer) -> str:
    return _unescape(answer.pieces)


def _unescape(pieces: Iterable[bytes]) -> str:
    text: str = orjson.loads(b'"' + b"".join(pieces) + b'"')
    return text
