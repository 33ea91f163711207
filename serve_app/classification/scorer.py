"""The trained network behind one call: turns in, complexity and domain out."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
import onnxruntime

from serve_app.classification.artefact import DEFAULT_ARTEFACT_DIR, Manifest, read_model
from serve_app.classification.features import extract
from serve_app.contracts.assessment import Turn
from serve_app.contracts.vocabulary import Domain

_OUTPUTS: Final = ["complexity", "domain_probabilities"]
_LOG_ERRORS_ONLY: Final = 3


class Score(NamedTuple):
    """`complexity` and `domain_confidence` in [0, 1]."""

    complexity: float
    domain: Domain
    domain_confidence: float


class Scorer(Protocol):
    """May raise and may block: whoever calls it guards it."""

    def score(self, turns: Sequence[Turn]) -> Score: ...


class ScoreUnusable(ArithmeticError):
    """The network gave something that is not a number."""


class OnnxScorer:
    """ONNX Runtime on one core. Not for two threads at once. Raises ArtefactInvalid when the files are not sound."""

    def __init__(self, artefact_dir: Path = DEFAULT_ARTEFACT_DIR) -> None:
        manifest, model = read_model(artefact_dir)
        self.manifest: Manifest = manifest
        self._session = onnxruntime.InferenceSession(model, _one_thread(), providers=["CPUExecutionProvider"])
        self.score([Turn("user", "warm up")])  # the first run allocates: not on a caller's time

    @property
    def model_sha256(self) -> str:
        return self.manifest.onnx_sha256

    def score(self, turns: Sequence[Turn]) -> Score:
        """Raises ScoreUnusable, or what ONNX Runtime raises."""
        features = extract(turns, self.manifest.features)
        inputs = {"ids": features.ids, "weights": features.weights, "structure": features.structure}
        complexity, probabilities = self._session.run(_OUTPUTS, inputs)
        return _checked(float(complexity[0]), probabilities, self.manifest.domains)


def _checked(complexity: float, probabilities: Any, domains: Sequence[Domain]) -> Score:
    best = int(np.argmax(probabilities))
    confidence = float(probabilities[best])
    if not (np.isfinite(complexity) and np.isfinite(confidence)):
        raise ScoreUnusable
    return Score(min(1.0, max(0.0, complexity)), domains[best], min(1.0, max(0.0, confidence)))


def _one_thread() -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    options.log_severity_level = _LOG_ERRORS_ONLY
    return options
