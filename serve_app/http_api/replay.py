"""Idempotency-Key: the same key and body get the same answer; the same key with another body is a conflict."""

import hashlib
import logging

from serve_app.contracts.ledger import Ledger, StoredAnswer
from serve_app.errors import GatewayError, IdempotencyInProgress

log = logging.getLogger(__name__)


class ReplayGuard:
    """One request's claim on its key. `answer` holds a finished answer to replay, or None when this request owns it."""

    def __init__(self, ledger: Ledger, tenant_id: str, key: str | None) -> None:
        self._ledger, self._tenant_id, self._key = ledger, tenant_id, key
        self._is_owner = False
        self._digest = b""

    async def claim(self, route: str, raw: bytes) -> StoredAnswer | None:
        """Raises IdempotencyConflict, or IdempotencyInProgress while the first request still runs."""
        if self._key is None:
            return None
        self._digest = hashlib.sha256(route.encode() + b"\0" + raw).digest()
        claim = await self._ledger.claim(self._tenant_id, self._key, self._digest)
        self._is_owner = claim.is_owner
        if not claim.is_owner and claim.answer is None:
            raise IdempotencyInProgress
        return claim.answer

    @property
    def is_owner(self) -> bool:
        return self._is_owner

    async def settle(self, answer: StoredAnswer | None) -> None:
        """Keeps the owner's answer, or gives the claim back with None. Only the first call counts.

        A finished answer is not spoilt by a ledger that is not there: then nothing is kept, and the log says so.
        """
        if not self._is_owner or self._key is None:
            return
        self._is_owner = False
        try:
            await self._ledger.keep_answer(self._tenant_id, self._key, self._digest, answer)
        except GatewayError as error:
            log.warning("the ledger did not take a claim's end: %s", error.code)
