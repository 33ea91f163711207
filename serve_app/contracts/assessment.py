"""What the classifier says of a request, and the port it says it through."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from serve_app.contracts.vocabulary import Domain, ScoredBy


@dataclass(frozen=True, slots=True)
class Turn:
    """One message as the classifier sees it: its role and its text, other parts left out."""

    role: str
    text: str


@dataclass(frozen=True, slots=True)
class Assessment:
    """`complexity` in [0, 1]: how much a stronger model is expected to gain. `domain_confidence` in [0, 1]."""

    complexity: float
    domain: Domain
    domain_confidence: float
    scored_by: ScoredBy
    elapsed_s: float


class Classifier(Protocol):
    """Scores a conversation. Never raises: a stated heuristic stands in for the model, and the assessment says so."""

    async def assess(self, turns: Sequence[Turn]) -> Assessment: ...
