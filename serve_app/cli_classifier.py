"""`upcoach classifier …`: training and its figures. What training needs is loaded by the commands alone."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from pydantic import ValidationError

from serve_app.classification.artefact import DEFAULT_ARTEFACT_DIR, ArtefactInvalid

app = typer.Typer(no_args_is_help=True, help="The complexity classifier's life outside the request path.")

BAR_WIDTH = 30
ConfigArgument = Annotated[Path, typer.Argument(help="A training configuration, such as configs/classifier.yaml.")]


class StageBar:
    """A bar for each stage on standard error: one line that moves on a terminal, one line a stage elsewhere."""

    def __init__(self) -> None:
        self._is_terminal = sys.stderr.isatty()
        self._finished: set[str] = set()

    def __call__(self, stage: str, fraction: float) -> None:
        is_finished = fraction >= 1.0
        if stage in self._finished or not (self._is_terminal or is_finished):
            return
        filled = round(BAR_WIDTH * min(1.0, fraction))
        bar = "#" * filled + "-" * (BAR_WIDTH - filled)
        start = "\r" if self._is_terminal else ""
        typer.echo(f"{start}{stage:<12} [{bar}] {fraction:4.0%}", err=True, nl=is_finished)
        if is_finished:
            self._finished.add(stage)


@app.command()
def train(
    config: ConfigArgument,
    out: Annotated[Path, typer.Option(help="The folder for the artefact.")],
) -> None:
    """Train, export, evaluate and calibrate; the same configuration gives the same bytes.

    Example: upcoach classifier train configs/classifier.yaml --out /tmp/classifier
    """
    training = _training()
    settings = _read(config)
    try:
        report = training.train(settings, out, StageBar())
    except FileNotFoundError as error:
        _fail(str(error))
    num_examples = sum(report.num_by_source.values())
    typer.echo(f"{report.out_dir}: model {report.model_sha256[:12]} from {num_examples} examples")
    typer.echo(f"figures: {report.out_dir / 'MODEL_CARD.md'}")


@app.command()
def evaluate(
    config: ConfigArgument,
    artefact: Annotated[Path, typer.Option(help="The artefact to evaluate.")] = DEFAULT_ARTEFACT_DIR,
) -> None:
    """Score prompts that were held out of training, beside prompt length and TF-IDF with logistic regression.

    Example: upcoach classifier evaluate configs/classifier.yaml
    """
    _training()
    from serve_app.classification.training import evaluation  # noqa: PLC0415 - it brings torch

    try:
        found = evaluation.evaluate(artefact, _read(config), StageBar())
    except (ArtefactInvalid, FileNotFoundError) as error:
        _fail(str(error))
    typer.echo(f"{'benchmark, pair':<68} {'rows':>5} {'APGR':>6} {'AUC':>6} {'length':>7} {'TF-IDF':>7}  (APGR)")
    for row in found.routing:
        quality = row.classifier
        typer.echo(
            f"{f'{row.benchmark}, {row.pair}':<68} {quality.num_rows:5d} {_figure(quality.apgr):>6} "
            f"{_figure(quality.auc):>6} {_figure(row.length.apgr):>7} {_figure(row.tfidf.apgr):>7}"
        )
    typer.echo(f"{found.num_made_prompts} made prompts: mean absolute error {found.target_error:.3f}, ", nl=False)
    typer.echo(f"domain accuracy {found.domain_accuracy:.3f}")


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


@app.command()
def calibrate(
    config: ConfigArgument,
    artefact: Annotated[Path, typer.Option(help="The artefact to calibrate.")] = DEFAULT_ARTEFACT_DIR,
) -> None:
    """Write calibration.json anew: which complexity belongs to which share of traffic.

    Example: upcoach classifier calibrate configs/classifier.yaml --artefact /tmp/classifier
    """
    training = _training()
    try:
        calibration = training.write_calibration(artefact, _read(config), StageBar())
    except ArtefactInvalid as error:
        _fail(str(error))
    typer.echo("share kept local  complexity up to")
    for percent in range(10, 100, 10):
        typer.echo(f"{percent:15d} %  {calibration.threshold_for_share(percent / 100):.3f}")


def _training() -> Any:
    try:
        from serve_app.classification.training import trainer  # noqa: PLC0415 - it brings torch
    except ImportError as error:
        _fail(f"training needs packages that serving does not ({error.name}): pip install 'upcoach-llm[train]'")
    return trainer


def _read(path: Path) -> Any:
    from serve_app.classification.training.config import TrainingConfig  # noqa: PLC0415 - beside the trainer

    try:
        return TrainingConfig.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except OSError as error:
        _fail(f"{path}: cannot be read ({type(error).__name__})")
    except (yaml.YAMLError, ValidationError) as error:
        _fail(f"{path}: {error}")


def _fail(sentence: str) -> Any:
    typer.echo(sentence, err=True)
    raise typer.Exit(1)
