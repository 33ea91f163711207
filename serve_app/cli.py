"""The `upcoach` command: results on standard output, everything else on standard error."""

import asyncio
import json
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from serve_app import cli_classifier, cli_ledger, cli_tenants
from serve_app.classification.artefact import ArtefactInvalid
from serve_app.classification.calibration import CalibrationMismatch
from serve_app.contracts.decision import Decision
from serve_app.contracts.vocabulary import Alias, DataClass
from serve_app.errors import InvalidRequest
from serve_app.explain import explain as explain_prompt
from serve_app.explain import lines_of
from serve_app.http_api.route_view import refusal_view, view_of
from serve_app.integrity.manifest import ModelRejected, verify_model
from serve_app.integrity.manifest import describe as describe_model
from serve_app.settings.load import load_settings
from serve_app.settings.problems import InvalidSettings, did_you_mean
from serve_app.settings.show import effective_config

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
config_app = typer.Typer(no_args_is_help=True, help="Check and show gateway configurations.")
models_app = typer.Typer(no_args_is_help=True, help="Model folders and the digests that vouch for them.")
app.add_typer(config_app, name="config")
app.add_typer(cli_classifier.app, name="classifier")
app.add_typer(models_app, name="models")
app.add_typer(cli_ledger.app, name="ledger")
app.add_typer(cli_tenants.app, name="tenants")

ConfigOption = Annotated[Path, typer.Option("--config", "-c", help="The gateway configuration.")]


@app.callback()
def upcoach() -> None:
    """UpCoach LLM: hybrid serving that answers locally what it can and sends out what it may."""


@app.command()
def explain(
    prompt: Annotated[str, typer.Argument(help="The prompt to decide about; it is not sent anywhere.")],
    config: ConfigOption = Path("configs/gateway.demo.yaml"),
    tenant: Annotated[str | None, typer.Option(help="Whose rules apply; the first tenant by default.")] = None,
    data_class: Annotated[DataClass | None, typer.Option(help="The tenant's default if not given.")] = None,
    model: Annotated[str, typer.Option(help="An alias (auto, local, cloud) or an upstream's model.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="The decision as JSON, like POST /v1/route.")] = False,
) -> None:
    """Show which tier a prompt would get, and why every candidate was kept or dropped.

    Example: upcoach explain "Prove that there are infinitely many primes." --data-class confidential
    """
    loaded = _load(config, require_secrets=False)
    tenants = loaded.tree.tenants
    tenant_id = tenant or next(iter(tenants))
    if tenant_id not in tenants:
        _fail(f"no tenant is named '{tenant_id}'{did_you_mean(tenant_id, tenants)}")
    wanted = next((alias for alias in Alias if alias.value == model), model)
    try:
        explanation = asyncio.run(
            explain_prompt(
                loaded,
                prompt,
                tenant_id=tenant_id,
                data_class=data_class or tenants[tenant_id].default_data_class,
                wanted=wanted,
            )
        )
    except (ArtefactInvalid, CalibrationMismatch) as error:
        _fail(str(error))
    except InvalidRequest as error:
        _fail(error.public_message)
    if not as_json:
        typer.echo("\n".join(lines_of(explanation)))
        return
    facts, outcome = explanation.facts, explanation.outcome
    if isinstance(outcome, Decision):
        _echo_json(view_of(facts, outcome, explanation.assessment))
        return
    _echo_json(refusal_view(facts, outcome, explanation.assessment))


@config_app.command()
def validate(
    file: Annotated[Path, typer.Argument(help="A gateway configuration.")],
    secrets: Annotated[bool, typer.Option(help="Also check that every needed secret is there.")] = True,
) -> None:
    """Check keys, types, references and secrets; exit code 1 and one line per problem when something is wrong.

    Example: upcoach config validate configs/gateway.yaml --no-secrets
    """
    loaded = _load(file, require_secrets=secrets)
    tree = loaded.tree
    typer.echo(f"{file}: valid ({len(loaded.active_upstreams)} of {len(tree.upstreams)} upstreams active, ", nl=False)
    typer.echo(f"{len(tree.tiers)} tiers, {len(tree.tenants)} tenants)")
    scaling = tree.router.scaling
    typer.echo(
        f"capacity: {scaling.max_replicas} routers x ({scaling.max_ongoing_requests} requests in progress + "
        f"{scaling.max_queued_requests} waiting) = {scaling.capacity}; beyond that 503"
    )


@config_app.command()
def show(file: Annotated[Path, typer.Argument(help="A gateway configuration.")]) -> None:
    """Print the effective configuration, defaults filled in, secrets masked.

    Example: upcoach config show configs/gateway.demo.yaml
    """
    loaded = _load(file, require_secrets=False)
    typer.echo(yaml.safe_dump(effective_config(loaded), sort_keys=False, allow_unicode=True), nl=False)


@models_app.command()
def describe(folder: Annotated[Path, typer.Argument(help="The folder that holds the weights.")]) -> None:
    """Print the manifest of what a folder holds now: a digest for each file. Keep it apart from the folder.

    Example: upcoach models describe /models/mistral-7b-instruct-v0.3 > models/mistral-7b-instruct-v0.3.json
    """
    try:
        typer.echo(describe_model(folder).to_json(), nl=False)
    except (ModelRejected, OSError) as error:
        _fail(str(error))


@models_app.command()
def verify(
    folder: Annotated[Path, typer.Argument(help="The folder that holds the weights.")],
    manifest: Annotated[Path, typer.Option(help="The file with its digests.")],
) -> None:
    """Check every file of a model folder against its manifest; exit code 1 when one is missing, extra or changed.

    Example: upcoach models verify ~/.cache/upcoach/smollm2-135m-instruct \
--manifest configs/models/smollm2-135m-instruct.json
    """
    try:
        verify_model(folder, manifest)
    except (ModelRejected, OSError) as error:
        _fail(str(error))
    typer.echo(f"{folder}: every file matches {manifest}")


def _load(path: Path, *, require_secrets: bool) -> Any:
    try:
        return load_settings(path, require_secrets=require_secrets)
    except InvalidSettings as error:
        _fail(str(error))


def _echo_json(value: object) -> None:
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def _fail(sentence: str) -> Any:
    typer.echo(sentence, err=True)
    raise typer.Exit(1)


def main() -> None:
    app()
