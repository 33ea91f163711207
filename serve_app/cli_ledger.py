"""`upcoach ledger …`: what was attempted and what it cost, from the ledger's database."""

import csv
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import IO, Annotated, Any, Protocol

import sqlalchemy as sa
import typer
from sqlalchemy.exc import SQLAlchemyError

from serve_app.contracts.attempt import Attempt
from serve_app.contracts.ledger import Total
from serve_app.settings.load import load_settings
from serve_app.settings.problems import InvalidSettings
from serve_app.settings.secrets import MissingSecret
from serve_app.storage.attempts import GroupBy, Span, SqlLedger
from serve_app.storage.engine import StorageError, database_url, masked, open_engine, sqlite_path
from serve_app.storage.schema import check_schema, migrate

app = typer.Typer(no_args_is_help=True, help="What was attempted and what it cost.")

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
DEFAULT_GROUPS = (GroupBy.TENANT, GroupBy.TIER, GroupBy.UPSTREAM)
FIGURES = ("attempts", "completed", "input tokens", "output tokens", "cost USD")

ConfigOption = Annotated[Path, typer.Option("--config", "-c", help="The gateway configuration.")]
DEFAULT_CONFIG = Path("configs/gateway.demo.yaml")
SinceOption = Annotated[
    str | None, typer.Option(help="Attempts that started then or later: 2026-11-30 or an ISO time, UTC by default.")
]
UntilOption = Annotated[str | None, typer.Option(help="Attempts that started before then; written like --since.")]


class ExportFormat(StrEnum):
    CSV = "csv"
    JSON = "json"


class Writer(Protocol):
    def __call__(self, record: dict[str, Any]) -> object: ...


