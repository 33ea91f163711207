"""The places a request may go to: computed once, from everything that has a say, and only ever narrowed."""

from collections.abc import Mapping
from dataclasses import dataclass

from serve_app.contracts.vocabulary import LOCAL, Alias, DataClass, Place


@dataclass(frozen=True, slots=True)
class ResidencyPolicy:
    """For each data class the places that may see it. Confidential data stays local whatever a policy says."""

    places: Mapping[DataClass, frozenset[Place]]

    def __post_init__(self) -> None:
        missing = set(DataClass) - set(self.places)
        if missing:
            raise ValueError(f"no places stated for: {', '.join(sorted(missing))}")
        if not self.places[DataClass.CONFIDENTIAL] <= {LOCAL}:
            raise ValueError("confidential data may only be allowed in 'local'")


def allowed_places(
    policy: ResidencyPolicy, tenant_places: frozenset[Place], *, data_class: DataClass, wanted: Alias | str
) -> frozenset[Place]:
    """What the data class, the tenant and the alias all allow: an intersection, so that nobody can widen it."""
    places = policy.places[data_class] & tenant_places
    return places & {LOCAL} if wanted is Alias.LOCAL else places
