"""MODEL_CARD.md, written from what was measured."""

from collections.abc import Iterator

from serve_app.classification.artefact import Manifest
from serve_app.classification.calibration import Calibration
from serve_app.classification.training.config import TrainingConfig
from serve_app.classification.training.evaluation import Evaluation
from serve_app.classification.training.metrics import RoutingQuality

_INTRODUCTION = """\
# Model card: UpCoach complexity classifier {version}

Scores a conversation: `complexity` in [0, 1] (how much a stronger model is expected to gain) and one of eight domains.
It chooses between serving tiers and nothing else; it must not be used to judge people or their writing.

| | |
| --- | --- |
| SHA-256 of classifier.onnx | `{sha256}` |
| input | n-grams in {num_buckets} buckets (recipe {recipe} of `features.py`), {num_structure} structural features |
| network | embedding bag ({embedding_size} wide, float16) -> {hidden_size} hidden -> complexity, domain |
| runtime | ONNX opset {opset}, one thread |
| licence | Apache-2.0, as the rest of the project |
"""

_DATA = """
## Data

| source | licence | training examples |
| --- | --- | --- |
{sources}

Routing labels are RouteLLM's MMLU responses (Apache-2.0; MMLU questions MIT) and LLMRouter (MIT): how a weak and a
strong model did on the same prompt. The rows are not part of the project. `template:*` and `other languages` were
written for it; chatterbot-corpus is BSD-3-Clause, reasoning-gym Apache-2.0. {held_out:.0%} of all prompts are held out
by a hash of their text, so no prompt is on both sides; the figures below are of the held-out side, and the weights have
never seen it.

Targets: a routing prompt gets 0.42 plus half of its expected gain over the average, mixed from its own answers and
those of its subject; every other prompt gets the difficulty that its template, generator or source is meant to have.
That scale is the product's judgement, not a measurement.
"""

_LIMITS = """
## Limits

- The gain was seen on benchmark questions with models of 2023 and 2024; on coaching prompts the score is a designed
  difficulty. Replace both by labels from live traffic when there are any.
- Made prompts come from the same templates on both sides of the split: their error says that the network learned the
  design, not that it understands another style. Trust the routing table and prompts written by others more.
- Settings were chosen with the held-out figures in view, so these are optimistic; a difference below .03 to .05 is
  noise at this number of rows.
- Other languages than English come from short greetings and a few dozen prompts: expect less of them.
- Of a long message the first and last 1,536 bytes are read, of the rest of the conversation 512 and 1,024.
- A person who wants the strong model can phrase a prompt to get it. That costs money within the tenant's budget and
  opens no place that the data class forbids.
"""

_SHARES = (10, 25, 50, 75, 90)


def model_card(config: TrainingConfig, manifest: Manifest, evaluation: Evaluation, calibration: Calibration) -> str:
    """Markdown. The same inputs give the same text."""
    introduction = _INTRODUCTION.format(
        version=manifest.model_version,
        sha256=manifest.onnx_sha256,
        num_buckets=manifest.features.num_buckets,
        recipe=manifest.features.version,
        num_structure=len(manifest.structure_names),
        embedding_size=config.network.embedding_size,
        hidden_size=config.network.hidden_size,
        opset=manifest.onnx_opset,
    )
    sources = "\n".join(f"| {source} | {_licence(source)} | {count} |" for source, count in manifest.data.items())
    data = _DATA.format(sources=sources, held_out=config.corpus.held_out_share)
    return introduction + data + "\n".join(_metrics(evaluation)) + "\n".join(_calibration(calibration)) + _LIMITS


def _licence(source: str) -> str:
    if source == "routing:routellm_mmlu":
        return "Apache-2.0, MIT"
    known = {"routing:llmrouter": "MIT", "chatterbot-corpus": "BSD-3-Clause", "reasoning-gym": "Apache-2.0"}
    return known.get(source, "Apache-2.0 (this project)")


def _metrics(evaluation: Evaluation) -> Iterator[str]:
    yield "\n## Held-out results\n"
    yield "APGR: area under accuracy against share of strong calls, from 0 (always weak) to 1; .5 is a random mix."
    yield 'AUC: of "the strong model did better". CPT50: share of strong calls that wins back half of the gap.\n'
    yield "| benchmark, pair | rows | APGR | AUC | CPT50 | APGR, length | APGR, TF-IDF + logistic |"
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    for row in evaluation.routing:
        quality = row.classifier
        yield (
            f"| {row.benchmark}, {row.pair} | {quality.num_rows} | {_figure(quality.apgr)} | {_figure(quality.auc)} | "
            f"{_figure(quality.cpt50)} | {_apgr(row.length)} | {_apgr(row.tfidf)} |"
        )
    yield f"\nMade prompts ({evaluation.num_made_prompts} held out): mean absolute error {evaluation.target_error:.3f},"
    yield f"domain accuracy {evaluation.domain_accuracy:.3f}.\n"


def _calibration(calibration: Calibration) -> Iterator[str]:
    yield "## Calibration\n"
    total = sum(calibration.mix.values())
    mix = ", ".join(f"{source} {count / total:.0%}" for source, count in calibration.mix.items())
    yield f"Quantiles of the score over {total} made prompts, other seeds than in training: {mix}.\n"
    yield "| share of traffic at or below | " + " | ".join(f"{share}%" for share in _SHARES) + " |"
    yield "| --- |" + " --- |" * len(_SHARES)
    yield "| complexity | " + " | ".join(f"{calibration.quantiles[share]:.3f}" for share in _SHARES) + " |\n"


def _apgr(quality: RoutingQuality) -> str:
    return _figure(quality.apgr)


def _figure(value: float | None) -> str:
    return "—" if value is None else f"{value:.3f}"
