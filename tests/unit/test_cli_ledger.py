"""`upcoach ledger`: what it prints where, and that an export is safe to open."""

import csv
import io
import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa
import yaml
from typer.testing import CliRunner, Result

from serve_app import cli_ledger
from serve_app.cli_ledger import COLUMNS, app, record_of
from serve_app.contracts.attempt import Attempt
from serve_app.contracts.vocabulary import Outcome, Tier
from serve_app.storage.attempts import SqlLedger
from serve_app.storage.engine import open_engine, sqlite_url, writing
from serve_app.storage.schema import migrate
from tests.fakes.ledgers import a_row

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "configs" / "gateway.demo.yaml"
PASSWORD = "pw-that-must-not-be-shown"
DAY = 1_800_000_000.0 // 86_400 * 86_400  # 2027-01-15


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """The demo's configuration, with its state in a folder of the test."""
    raw = yaml.safe_load(DEMO.read_text())
    raw["state_folder"] = str(tmp_path / "state")
    raw.get("ledger", {}).pop("database", None)
    path = tmp_path / "gateway.yaml"
    path.write_text(yaml.safe_dump(raw))
    return path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def record(config: Path, *rows: Attempt) -> sa.Engine:
    engine = open_engine(sqlite_url(config.parent / "state" / "ledger.db"))
    migrate(engine)
    SqlLedger(engine).record(rows)
    engine.dispose()
    return engine


def with_database(config: Path, tmp_path: Path, url: str) -> Path:
    raw = yaml.safe_load(config.read_text())
    raw.setdefault("ledger", {})["database"] = {"file": "url"}
    (tmp_path / "url").write_text(url)
    config.write_text(yaml.safe_dump(raw))
    return config


@pytest.mark.parametrize("name", ["summary", "export", "migrate"])
def test_the_help_of_every_command_has_an_example_of_it(name: str) -> None:
    assert f"Example: upcoach ledger {name}" in " ".join(run(name, "--help").output.split())


def test_a_summary_is_by_tenant_tier_and_upstream(config: Path) -> None:
    record(config, a_row("1"), a_row("2"), a_row("3", tier=Tier.LOCAL_FAST, upstream_id="home", cost_usd=0.0))
    result = run("summary", "-c", config)
    assert (result.exit_code, result.stderr) == (0, "")
    assert [line.split() for line in result.stdout.splitlines()[1:]] == [
        ["acme", "CLOUD_ENHANCED", "gpt", "2", "2", "20", "40", "1.000000"],
        ["acme", "LOCAL_FAST", "home", "1", "1", "10", "20", "0.000000"],
    ]


def test_a_summary_as_json_has_every_figure(config: Path) -> None:
    record(config, a_row("1", started_at_unix_s=DAY), a_row("2", started_at_unix_s=DAY, outcome=Outcome.FAILED))
    assert json.loads(run("summary", "-c", config, "--by", "day", "--by", "day", "--json").stdout) == [
        {
            "day": "2027-01-15",
            "num_attempts": 2,
            "num_completed": 1,
            "num_input_tokens": 20,
            "num_output_tokens": 40,
            "cost_usd": 1.0,
        }
    ]


@pytest.mark.parametrize(
    ("since", "until", "expected"),
    [
        ("2027-01-15", "2027-01-16", "23"),
        ("2027-01-15T00:00:01", None, "34"),
        (None, "2027-01-15T01:00:00+01:00", "1"),
        ("2027-01-15T00:00:01Z", "2027-01-15T00:00:02Z", "3"),
    ],
)
def test_a_span_begins_at_since_and_ends_before_until(
    config: Path, since: str | None, until: str | None, expected: str
) -> None:
    moments = {"1": DAY - 1, "2": DAY, "3": DAY + 1, "4": DAY + 86_400}
    record(config, *(a_row(id_, started_at_unix_s=moment) for id_, moment in moments.items()))
    options = [*(["--since", since] if since else []), *(["--until", until] if until else [])]
    lines = run("export", "-c", config, "--format", "json", *options).stdout.splitlines()
    assert "".join(json.loads(line)["id"] for line in lines) == expected


@pytest.mark.parametrize("options", [["--since", "yesterday"], ["--until", "2027-13-01"]])
def test_a_moment_that_is_none_is_refused_with_an_example(config: Path, options: list[str]) -> None:
    result = run("summary", "-c", config, *options)
    assert (result.exit_code, result.stdout) == (1, "")
    assert f"{options[0]} must be a date such as 2026-11-30" in result.stderr


def test_a_span_that_ends_before_it_begins_is_refused(config: Path) -> None:
    result = run("export", "-c", config, "--since", "2027-01-02", "--until", "2027-01-01")
    assert (result.exit_code, result.stderr) == (1, "--since must be before --until\n")


