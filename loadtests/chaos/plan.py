"""What each request will be, drawn from a seed before anything is sent: the same seed gives the same plans.

A confidential request carries its mark twice: in its id, and as MARKER in its prompt. A sink that has seen either one
has seen confidential data.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

MARKER = "confidential-marker-5e1f"
OPEN, CONFIDENTIAL = "open", "conf"
SPARE_DEADLINE_S = 12.0

_TOPICS = ("habits", "sleep", "a hard talk", "a first team", "a presentation", "saying no", "a career change", "focus")
_TOOL = {
    "type": "function",
    "function": {
        "name": "book_session",
        "parameters": {
            "type": "object",
            "properties": {"day": {"type": "string", "format": "date"}, "minutes": {"type": "integer", "minimum": 30}},
            "required": ["day", "minutes"],
        },
    },
}


class Manner(StrEnum):
    """How the client behaves."""

    PATIENT = "patient"
    SLOW_READER = "slow_reader"  # a byte each 50 ms for a while
    LEAVES_EARLY = "leaves_early"  # before the first content, or in the middle of a plain request
    LEAVES_IN_STREAM = "leaves_in_stream"  # after a few chunks


@dataclass(frozen=True, slots=True)
class RequestPlan:
    """One request. `leave_after` is in seconds for LEAVES_EARLY, in content chunks for LEAVES_IN_STREAM."""

    request_id: str
    tenant: str
    model: str
    prompt: str
    is_stream: bool
    max_tokens: int
    deadline_s: float
    is_confidential: bool = False
    manner: Manner = Manner.PATIENT
    leave_after: float = 0.0
    calls_tool: bool = False

    def body(self) -> dict[str, object]:
        """As OpenAI's chat route takes it."""
        body: dict[str, object] = {
            "model": self.model,
            "messages": [{"role": "user", "content": self.prompt}],
            "max_tokens": self.max_tokens,
            "stream": self.is_stream,
        }
        if self.calls_tool:
            body |= {"tools": [_TOOL], "tool_choice": "required"}
        return body

    def headers(self) -> dict[str, str]:
        """All but the key."""
        data_class = "confidential" if self.is_confidential else "public"
        return {
            "X-Request-Id": self.request_id,
            "X-Upcoach-Data-Class": data_class,
            "X-Upcoach-Deadline-Ms": str(max(1, round(self.deadline_s * 1000))),
        }


@dataclass(frozen=True, slots=True)
class Mix:
    """What a scenario's requests are drawn from. `models` are weights; deadlines are drawn between the two bounds."""

    models: Mapping[str, float]
    confidential_share: float = 0.08
    max_tokens: int = 64
    local_max_tokens: int = 6
    least_deadline_s: float = SPARE_DEADLINE_S
    most_deadline_s: float = SPARE_DEADLINE_S
    manner: Manner = Manner.PATIENT
    manner_share: float = 1.0
    least_leave_after: float = 0.0
    most_leave_after: float = 0.0
    calls_tool: bool = False
    tenant: str = "chaos"


def make_plans(prefix: str, mix: Mix, *, is_stream: bool, num: int, seed: int) -> tuple[RequestPlan, ...]:
    """`num` plans whose ids start with `prefix` and a dot. The draw depends on all arguments and on nothing else."""
    draw = random.Random(f"{seed}:{prefix}:{is_stream}")
    return tuple(_plan(f"{prefix}.{number:05d}", mix, is_stream, draw) for number in range(num))


def confidential_in(request_id: str | None) -> bool:
    """Whether an id is of a confidential request of ours."""
    return request_id is not None and request_id.endswith(f".{CONFIDENTIAL}")


def belongs_to(request_id: str | None, prefix: str) -> bool:
    return request_id is not None and request_id.startswith(f"{prefix}.")


def _plan(name: str, mix: Mix, is_stream: bool, draw: random.Random) -> RequestPlan:
    is_confidential = draw.random() < mix.confidential_share
    model = _model(mix, is_confidential, draw)
    is_local = is_confidential or model in ("auto", "local")
    manner = mix.manner if draw.random() < mix.manner_share else Manner.PATIENT
    if manner is Manner.LEAVES_IN_STREAM and not is_stream:
        manner = Manner.LEAVES_EARLY
    return RequestPlan(
        request_id=f"{name}.{CONFIDENTIAL if is_confidential else OPEN}",
        tenant=mix.tenant,
        model=model,
        prompt=_prompt(is_confidential, draw),
        is_stream=is_stream,
        max_tokens=mix.local_max_tokens if is_local else mix.max_tokens,
        deadline_s=round(draw.uniform(mix.least_deadline_s, mix.most_deadline_s), 3),
        is_confidential=is_confidential,
        manner=manner,
        leave_after=draw.uniform(mix.least_leave_after, mix.most_leave_after),
        calls_tool=mix.calls_tool and not is_local,
    )


def _model(mix: Mix, is_confidential: bool, draw: random.Random) -> str:
    """Confidential requests ask for local models, and now and then for what they must not get."""
    if is_confidential:
        names: Sequence[str] = ("local", "auto", "cloud", *(name for name in mix.models if name.startswith("sim-")))
        return draw.choices(names, [4.0, 4.0, 1.0] + [1.0] * (len(names) - 3))[0]
    return draw.choices(list(mix.models), list(mix.models.values()))[0]


def _prompt(is_confidential: bool, draw: random.Random) -> str:
    text = f"Number {draw.randrange(1_000_000)}: tell me something about {draw.choice(_TOPICS)}."
    return f"{text} {MARKER}" if is_confidential else text
