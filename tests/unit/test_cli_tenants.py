"""`upcoach tenants`: a key is printed once, alone on standard output, and is nowhere to be read again."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner, Result

from serve_app.admission.tenants import key_digest
from serve_app.cli_tenants import app
from serve_app.contracts.tenant import Budget, Quota, Tenant
from serve_app.contracts.vocabulary import DataClass, Priority, Tier
from serve_app.storage.engine import open_engine, sqlite_url
from serve_app.storage.tenants import SqlTenants, TenantEntry

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "configs" / "gateway.demo.yaml"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """The demo's configuration, with its state in a folder of the test."""
    raw = yaml.safe_load(DEMO.read_text())
    raw["state_folder"] = str(tmp_path / "state")
    raw.get("ledger", {}).pop("database", None)
    path = tmp_path / "gateway.yaml"
    path.write_text(yaml.safe_dump(raw))
    return path


def run(config: Path, *arguments: object) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments), "--config", str(config)])


def create(config: Path, *options: object) -> str:
    result = run(config, "create", "acme", "--place", "local", *options)
    assert result.exit_code == 0, result.stderr
    return result.stdout.strip()


def entries(config: Path) -> Sequence[TenantEntry]:
    engine = open_engine(sqlite_url(config.parent / "state" / "ledger.db"))
    found = SqlTenants(engine).entries()
    engine.dispose()
    return found


@pytest.mark.parametrize("name", ["create", "list", "disable", "enable", "rotate"])
def test_the_help_of_every_command_has_an_example_of_it(name: str) -> None:
    output = CliRunner().invoke(app, [name, "--help"]).output
    assert f"Example: upcoach tenants {name}" in " ".join(output.split())


def test_a_tenant_gets_a_key_that_is_printed_alone(config: Path) -> None:
    result = run(config, "create", "acme", "--place", "local")
    assert result.exit_code == 0
    assert result.stdout.startswith("uc-")
    assert result.stdout.count("\n") == 1
    assert result.stderr == "the key of 'acme', shown this once:\n"
    ((digest, ends, tenant),) = entries(config)
    assert (digest, ends) == (key_digest(result.stdout.strip()), None)
    assert tenant == Tenant("acme", frozenset(Tier), frozenset({"local"}), DataClass.PERSONAL)  # type: ignore[arg-type]


def test_every_limit_can_be_given(config: Path) -> None:
    create(
        config,
        *("--tier", "LOCAL_FAST", "--tier", "CLOUD_FALLBACK", "--data-class", "public", "--priority", "low"),
        *("--requests", 10, "--tokens", 2000, "--window-s", 30, "--max-concurrent", 4),
        *("--day-usd", 1.5, "--month-usd", 20, "--deadline-s", 45),
    )
    ((_, _, tenant),) = entries(config)
    assert tenant == Tenant(
        "acme",
        frozenset({Tier.LOCAL_FAST, Tier.CLOUD_FALLBACK}),
        frozenset({"local"}),  # type: ignore[arg-type]
        DataClass.PUBLIC,
        Priority.LOW,
        Quota(10, 2000, 30.0, 4),
        Budget(1.5, 20.0),
        45.0,
    )


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["Acme", "--place", "local"], "a tenant's id has lower-case letters"),
        (["a" * 64, "--place", "local"], "at most 63"),
        (["demo", "--place", "local"], "a tenant 'demo' is already in the configuration"),
        (["acme", "--place", "locl"], "no upstream is in 'locl'; did you mean 'local'?"),
        (["acme", "--place", "local", "--tier", "LOCAL_FASTT"], "no tier is named 'LOCAL_FASTT'"),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence(config: Path, arguments: list[str], complaint: str) -> None:
    result = run(config, "create", *arguments)
    assert (result.exit_code, result.stdout) == (1, "")
    assert complaint in result.stderr
    assert not entries_or_none(config)


def entries_or_none(config: Path) -> Sequence[TenantEntry]:
    return entries(config) if (config.parent / "state").exists() else ()


@pytest.mark.parametrize("arguments", [["--requests", "0"], ["--day-usd", "-1"], ["--priority", "urgent"], []])
def test_options_out_of_range_are_refused(config: Path, arguments: list[str]) -> None:
    assert run(config, "create", "acme", *(["--place", "local"] if arguments else []), *arguments).exit_code == 2


def test_an_id_is_given_once(config: Path) -> None:
    create(config)
    result = run(config, "create", "acme", "--place", "local")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "a tenant 'acme' is already in the database\n"


def test_a_list_shows_every_tenant_and_never_a_key(config: Path) -> None:
    key = create(config)
    run(config, "disable", "acme")
    result = run(config, "list")
    assert [line.split() for line in result.stdout.splitlines()] == [
        ["tenant", "state", "from", "keys"],
        ["demo", "enabled", "configuration"],
        ["acme", "disabled", "database", f"…{key[-4:]}"],
    ]
    shown = run(config, "list", "--json").stdout
    records = json.loads(shown)
    assert [record["id"] for record in records] == ["demo", "acme"]
    assert records[1]["key_hints"] == [key[-4:]]
    assert key not in result.stdout + shown


def test_a_disabled_tenant_has_no_good_key_until_it_is_enabled(config: Path) -> None:
    create(config)
    assert run(config, "disable", "acme").stdout == "acme: disabled\n"
    assert entries(config) == []
    assert run(config, "enable", "acme").stdout == "acme: enabled\n"
    assert len(entries(config)) == 1


def test_rotating_prints_another_key_and_ends_the_old_one_at_once(config: Path) -> None:
    old = create(config)
    key = run(config, "rotate", "acme").stdout.strip()
    assert key != old
    assert [digest for digest, _, _ in entries(config)] == [key_digest(key)]


def test_with_a_grace_the_old_key_stays_good_for_a_while(config: Path) -> None:
    old = create(config)
    key = run(config, "rotate", "acme", "--grace", "3600").stdout.strip()
    ends = {digest: ends_at for digest, ends_at, _ in entries(config)}
    assert ends[key_digest(key)] is None
    assert ends[key_digest(old)] is not None


@pytest.mark.parametrize("command", ["disable", "enable", "rotate"])
def test_a_tenant_that_is_not_in_the_database_is_said(config: Path, command: str) -> None:
    result = run(config, command, "acme")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "the database has no tenant 'acme'\n"


def test_a_database_that_cannot_be_used_is_said(config: Path, tmp_path: Path) -> None:
    (tmp_path / "state").write_text("in the way")
    result = run(config, "list")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "the ledger's database cannot be used (FileExistsError)\n"


def test_a_configuration_that_is_not_there_is_said(tmp_path: Path) -> None:
    assert "no such file" in run(tmp_path / "absent.yaml", "list").stderr
