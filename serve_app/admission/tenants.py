"""Tenants by API key: those of the configuration for good, those of the database replaced as a whole while it runs.

Only digests are kept, and a key is compared in constant time.
"""

import hashlib
import hmac
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from serve_app.contracts.tenant import Tenant
from serve_app.errors import NotAuthenticated


def key_digest(key: str) -> bytes:
    """SHA-256: keys are long and random, so a slow hash would buy nothing."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


@dataclass(frozen=True, slots=True)
class _Key:
    digest: bytes
    expires_at_unix_s: float | None
    tenant: Tenant


class TenantDirectory:
    """Keys to tenants. Looked up by a prefix of the digest, confirmed by a comparison in constant time."""

    _PREFIX_BYTES = 8

    def __init__(self, keys: Iterable[tuple[bytes, Tenant]], clock: Callable[[], float] = time.time) -> None:
        """`keys` are the configuration's: they stay and never expire. `clock` is the wall clock, in Unix seconds."""
        self._configured = tuple(_Key(digest, None, tenant) for digest, tenant in keys)
        self._clock = clock
        self._by_prefix = self._indexed(())

    def replace_stored(self, entries: Iterable[tuple[bytes, float | None, Tenant]]) -> None:
        """Puts `(digest, expires_at_unix_s, tenant)` in the place of all stored before, at once or not at all.

        None never expires. A digest that is configured too keeps the configuration's tenant.
        """
        self._by_prefix = self._indexed(_Key(*entry) for entry in entries)

    def authenticate(self, authorization: str | None) -> Tenant:
        """The tenant of an `Authorization: Bearer KEY` header; raises NotAuthenticated, also for an expired key."""
        scheme, _, key = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not key:
            raise NotAuthenticated
        presented = key_digest(key.strip())
        for known in self._by_prefix.get(presented[: self._PREFIX_BYTES], ()):
            if hmac.compare_digest(known.digest, presented) and not self._is_expired(known):
                return known.tenant
        raise NotAuthenticated

    def _is_expired(self, key: _Key) -> bool:
        return key.expires_at_unix_s is not None and self._clock() >= key.expires_at_unix_s

    def _indexed(self, stored: Iterable[_Key]) -> dict[bytes, list[_Key]]:
        by_prefix: dict[bytes, list[_Key]] = {}
        for key in (*self._configured, *stored):
            by_prefix.setdefault(key.digest[: self._PREFIX_BYTES], []).append(key)
        return by_prefix
