"""From a share of traffic to a threshold on the complexity score.

Nobody types a threshold: a share is stated, and the quantiles of the scores over a stated mix of prompts turn it into
one. A calibration belongs to one model, by digest, and is refused for any other.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol, Self

import numpy as np
from pydantic import Field, ValidationError, model_validator

from serve_app.classification.artefact import ArtefactInvalid
from serve_app.classification.scorer import Score
from serve_app.contracts.assessment import Turn
from serve_app.strict import StrictModel

NUM_QUANTILES: Final = 101


class CalibrationMismatch(ValueError):
    """The calibration was made for another model than the one that is loaded."""

    def __init__(self, calibrated_sha256: str, loaded_sha256: str) -> None:
        super().__init__(calibrated_sha256, loaded_sha256)
        self.calibrated_sha256, self.loaded_sha256 = calibrated_sha256, loaded_sha256

    def __str__(self) -> str:
        return (
            f"the calibration belongs to model {self.calibrated_sha256[:12]}, loaded is {self.loaded_sha256[:12]}: "
            "run `upcoach classifier calibrate`"
        )


class DigestedScorer(Protocol):
    """A scorer that knows which model it runs."""

    @property
    def model_sha256(self) -> str: ...

    def score(self, turns: Sequence[Turn]) -> Score: ...


class Calibration(StrictModel):
    """calibration.json. `quantiles[i]` is the complexity that i % of the mix stays at or below.

    `mix`: number of prompts by source.
    """

    model_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    quantiles: tuple[float, ...] = Field(min_length=NUM_QUANTILES, max_length=NUM_QUANTILES)
    mix: dict[str, int]

    @model_validator(mode="after")
    def _is_a_distribution(self) -> Self:
        if any(not 0.0 <= q <= 1.0 for q in self.quantiles):
            raise ValueError("quantiles must lie in [0, 1]")
        if any(low > high for low, high in zip(self.quantiles, self.quantiles[1:], strict=False)):
            raise ValueError("quantiles must not fall")
        return self

    @classmethod
    def load(cls, path: Path, model_sha256: str) -> Self:
        """Raises ArtefactInvalid, or CalibrationMismatch when it belongs to another model."""
        try:
            calibration = cls.model_validate_json(path.read_bytes())
        except OSError as error:
            raise ArtefactInvalid(path, error.strerror or "cannot be read") from error
        except ValidationError as error:
            raise ArtefactInvalid(path, str(error)) from error
        if calibration.model_sha256 != model_sha256:
            raise CalibrationMismatch(calibration.model_sha256, model_sha256)
        return calibration

    def threshold_for_share(self, share: float) -> float:
        """The complexity at or below which `share` in [0, 1] of the mix lies. Raises ValueError outside [0, 1]."""
        if not 0.0 <= share <= 1.0:
            raise ValueError(f"a share of traffic lies in [0, 1], not {share}")
        return float(np.interp(share * (NUM_QUANTILES - 1), range(NUM_QUANTILES), self.quantiles))


def calibrate(scorer: DigestedScorer, prompts: Mapping[str, Sequence[Sequence[Turn]]]) -> Calibration:
    """Scores every conversation of `prompts` (source -> conversations). Raises ValueError when there are none."""
    scores = [scorer.score(turns).complexity for conversations in prompts.values() for turns in conversations]
    if not scores:
        raise ValueError("a calibration needs at least one prompt")
    quantiles = np.quantile(np.array(scores), np.linspace(0.0, 1.0, NUM_QUANTILES))
    return Calibration(
        model_sha256=scorer.model_sha256,
        quantiles=tuple(round(float(q), 6) for q in quantiles),
        mix={source: len(conversations) for source, conversations in prompts.items()},
    )
