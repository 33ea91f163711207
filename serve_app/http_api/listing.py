"""GET /v1/models: the aliases, and the upstreams' own models that a tenant may reach."""

from collections.abc import Sequence

import orjson

from serve_app.contracts.fleet import Candidate
from serve_app.contracts.tenant import Tenant
from serve_app.contracts.vocabulary import Alias
from serve_app.errors import UnknownModel


class ModelListing:
    def __init__(self, candidates: Sequence[Candidate]) -> None:
        self._candidates = tuple(candidates)

    def show(self, tenant: Tenant, model: str | None) -> bytes:
        """The whole list, or one model; raises UnknownModel."""
        entries = {alias.value: _entry(alias.value, "upcoach") for alias in Alias}
        for candidate in self._candidates:
            if candidate.tier in tenant.allowed_tiers and candidate.upstream.place in tenant.allowed_places:
                entries.setdefault(candidate.upstream.model, _entry(candidate.upstream.model, candidate.upstream.id))
        if model is None:
            return orjson.dumps({"object": "list", "data": list(entries.values())})
        if model not in entries:
            raise UnknownModel
        return orjson.dumps(entries[model])


def _entry(model: str, owner: str) -> dict[str, str | int]:
    return {"id": model, "object": "model", "created": 0, "owned_by": owner}
