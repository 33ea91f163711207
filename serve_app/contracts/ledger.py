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


class Ledger(Protocol):
    async def record(self, attempts: Sequence[Attempt]) -> None: ...

    async def claim(self, tenant_id: str, key: str, body_digest: bytes) -> Claim:
        """Raises IdempotencyConflict when the key was used with another body."""
        ...

    async def keep_answer(self, tenant_id: str, key: str, body_digest: bytes, answer: StoredAnswer | None) -> None:
        """Stores the owner's answer for replay; None gives the claim back, so that the caller may try again.

        Does nothing when the claim has gone to another body in the meantime.
        """
        ...
