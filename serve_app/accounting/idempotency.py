"""Which Idempotency-Keys are taken, and the answers that may be replayed. One owner, so nothing here locks.

A request that ended is never run a second time while its key is remembered: without its answer, the key is refused. A
request that runs holds its key for `running_lease_s`, which must be longer than any request may take: after it nobody
is left to finish it (its router or this owner died), and the next caller runs it. What the first one cost until then
stays in the ledger, so that one case, and no other, may be billed twice.

Answers are text and are held in memory alone. What outlives the owner are digests: `take_changes` hands them out.
"""

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from serve_app.contracts.ledger import Claim, StoredAnswer
from serve_app.errors import IdempotencyAnswerGone, IdempotencyConflict

ClaimId = tuple[str, bytes]
"""A tenant's id and the SHA-256 of its key."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """Upper limits of what is held; the oldest goes first. `max_kept_bytes` is of all kept answers together."""

    max_idempotency_keys: int
    max_kept_answer_bytes: int
    max_kept_bytes: int
    idempotency_ttl_s: float
    running_lease_s: float


@dataclass(frozen=True, slots=True)
class ClaimRecord:
    """A claim as it may be stored. `finished_at_unix_s` is None while its request runs."""

    tenant_id: str
    key_digest: bytes
    body_digest: bytes
    claimed_at_unix_s: float
    finished_at_unix_s: float | None

    @property
    def id(self) -> ClaimId:
        return self.tenant_id, self.key_digest


@dataclass(frozen=True, slots=True)
class ClaimChanges:
    """What became of claims since the last time: `held` as they are now, `gone` are no longer held."""

    held: Sequence[ClaimRecord]
    gone: Sequence[ClaimId]


@dataclass(frozen=True, slots=True)
class _Entry:
    """`claimed_at` is of the steady clock. Finished without an answer: it was too large, made room, or is lost."""

    record: ClaimRecord
    claimed_at: float
    answer: StoredAnswer | None = None

    @property
    def is_finished(self) -> bool:
        return self.record.finished_at_unix_s is not None


class IdempotencyBook:
    """Claims in the order in which they were made. A steady clock times them, so that clock jumps free none."""

    def __init__(
        self,
        bounds: Bounds,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._bounds, self._clock, self._wall_clock = bounds, clock, wall_clock
        self._entries: OrderedDict[ClaimId, _Entry] = OrderedDict()
        self._with_answer: OrderedDict[ClaimId, None] = OrderedDict()
        self._num_kept_bytes = 0
        self._changed: OrderedDict[ClaimId, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def claim(self, tenant_id: str, key: str, body_digest: bytes) -> Claim:
        """Raises IdempotencyConflict, or IdempotencyAnswerGone."""
        self._expire()
        claim_id = _claim_id(tenant_id, key)
        entry = self._entries.get(claim_id)
        if entry is None or self._is_forsaken(entry):
            self._take(claim_id, body_digest)
            return Claim(is_owner=True)
        if entry.record.body_digest != body_digest:
            raise IdempotencyConflict
        if entry.is_finished and entry.answer is None:
            raise IdempotencyAnswerGone
        return Claim(is_owner=False, answer=entry.answer)

    def keep_answer(self, tenant_id: str, key: str, body_digest: bytes, answer: StoredAnswer | None) -> None:
        """Ends a claim that still runs: with its answer, or given back with None."""
        claim_id = _claim_id(tenant_id, key)
        entry = self._entries.get(claim_id)
        if entry is None or entry.record.body_digest != body_digest or entry.is_finished:
            return
        if answer is None:
            self._forget(claim_id)
            return
        is_kept = len(answer.body) <= self._bounds.max_kept_answer_bytes
        record = replace(entry.record, finished_at_unix_s=self._wall_clock())
        self._entries[claim_id] = replace(entry, record=record, answer=answer if is_kept else None)
        self._mark(claim_id)
        if is_kept:
            self._with_answer[claim_id] = None
            self._num_kept_bytes += len(answer.body)
        while self._num_kept_bytes > self._bounds.max_kept_bytes:
            self._drop_answer(next(iter(self._with_answer)))

    def load(self, records: Iterable[ClaimRecord]) -> None:
        """Claims of an earlier owner. What was claimed here in the meantime holds; too old ones are left out."""
        now, now_unix_s = self._clock(), self._wall_clock()
        loaded = {
            record.id: _Entry(record, now - max(0.0, now_unix_s - record.claimed_at_unix_s))
            for record in records
            if record.id not in self._entries and record.id not in self._changed
        }
        ordered = sorted({**loaded, **self._entries}.items(), key=lambda item: item[1].claimed_at)
        self._entries = OrderedDict(ordered)
        self._expire()
        while len(self._entries) > self._bounds.max_idempotency_keys:
            self._forget(next(iter(self._entries)))

    def take_changes(self, max_changes: int) -> ClaimChanges:
        """The oldest changes, for the store. What it does not take is handed back with `put_back`."""
        held: list[ClaimRecord] = []
        gone: list[ClaimId] = []
        while self._changed and len(held) + len(gone) < max_changes:
            claim_id, _ = self._changed.popitem(last=False)
            entry = self._entries.get(claim_id)
            if entry is None:
                gone.append(claim_id)
                continue
            held.append(entry.record)
        return ClaimChanges(held, gone)

    def put_back(self, changes: ClaimChanges) -> None:
        for claim_id in (*(record.id for record in changes.held), *changes.gone):
            self._mark(claim_id)

    @property
    def has_changes(self) -> bool:
        return bool(self._changed)

    def _is_forsaken(self, entry: _Entry) -> bool:
        return not entry.is_finished and self._clock() - entry.claimed_at >= self._bounds.running_lease_s

    def _take(self, claim_id: ClaimId, body_digest: bytes) -> None:
        self._entries.pop(claim_id, None)
        if len(self._entries) >= self._bounds.max_idempotency_keys:
            self._forget(next(iter(self._entries)))
        tenant_id, key_digest = claim_id
        record = ClaimRecord(tenant_id, key_digest, body_digest, self._wall_clock(), None)
        self._entries[claim_id] = _Entry(record, self._clock())
        self._mark(claim_id)

    def _expire(self) -> None:
        oldest_allowed = self._clock() - self._bounds.idempotency_ttl_s
        while self._entries:
            claim_id, entry = next(iter(self._entries.items()))
            if entry.claimed_at > oldest_allowed:
                return
            self._forget(claim_id)

    def _forget(self, claim_id: ClaimId) -> None:
        self._drop_answer(claim_id)
        del self._entries[claim_id]
        self._mark(claim_id)

    def _drop_answer(self, claim_id: ClaimId) -> None:
        entry = self._entries[claim_id]
        if entry.answer is None:
            return
        self._num_kept_bytes -= len(entry.answer.body)
        del self._with_answer[claim_id]
        self._entries[claim_id] = replace(entry, answer=None)

    def _mark(self, claim_id: ClaimId) -> None:
        """Bounded: while the store is away the oldest change is lost; expiry by time still clears its row there."""
        self._changed.pop(claim_id, None)
        self._changed[claim_id] = None
        if len(self._changed) > 2 * self._bounds.max_idempotency_keys:
            self._changed.popitem(last=False)


def _claim_id(tenant_id: str, key: str) -> ClaimId:
    return tenant_id, hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()
