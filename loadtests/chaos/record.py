"""What became of one request, as its client saw it. Times are CLOCK_MONOTONIC, in seconds, as in the journals."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from loadtests.chaos.plan import RequestPlan


@dataclass(frozen=True, slots=True)
class Record:
    """`status` is None when no head of an answer came; `cut` names what ended the connection before its answer did.

    `error` is the answer's `error` member as it was sent, of a plain answer or of a stream's event.
    """

    plan: RequestPlan
    started_s: float
    ended_s: float
    status: int | None = None
    cut: str | None = None
    left_s: float | None = None
    ttft_s: float | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    error: Any = None
    problem: str | None = None
    text: str = ""
    finish_reason: str | None = None
    is_done: bool = False
    models: tuple[str, ...] = ()

    @property
    def elapsed_s(self) -> float:
        return self.ended_s - self.started_s

    @property
    def upstream(self) -> str | None:
        return self.headers.get("x-upcoach-upstream")

    @property
    def error_code(self) -> str | None:
        return self.error.get("code") if isinstance(self.error, dict) else None

    @property
    def is_answered(self) -> bool:
        """Whether a whole answer came."""
        return self.status == 200 and self.error is None and self.cut is None and self.left_s is None
