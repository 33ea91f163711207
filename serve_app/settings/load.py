"""A file in, a `LoadedSettings` out, or `InvalidSettings` with everything that is wrong."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import SecretStr, ValidationError

from serve_app.settings.problems import (
    InvalidSettings,
    Location,
    Problem,
    did_you_mean,
    dotted,
    from_validation,
    line_of,
)
from serve_app.settings.schema import GatewaySettings, SecretRef, UpstreamSettings
from serve_app.settings.secrets import MissingSecret, resolve_secret


@dataclass(frozen=True, slots=True)
class LoadedSettings:
    """The tree as written, and which of its upstreams take part: an optional provider without its secret does not.

    `path` is absolute. Secrets are not in here: `secret()` reads one where it is needed.
    """

    path: Path
    tree: GatewaySettings
    active_upstreams: Mapping[str, UpstreamSettings]

    def secret(self, ref: SecretRef) -> SecretStr:
        return resolve_secret(ref, self.path.parent)

    def resolve_path(self, path: Path) -> Path:
        """A path of the configuration: relative ones start at the file's own folder."""
        return self.path.parent / path.expanduser()

    def model_folder(self, path: Path) -> Path:
        """A folder of weights: relative ones start at the model cache."""
        return model_cache() / path.expanduser()

    def tier_upstreams(self) -> Iterator[tuple[Any, str]]:
        for tier, settings in self.tree.tiers.items():
            for upstream_id in settings.upstreams:
                if upstream_id in self.active_upstreams:
                    yield tier, upstream_id


