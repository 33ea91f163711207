"""`upcoach tenants …`: tenants that the database holds. A key is printed once, when it is made, and never again."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from sqlalchemy.exc import SQLAlchemyError

from serve_app.contracts.tenant import Budget, Quota, Tenant
from serve_app.contracts.vocabulary import DataClass, Place, Priority, Tier
from serve_app.settings.load import LoadedSettings, load_settings
from serve_app.settings.problems import InvalidSettings, did_you_mean
from serve_app.settings.secrets import MissingSecret
from serve_app.storage.engine import StorageError, database_url, open_engine
from serve_app.storage.schema import migrate
from serve_app.storage.tenants import SqlTenants, StoredTenant

app = typer.Typer(no_args_is_help=True, help="Tenants and their keys.")

IDENTIFIER = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")

ConfigOption = Annotated[Path, typer.Option("--config", "-c", help="The gateway configuration.")]
DEFAULT_CONFIG = Path("configs/gateway.demo.yaml")
TenantArgument = Annotated[str, typer.Argument(help="The tenant's id.")]
Usd = Annotated[float | None, typer.Option(min=0, help="USD that may be spent outside the cluster (UTC).")]


@app.command()
def create(  # noqa: PLR0913 - one parameter an option
    tenant_id: Annotated[str, typer.Argument(help="Lower-case letters, digits, '.', '_', '-'; at most 63.")],
    *,
    place: Annotated[list[str], typer.Option(help="Where its data may go, such as local; may come again.")],
    tier: Annotated[list[str] | None, typer.Option(help="A tier it may use; may come again. All if not given.")] = None,
    data_class: Annotated[DataClass, typer.Option(help="Of requests that name none.")] = DataClass.PERSONAL,
    priority: Annotated[Priority, typer.Option(help="Who is refused first under load.")] = Priority.NORMAL,
    requests: Annotated[int | None, typer.Option(min=1, help="Requests a window; no limit if not given.")] = None,
    tokens: Annotated[int | None, typer.Option(min=1, help="Tokens a window; no limit if not given.")] = None,
    window_s: Annotated[float, typer.Option(min=0.001, help="The window, in seconds.")] = 60.0,
    max_concurrent: Annotated[int | None, typer.Option(min=1, help="Requests at once; no limit if not given.")] = None,
    day_usd: Usd = None,
    month_usd: Usd = None,
    deadline_s: Annotated[
        float | None, typer.Option(min=0.001, help="Of requests that name none; their tier's if not given.")
    ] = None,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Make a tenant and print its key, which is shown this once.

    Example: upcoach tenants create acme --place local --place cloud --requests 600 --day-usd 25
    """
    with _tenants(config) as (loaded, tenants):
        key = tenants.create(
            Tenant(
                _identifier(tenant_id),
                frozenset(_tier(name) for name in tier) if tier else frozenset(Tier),
                frozenset(_place(name, loaded) for name in place),
                data_class,
                priority,
                Quota(requests, tokens, window_s, max_concurrent),
                Budget(day_usd, month_usd),
                deadline_s,
            )
        )
    _show_key(tenant_id, key)


@app.command(name="list")
def list_command(
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON array, with every limit.")] = False,
) -> None:
    """Show the tenants of the database and of the configuration, with the last characters of their keys.

    Example: upcoach tenants list --json
    """
    with _tenants(config) as (loaded, tenants):
        stored = tenants.all()
    declared = sorted(loaded.tree.tenants)
    if as_json:
        records = [*({"id": id_, "from": "configuration"} for id_ in declared), *map(_record, stored)]
        typer.echo(json.dumps(records, indent=2, ensure_ascii=False))
        return
    lines = [
        ("tenant", "state", "from", "keys"),
        *((id_, "enabled", "configuration", "") for id_ in declared),
        *((held.tenant.id, "disabled" if held.is_disabled else "enabled", "database", _hints(held)) for held in stored),
    ]
    widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]
    for line in lines:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


