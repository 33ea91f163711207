"""Tenants by API key. Only digests are kept, and a key is compared in constant time."""

import hashlib
import hmac
from collections.abc import Iterable

from serve_app.contracts.tenant import Tenant
from serve_app.errors import NotAuthenticated


def key_digest(key: str) -> bytes:
    """SHA-256: keys are long and random, so a slow hash would buy nothing."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


class TenantDirectory:
    """Keys to tenants. Looked up by a prefix of the digest, confirmed by a comparison in constant time."""

    _PREFIX_BYTES = 8

    def __init__(self, keys: Iterable[tuple[bytes, Tenant]]) -> None:
        self._by_prefix: dict[bytes, list[tuple[bytes, Tenant]]] = {}
        for digest, tenant in keys:
            self._by_prefix.setdefault(digest[: self._PREFIX_BYTES], []).append((digest, tenant))

    def authenticate(self, authorization: str | None) -> Tenant:
        """The tenant of an `Authorization: Bearer KEY` header; raises NotAuthenticated."""
        scheme, _, key = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not key:
            raise NotAuthenticated
        presented = key_digest(key.strip())
        for digest, tenant in self._by_prefix.get(presented[: self._PREFIX_BYTES], ()):
            if hmac.compare_digest(digest, presented):
                return tenant
        raise NotAuthenticated
