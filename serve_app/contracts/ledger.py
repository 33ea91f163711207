"""The port to the one owner of attempts, costs and idempotency claims."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from serve_app.contracts.attempt import Attempt


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """A finished answer kept for replay."""

    status_code: int
    media_type: str
    headers: tuple[tuple[str, str], ...]
    body: bytes


@dataclass(frozen=True, slots=True)
class Claim:
    """The outcome of claiming an Idempotency-Key: run it (`is_owner`), replay `answer`, or neither (still running)."""

    is_owner: bool
    answer: StoredAnswer | None = None


@dataclass(slots=True)
class Total:
    """A sum over attempts. `num_attempts` counts every outcome, `num_completed` the answers."""

    num_attempts: int = 0
    num_completed: int = 0
    num_input_tokens: int = 0
    num_output_tokens: int = 0
    cost_usd: float = 0.0


class Ledger(Protocol):
    async def record(self, attempts: Sequence[Attempt]) -> None:
        """Returns when the rows are safe; the same row again changes nothing, so what failed may be sent again.

        Raises SharedStateUnavailable.
        """
        ...

    async def claim(self, tenant_id: str, key: str, body_digest: bytes) -> Claim:
        """Raises IdempotencyConflict when the key was used with another body.

        Raises IdempotencyAnswerGone when the request of this key has ended and its answer is not kept.
        """
        ...

    async def keep_answer(self, tenant_id: str, key: str, body_digest: bytes, answer: StoredAnswer | None) -> None:
        """Stores the owner's answer for replay; None gives the claim back, so that the caller may try again.

        Does nothing when the claim has gone to another body in the meantime.
        """
        ...