def test_csv_has_a_header_and_one_line_a_row(config: Path) -> None:
    record(config, a_row("1", started_at_unix_s=DAY + 0.5, cost_usd=0.1, ttft_s=None), a_row("2", tenant_id="globex"))
    result = run("export", "-c", config)
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert tuple(rows[0]) == COLUMNS
    assert [row["id"] for row in rows] == ["2", "1"] or [row["id"] for row in rows] == ["1", "2"]
    (first,) = (row for row in rows if row["id"] == "1")
    assert (first["started_at"], first["cost_usd"], first["ttft_s"]) == (
        "2027-01-15T00:00:00.500000+00:00",
        "0.100000000",
        "",
    )
    only = run("export", "-c", config, "--tenant", "globex").stdout
    assert [row["id"] for row in csv.DictReader(io.StringIO(only))] == ["2"]


def test_the_columns_are_those_of_a_record() -> None:
    assert tuple(record_of(a_row())) == COLUMNS


def test_an_export_without_rows_is_a_header_alone(config: Path) -> None:
    record(config)
    assert run("export", "-c", config).stdout.splitlines() == [",".join(COLUMNS)]


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", '=HYPERLINK("http://x")'])
def test_no_field_of_an_export_is_a_formula(config: Path, text: str) -> None:
    record(config, a_row(request_id=text, tenant_id=text, error_code=text))
    (row,) = csv.DictReader(io.StringIO(run("export", "-c", config).stdout, newline=""))
    assert {row["request_id"], row["tenant"], row["error_code"]} == {f"'{text}"}


def test_separators_in_a_field_do_not_break_a_row(config: Path) -> None:
    record(config, a_row(request_id='a,"b"\nc;d'))
    (row,) = csv.DictReader(io.StringIO(run("export", "-c", config).stdout, newline=""))
    assert row["request_id"] == 'a,"b"\nc;d'


def test_a_summary_prints_no_control_characters(config: Path) -> None:
    record(config, a_row(tenant_id="a\x1b[31mb\nc"))
    assert "a?[31mb?c" in run("summary", "-c", config).stdout


def test_an_export_to_a_file_appears_when_it_is_complete_and_for_its_owner_alone(config: Path, tmp_path: Path) -> None:
    record(config, a_row())
    output = tmp_path / "rows.csv"
    result = run("export", "-c", config, "--output", output)
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "")
    assert len(output.read_text().splitlines()) == 2
    assert stat.S_IMODE(output.stat().st_mode) == 0o600
    assert not output.with_name("rows.csv.partial").exists()


def test_a_file_that_cannot_be_written_is_said(config: Path, tmp_path: Path) -> None:
    record(config, a_row())
    result = run("export", "-c", config, "--output", tmp_path / "absent" / "rows.csv")
    assert result.exit_code == 1
    assert "rows.csv: cannot be written (FileNotFoundError)" in result.stderr


def test_an_export_that_breaks_leaves_no_file(config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record(config, a_row())
    monkeypatch.setattr(cli_ledger, "record_of", lambda _: 1 / 0)
    assert run("export", "-c", config, "--output", tmp_path / "rows.csv").exit_code == 1
    assert [path.name for path in tmp_path.glob("rows*")] == []


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_shows_how_far_an_export_is(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with cli_ledger._progress(2) as advance:
        advance(1)
        advance(1)
    assert "2/2" in terminal.getvalue()


def test_a_reader_that_has_seen_enough_is_no_error(config: Path) -> None:
    record(config, *(a_row(str(number)) for number in range(3000)))
    code = "from serve_app.cli_ledger import app; app()"
    export = [sys.executable, "-c", code, "export", "-c", str(config)]
    with subprocess.Popen(export, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith(b"id,")
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(30) == 0


def test_migrating_is_said_without_a_password_and_safe_to_repeat(config: Path) -> None:
    for _ in range(2):
        result = run("migrate", "-c", config)
        assert (result.exit_code, result.stdout) == (
            0,
            f"sqlite:///{config.parent}/state/ledger.db: at revision 0001\n",
        )


@pytest.mark.parametrize("command", ["summary", "export"])
def test_reading_makes_no_ledger_where_none_is(config: Path, command: str) -> None:
    result = run(command, "-c", config)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "create it with: upcoach ledger migrate" in result.stderr
    assert not (config.parent / "state").exists()


def test_a_ledger_that_is_newer_is_refused(config: Path) -> None:
    engine = record(config, a_row())
    with writing(engine) as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    for command in ("summary", "export", "migrate"):
        result = run(command, "-c", config)
        assert result.exit_code == 1
        assert "revision 9999" in result.stderr


@pytest.mark.parametrize("command", ["summary", "export", "migrate"])
@pytest.mark.parametrize(
    "url", [f"mysql://u:{PASSWORD}@h/d", f"postgresql://u:{PASSWORD}@127.0.0.1:1/d?connect_timeout=1", f"x {PASSWORD}"]
)
def test_a_database_that_cannot_be_used_is_said_without_its_password(
    config: Path, tmp_path: Path, command: str, url: str
) -> None:
    result = run(command, "-c", with_database(config, tmp_path, url))
    assert (result.exit_code, result.stdout) == (1, "")
    assert len(result.stderr.splitlines()) == 1
    assert PASSWORD not in result.stderr


def test_a_secret_that_is_not_there_is_named(config: Path, tmp_path: Path) -> None:
    with_database(config, tmp_path, "")
    result = run("summary", "-c", config)
    assert (result.exit_code, result.stderr) == (1, "file url is empty\n")
