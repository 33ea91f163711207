"""Who is asking, and what they may have."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from serve_app.contracts.vocabulary import DataClass, Place, Priority, Tier


@dataclass(frozen=True, slots=True)
class Quota:
    """What one tenant may have at a time, over all routers. None is no limit; a window is `window_s` seconds long.

    Tokens are those of prompts and answers together.
    """

    requests_per_window: int | None = None
    tokens_per_window: int | None = None
    window_s: float = 60.0
    max_concurrent: int | None = None


@dataclass(frozen=True, slots=True)
class Budget:
    """USD that may be spent outside the cluster in a calendar day and month (UTC). None is no limit."""

    day_usd: float | None = None
    month_usd: float | None = None


@dataclass(frozen=True, slots=True)
class Tenant:
    """`default_data_class` and `deadline_s` hold where a request names none; without a deadline, its tier's holds."""

    id: str
    allowed_tiers: frozenset[Tier]
    allowed_places: frozenset[Place]
    default_data_class: DataClass
    priority: Priority = Priority.NORMAL
    quota: Quota = field(default=Quota())
    budget: Budget = field(default=Budget())
    deadline_s: float | None = None


StoredKey = tuple[bytes, float | None, Tenant]
"""The digest of a key, when the key ends (Unix seconds; None is never), and whose it is."""


class TenantSource(Protocol):
    """Tenants that were made while the gateway runs. Cheap to ask often."""

    async def tenants_version(self) -> int | None:
        """Another number after a change. None while nothing is known."""
        ...

    async def tenants(self) -> tuple[int | None, Sequence[StoredKey]]:
        """The version, and every good key of every enabled tenant."""
        ...