def model_cache(environment: Mapping[str, str] = os.environ) -> Path:
    """`$UPCOACH_CACHE`, else `upcoach` in the user's cache folder."""
    named = environment.get("UPCOACH_CACHE")
    if named:
        return Path(named).expanduser()
    return Path(environment.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "upcoach"


def load_settings(
    path: Path, *, require_secrets: bool = True, environment: Mapping[str, str] = os.environ
) -> LoadedSettings:
    """Reads, checks keys, types, references and (unless told otherwise) that every needed secret is there."""
    path = path.resolve()
    raw, root = _read(path)
    try:
        tree = GatewaySettings.model_validate(raw)
    except ValidationError as error:
        raise InvalidSettings(path, from_validation(error, GatewaySettings, root)) from None
    active = _active_upstreams(tree, path.parent, environment)
    found = [*_broken_references(tree), *_idle_names(tree), *_tight_pools(tree), *_short_drains(tree)]
    if require_secrets:
        found += _missing_secrets(tree, path.parent, environment)
        if not active:
            found.append((("upstreams",), "none takes part: every provider is optional and without its secret"))
    if found:
        raise InvalidSettings(
            path, [Problem(dotted(location), line_of(root, location), sentence) for location, sentence in found]
        )
    return LoadedSettings(path, tree, active)


def _read(path: Path) -> tuple[Any, yaml.Node | None]:
    try:
        text = path.read_text(encoding="utf-8")
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        repeated = list(_repeated_keys(root, ()))
        raw = yaml.safe_load(text)
    except FileNotFoundError:
        near = did_you_mean(path.name, [p.name for p in path.parent.glob("*.y*ml")]) if path.parent.is_dir() else ""
        raise InvalidSettings(path, [Problem("(file)", None, f"no such file{near}")]) from None
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidSettings(path, [Problem("(file)", None, f"cannot be read ({type(error).__name__})")]) from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        sentence = f"not valid YAML: {getattr(error, 'problem', None) or 'unreadable'}"
        raise InvalidSettings(path, [Problem("(file)", mark.line + 1 if mark else None, sentence)]) from None
    except RecursionError:
        raise InvalidSettings(path, [Problem("(file)", None, "it is nested too deep, or it holds itself")]) from None
    except ValueError:
        sentence = "not valid YAML: a value looks like a date or a number and is none"
        raise InvalidSettings(path, [Problem("(file)", None, sentence)]) from None
    if repeated:
        raise InvalidSettings(path, repeated)
    if not isinstance(raw, dict):
        raise InvalidSettings(path, [Problem("(file)", None, "the file must hold a mapping of keys")])
    return raw, root


def _repeated_keys(node: yaml.Node | None, location: Location) -> Iterator[Problem]:
    """YAML lets the last of two equal keys win silently; here it is an error."""
    if isinstance(node, yaml.SequenceNode):
        for position, item in enumerate(node.value):
            yield from _repeated_keys(item, (*location, position))
    if not isinstance(node, yaml.MappingNode):
        return
    seen: set[str] = set()
    for key, value in node.value:
        name = str(key.value)
        here = (*location, name)
        if name in seen:
            yield Problem(dotted(here), key.start_mark.line + 1, "this key stands here twice")
        seen.add(name)
        yield from _repeated_keys(value, here)


def _broken_references(tree: GatewaySettings) -> Iterator[tuple[Location, str]]:
    for upstream_id, upstream in tree.upstreams.items():
        if upstream.provider is not None and upstream.provider not in tree.providers:
            hint = did_you_mean(upstream.provider, tree.providers)
            yield ("upstreams", upstream_id, "provider"), f"no provider is named '{upstream.provider}'{hint}"
        yield from _broken_stand_in(tree, upstream_id, upstream)
    for tier, settings in tree.tiers.items():
        for position, upstream_id in enumerate(settings.upstreams):
            here: Location = ("tiers", tier.name, "upstreams", position)
            if upstream_id not in tree.upstreams:
                yield here, f"no upstream is named '{upstream_id}'{did_you_mean(upstream_id, tree.upstreams)}"
                continue
            if (tree.upstreams[upstream_id].local is not None) != tier.is_local:
                kind = "a local model" if tier.is_local else "a provider"
                yield here, f"{tier.name} needs {kind}, and '{upstream_id}' is not one"


def _tight_pools(tree: GatewaySettings) -> Iterator[tuple[Location, str]]:
    """A call that waits for a connection looks like a provider that cannot be reached, and takes it out of use."""
    for provider_id, provider in tree.providers.items():
        in_flight = sum(
            upstream.max_in_flight for upstream in tree.upstreams.values() if upstream.provider == provider_id
        )
        if in_flight > provider.max_connections:
            sentence = f"less than the {in_flight} attempts that its upstreams may hold open (max_in_flight)"
            yield ("providers", provider_id, "max_connections"), sentence


def _short_drains(tree: GatewaySettings) -> Iterator[tuple[Location, str]]:
    """A replica that is replaced must live as long as the longest request that it may hold."""
    longest_s = max(tier.deadline_s for tier in tree.tiers.values())
    drains: list[tuple[Location, float]] = [(("router", "scaling", "drain_s"), tree.router.scaling.drain_s)]
    drains += [
        (("providers", provider_id, "scaling", "drain_s"), provider.scaling.drain_s)
        for provider_id, provider in tree.providers.items()
        if provider.placement == "deployment"
    ]
    drains += [
        (("upstreams", upstream_id, "local", "scaling", "drain_s"), upstream.local.scaling.drain_s)
        for upstream_id, upstream in tree.upstreams.items()
        if upstream.local is not None
    ]
    for location, drain_s in drains:
        if drain_s < longest_s:
            yield location, f"shorter than the longest deadline ({longest_s:g} s): a rolling update would cut requests"


def _broken_stand_in(
    tree: GatewaySettings, upstream_id: str, upstream: UpstreamSettings
) -> Iterator[tuple[Location, str]]:
    """Only an upstream that may be missing can be stood in for, and nobody stands in for a stand-in."""
    name = upstream.stands_in_for
    if name is None:
        return
    here: Location = ("upstreams", upstream_id, "stands_in_for")
    original = tree.upstreams.get(name)
    if original is None or name == upstream_id:
        yield here, f"no other upstream is named '{name}'{did_you_mean(name, set(tree.upstreams) - {upstream_id})}"
        return
    provider = tree.providers.get(original.provider or "")
    if original.stands_in_for is not None or provider is None or not provider.optional or provider.api_key is None:
        yield here, f"'{name}' is always there: only an upstream of an optional provider with a secret can be missing"


def _idle_names(tree: GatewaySettings) -> Iterator[tuple[Location, str]]:
    """Names that nothing refers to, and places that nothing is in: keys that would silently do nothing."""
    used = {upstream_id for settings in tree.tiers.values() for upstream_id in settings.upstreams}
    for upstream_id in sorted(set(tree.upstreams) - used):
        yield ("upstreams", upstream_id), "no tier uses this upstream, so it does nothing"
    served_by = {upstream.provider for upstream in tree.upstreams.values()}
    for provider_id in sorted(set(tree.providers) - served_by):
        yield ("providers", provider_id), "no upstream uses this provider, so it does nothing"
    places = {provider.place for provider in tree.providers.values()} | {"local"}
    for tenant_id, tenant in tree.tenants.items():
        for place in sorted(tenant.places - places):
            yield ("tenants", tenant_id, "places"), f"no upstream is in '{place}'{did_you_mean(place, places)}"
    for data_class, allowed in tree.privacy.places.items():
        for place in sorted(allowed - places):
            yield ("privacy", "places", data_class.value), f"no upstream is in '{place}'{did_you_mean(place, places)}"


def _missing_secrets(
    tree: GatewaySettings, base_dir: Path, environment: Mapping[str, str]
) -> Iterator[tuple[Location, str]]:
    refs: list[tuple[Location, SecretRef]] = [
        (("providers", provider_id, "api_key"), provider.api_key)
        for provider_id, provider in tree.providers.items()
        if provider.api_key is not None and not provider.optional
    ]
    if tree.ledger.database is not None:
        refs.append((("ledger", "database"), tree.ledger.database))
    if tree.shared_state.redis is not None:
        refs.append((("shared_state", "redis"), tree.shared_state.redis))
    for location, ref in refs:
        try:
            resolve_secret(ref, base_dir, environment)
        except MissingSecret as error:
            yield location, f"missing secret: {error}"
    owners: dict[str, str] = {}
    for tenant_id, tenant in tree.tenants.items():
        here: Location = ("tenants", tenant_id, "key")
        try:
            key = resolve_secret(tenant.key, base_dir, environment).get_secret_value()
        except MissingSecret as error:
            yield here, f"missing secret: {error}"
            continue
        if owners.setdefault(key, tenant_id) != tenant_id:
            yield here, f"the same key as that of '{owners[key]}': nobody could tell the two tenants apart"


def _active_upstreams(
    tree: GatewaySettings, base_dir: Path, environment: Mapping[str, str]
) -> dict[str, UpstreamSettings]:
    def has_secret(upstream: UpstreamSettings) -> bool:
        provider = tree.providers.get(upstream.provider or "")
        if provider is None or not provider.optional or provider.api_key is None:
            return True
        try:
            resolve_secret(provider.api_key, base_dir, environment)
        except MissingSecret:
            return False
        return True

    configured = {upstream_id for upstream_id, upstream in tree.upstreams.items() if has_secret(upstream)}
    return {
        upstream_id: upstream
        for upstream_id, upstream in tree.upstreams.items()
        if upstream_id in configured and upstream.stands_in_for not in configured
    }