@app.command()
def disable(tenant_id: TenantArgument, config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Refuse a tenant's keys until it is enabled again; routers follow within a second or two.

    Example: upcoach tenants disable acme
    """
    with _tenants(config) as (_, tenants):
        tenants.disable(tenant_id)
    typer.echo(f"{tenant_id}: disabled")


@app.command()
def enable(tenant_id: TenantArgument, config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Take a tenant's keys again.

    Example: upcoach tenants enable acme
    """
    with _tenants(config) as (_, tenants):
        tenants.enable(tenant_id)
    typer.echo(f"{tenant_id}: enabled")


@app.command()
def rotate(
    tenant_id: TenantArgument,
    grace: Annotated[float, typer.Option(min=0, help="Seconds for which the old keys stay good.")] = 0.0,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Make a new key, print it this once, and end the old ones.

    Example: upcoach tenants rotate acme --grace 86400
    """
    with _tenants(config) as (_, tenants):
        key = tenants.rotate(tenant_id, grace)
    _show_key(tenant_id, key)


def _show_key(tenant_id: str, key: str) -> None:
    """The key alone is the result, so that a script can take it."""
    typer.echo(f"the key of '{tenant_id}', shown this once:", err=True)
    typer.echo(key)


def _record(held: StoredTenant) -> dict[str, Any]:
    tenant = held.tenant
    return {
        "id": tenant.id,
        "from": "database",
        "is_disabled": held.is_disabled,
        "created_at": datetime.fromtimestamp(held.created_at_unix_s, UTC).isoformat(timespec="seconds"),
        "key_hints": list(held.key_hints),
        "tiers": [tier.name for tier in sorted(tenant.allowed_tiers)],
        "places": sorted(tenant.allowed_places),
        "default_data_class": tenant.default_data_class.value,
        "priority": tenant.priority.value,
        "requests_per_window": tenant.quota.requests_per_window,
        "tokens_per_window": tenant.quota.tokens_per_window,
        "window_s": tenant.quota.window_s,
        "max_concurrent": tenant.quota.max_concurrent,
        "day_usd": tenant.budget.day_usd,
        "month_usd": tenant.budget.month_usd,
        "deadline_s": tenant.deadline_s,
    }


def _hints(held: StoredTenant) -> str:
    return ", ".join(f"…{hint}" for hint in held.key_hints)


def _identifier(tenant_id: str) -> str:
    if not IDENTIFIER.fullmatch(tenant_id):
        _fail("a tenant's id has lower-case letters, digits, '.', '_' and '-', and at most 63 of them")
    return tenant_id


def _tier(name: str) -> Tier:
    if name not in Tier.__members__:
        _fail(f"no tier is named '{name}'{did_you_mean(name, Tier.__members__)}")
    return Tier[name]


def _place(name: str, loaded: LoadedSettings) -> Place:
    """A place where no upstream is would silently allow nothing."""
    places = {provider.place for provider in loaded.tree.providers.values()} | {"local"}
    if name not in places:
        _fail(f"no upstream is in '{name}'{did_you_mean(name, places)}")
    return Place(name)


@contextmanager
def _tenants(config: Path) -> Iterator[tuple[LoadedSettings, SqlTenants]]:
    """The database's tenants, its tables made where they are not there yet; one sentence for whatever is wrong."""
    engine = None
    try:
        loaded = load_settings(config, require_secrets=False)
        ref = loaded.tree.ledger.database
        secret_url = None if ref is None else loaded.secret(ref).get_secret_value()
        engine = open_engine(database_url(secret_url, loaded.resolve_path(loaded.tree.state_folder)))
        migrate(engine)
        yield loaded, SqlTenants(engine, loaded.tree.tenants)
    except (InvalidSettings, MissingSecret, StorageError) as error:
        _fail(str(error))
    except (SQLAlchemyError, OSError) as error:
        _fail(f"the ledger's database cannot be used ({type(getattr(error, 'orig', None) or error).__name__})")
    finally:
        if engine is not None:
            engine.dispose()


def _fail(sentence: str) -> Any:
    typer.echo(sentence, err=True)
    raise typer.Exit(1)
