"""The effective configuration as plain data: defaults filled in, every secret masked."""

from typing import Any

from serve_app.settings.load import LoadedSettings
from serve_app.settings.schema import SecretRef
from serve_app.settings.secrets import MissingSecret

MASK = "********"
MISSING = "(missing)"


def effective_config(loaded: LoadedSettings) -> dict[str, Any]:
    """As in the file, plus `value` beside each secret's sources (masked, or missing) and which upstreams are active."""
    data: dict[str, Any] = loaded.tree.model_dump(mode="json")
    for provider_id, provider in loaded.tree.providers.items():
        if provider.api_key is not None:
            data["providers"][provider_id]["api_key"]["value"] = _masked(loaded, provider.api_key)
    for tenant_id, tenant in loaded.tree.tenants.items():
        data["tenants"][tenant_id]["key"]["value"] = _masked(loaded, tenant.key)
    for upstream_id, upstream in data["upstreams"].items():
        upstream["active"] = upstream_id in loaded.active_upstreams
    return data


def _masked(loaded: LoadedSettings, ref: SecretRef) -> str:
    try:
        loaded.secret(ref)
    except MissingSecret:
        return MISSING
    return MASK
