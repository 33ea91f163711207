"""Who is asking, and what they may have."""

from dataclasses import dataclass

from serve_app.contracts.vocabulary import DataClass, Place, Tier


@dataclass(frozen=True, slots=True)
class Tenant:
    """`default_data_class` holds where a request names none."""

    id: str
    allowed_tiers: frozenset[Tier]
    allowed_places: frozenset[Place]
    default_data_class: DataClass
