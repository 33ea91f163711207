"""Routing labels: how a weak and a strong model did on the same prompt. Read from a file that is never committed."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyarrow.parquet

from serve_app.classification.training.examples import Example, one_turn
from serve_app.contracts.vocabulary import Domain

_COLUMNS: Final = ["benchmark", "group", "pair", "prompt", "weak_score", "strong_score", "contaminated"]
_DOMAIN_OF_GROUP: Final = {
    "gsm8k": Domain.MATH, "math": Domain.MATH, "mbpp": Domain.CODING, "trivia_qa": Domain.KNOWLEDGE,
    "natural_qa": Domain.KNOWLEDGE, "arc_challenge": Domain.KNOWLEDGE, "openbook_qa": Domain.KNOWLEDGE,
    "commonsense_qa": Domain.REASONING, "agentverse-logicgrid": Domain.REASONING, "commongen": Domain.WRITING,
    "abstract_algebra": Domain.MATH, "college_mathematics": Domain.MATH, "elementary_mathematics": Domain.MATH,
    "high_school_mathematics": Domain.MATH, "high_school_statistics": Domain.MATH, "formal_logic": Domain.REASONING,
    "logical_fallacies": Domain.REASONING, "moral_scenarios": Domain.REASONING, "gpqa": Domain.KNOWLEDGE,
}  # fmt: skip
# Where a benchmark question lies on the score's scale, before what is known of the strong model's gain moves it.
_CENTRE, _GAIN_SPAN = 0.42, 0.5
_PRIOR_ROWS: Final = 12.0


@dataclass(frozen=True, slots=True)
class RoutingRow:
    """One prompt under one pair of models; scores in [0, 1]."""

    benchmark: str
    group: str
    pair: str
    prompt: str
    weak_score: float
    strong_score: float

    @property
    def gain(self) -> float:
        return self.strong_score - self.weak_score

    @property
    def domain(self) -> Domain:
        return _DOMAIN_OF_GROUP.get(self.group, Domain.KNOWLEDGE)


def read_rows(path: Path) -> list[RoutingRow]:
    """All rows but the contaminated ones, in the file's order. Raises FileNotFoundError."""
    if not path.is_file():
        raise FileNotFoundError(f"no routing labels at {path}: set corpus.routing_rows to the parquet file, or to null")
    table = pyarrow.parquet.read_table(path, columns=_COLUMNS)
    return [
        RoutingRow(r["benchmark"], r["group"], r["pair"], r["prompt"], r["weak_score"], r["strong_score"])
        for r in table.to_pylist()
        if not r["contaminated"]
    ]


def as_examples(rows: Sequence[RoutingRow], own_share: float, weight: float) -> list[Example]:
    """One example a prompt. One answer says little of a prompt, so its gain is mixed with that of its group.

    `own_share` in [0, 1] is the prompt's own part of that mixture, `weight` the example's weight in the loss.
    """
    by_group: dict[str, list[float]] = defaultdict(list)
    by_prompt: dict[str, list[RoutingRow]] = defaultdict(list)
    for row in rows:
        by_group[row.group].append(row.gain)
        by_prompt[row.prompt].append(row)
    overall = sum(row.gain for row in rows) / max(1, len(rows))
    group_gain = {
        group: (sum(gains) + _PRIOR_ROWS * overall) / (len(gains) + _PRIOR_ROWS) for group, gains in by_group.items()
    }
    examples = []
    for same in by_prompt.values():
        own_gain = sum(row.gain for row in same) / len(same)
        gain = own_share * own_gain + (1.0 - own_share) * group_gain[same[0].group] - overall
        target = min(0.97, max(0.03, _CENTRE + _GAIN_SPAN * gain))
        source = f"routing:{same[0].benchmark}"
        examples.append(Example(one_turn(same[0].prompt), target, same[0].domain, source, weight))
    return examples