@app.command()
def summary(
    config: ConfigOption = DEFAULT_CONFIG,
    since: SinceOption = None,
    until: UntilOption = None,
    by: Annotated[
        list[GroupBy] | None,
        typer.Option(help="Group by this; may come again. By tenant, tier, upstream if not given."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON array.")] = False,
) -> None:
    """Attempts, tokens and cost, summed for each group.

    Example: upcoach ledger summary --since 2026-11-01 --by day --by tenant
    """
    groups = tuple(dict.fromkeys(by or DEFAULT_GROUPS))
    span = _span(since, until)
    with _database(config) as engine:
        check_schema(engine)
        found = SqlLedger(engine).summary(span, groups)
    if as_json:
        records = [{**dict(zip(groups, names, strict=True)), **asdict(total)} for names, total in found]
        typer.echo(json.dumps(records, indent=2, ensure_ascii=False))
        return
    lines = [(*groups, *FIGURES), *((*map(_printable, names), *_figures(total)) for names, total in found)]
    widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = [
            cell.ljust(width) if position < len(groups) else cell.rjust(width)
            for position, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        typer.echo("  ".join(cells).rstrip())


@app.command()
def export(
    config: ConfigOption = DEFAULT_CONFIG,
    since: SinceOption = None,
    until: UntilOption = None,
    tenant: Annotated[str | None, typer.Option(help="The attempts of this tenant alone.")] = None,
    form: Annotated[
        ExportFormat, typer.Option("--format", help="csv with a header row, or json: one object a line.")
    ] = ExportFormat.CSV,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="A file, instead of standard output.")] = None,
) -> None:
    """Write one row an attempt, in the order in which they started. No text of a request is in it.

    Example: upcoach ledger export --since 2026-11-01 --format csv --output attempts.csv
    """
    span = _span(since, until)
    with _database(config) as engine:
        check_schema(engine)
        ledger = SqlLedger(engine)
        total = ledger.count(span, tenant)
        with _sink(output) as sink, _progress(total) as advance:
            write = _writer(form, sink)
            for attempt in ledger.rows(span, tenant):
                write(record_of(attempt))
                advance(1)


@app.command(name="migrate")
def migrate_command(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Bring the ledger's database to this version's tables. Safe to run twice, and while another starter does.

    Example: upcoach ledger migrate --config configs/gateway.yaml
    """
    with _database(config, may_create=True) as engine:
        revision = migrate(engine)
        typer.echo(f"{masked(engine.url.render_as_string(hide_password=False))}: at revision {revision}")


def record_of(attempt: Attempt) -> dict[str, Any]:
    """One exported row. The cost is a decimal text of whole billionths, the start an ISO time in UTC."""
    return {
        "id": attempt.id,
        "request_id": attempt.request_id,
        "number": attempt.number,
        "tenant": attempt.tenant_id,
        "tier": attempt.tier.name,
        "upstream": attempt.upstream_id,
        "model": attempt.model,
        "place": attempt.place,
        "reason": attempt.reason.value,
        "data_class": attempt.data_class.value,
        "num_input_tokens": attempt.usage.num_input_tokens,
        "num_output_tokens": attempt.usage.num_output_tokens,
        "is_estimated": attempt.usage.is_estimated,
        "cost_usd": f"{attempt.cost_usd:.9f}",
        "outcome": attempt.outcome.value,
        "error_code": attempt.error_code,
        "started_at": datetime.fromtimestamp(attempt.started_at_unix_s, UTC).isoformat(),
        "elapsed_s": attempt.elapsed_s,
        "ttft_s": attempt.ttft_s,
    }


COLUMNS = (
    *("id", "request_id", "number", "tenant", "tier", "upstream", "model", "place", "reason", "data_class"),
    *("num_input_tokens", "num_output_tokens", "is_estimated", "cost_usd", "outcome", "error_code", "started_at"),
    *("elapsed_s", "ttft_s"),
)


def _writer(form: ExportFormat, sink: IO[str]) -> Writer:
    if form is ExportFormat.JSON:
        return lambda record: sink.write(json.dumps(record, ensure_ascii=False) + "\n")
    table = csv.DictWriter(sink, COLUMNS)  # its line ends, CR and LF, are also what it quotes inside a field
    table.writeheader()
    return lambda record: table.writerow({name: _cell(value) for name, value in record.items()})


def _cell(value: Any) -> Any:
    """A spreadsheet runs what begins like a formula, and ids come from callers: an apostrophe makes it text."""
    if isinstance(value, str) and value.startswith(FORMULA_STARTS):
        return f"'{value}"
    return value


def _printable(name: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in name)


def _figures(total: Total) -> tuple[str, ...]:
    counts = (total.num_attempts, total.num_completed, total.num_input_tokens, total.num_output_tokens)
    return (*map(str, counts), f"{total.cost_usd:.6f}")


def _span(since: str | None, until: str | None) -> Span:
    span = Span(_unix_s(since, "--since"), _unix_s(until, "--until"))
    if span.since_unix_s is not None and span.until_unix_s is not None and span.since_unix_s >= span.until_unix_s:
        _fail("--since must be before --until")
    return span


def _unix_s(text: str | None, option: str) -> float | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        _fail(f"{option} must be a date such as 2026-11-30 or a time such as 2026-11-30T12:00:00Z")
    return float((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())


@contextmanager
def _sink(output: Path | None) -> Iterator[IO[str]]:
    """A file appears under its name when it is complete, for its owner alone."""
    if output is None:
        yield sys.stdout
        sys.stdout.flush()
        return
    partial = output.with_name(f"{output.name}.partial")
    try:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        with open(descriptor, "w", encoding="utf-8", newline="") as sink:  # noqa: PTH123 - it is a descriptor
            yield sink
        partial.replace(output)
    except OSError as error:
        _fail(f"{output}: cannot be written ({type(error).__name__})")
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def _progress(total: int) -> Iterator[Any]:
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    with typer.progressbar(length=total, label="attempts", file=sys.stderr, show_pos=True) as bar:
        yield bar.update


@contextmanager
def _database(config: Path, *, may_create: bool = False) -> Iterator[sa.Engine]:
    """The configured database; whatever is wrong with it ends the command with one sentence."""
    engine = None
    try:
        loaded = load_settings(config, require_secrets=False)
        ref = loaded.tree.ledger.database
        url = database_url(
            None if ref is None else loaded.secret(ref).get_secret_value(),
            loaded.resolve_path(loaded.tree.state_folder),
        )
        path = sqlite_path(url)
        if path is not None and not (may_create or path.exists()):
            _fail(f"there is no ledger at {path} yet; create it with: upcoach ledger migrate")
        engine = open_engine(url)
        yield engine
    except (InvalidSettings, MissingSecret, StorageError) as error:
        _fail(str(error))
    except BrokenPipeError:
        # Whoever read our output has seen enough. Python would complain once more when it flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (SQLAlchemyError, OSError) as error:
        _fail(f"the ledger's database cannot be used ({type(getattr(error, 'orig', None) or error).__name__})")
    finally:
        if engine is not None:
            engine.dispose()


def _fail(sentence: str) -> Any:
    typer.echo(sentence, err=True)
    raise typer.Exit(1)
