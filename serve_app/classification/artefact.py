"""The trained classifier on disk: classifier.onnx, classifier.json (`Manifest`), calibration.json.

Nothing of an artefact is used before its digest has been checked against the manifest.
"""

import hashlib
from pathlib import Path
from typing import Final

from pydantic import Field, ValidationError

from serve_app.classification.features import FeatureSpec
from serve_app.classification.structure import STRUCTURE_NAMES
from serve_app.contracts.vocabulary import Domain
from serve_app.strict import StrictModel

ONNX_NAME: Final = "classifier.onnx"
MANIFEST_NAME: Final = "classifier.json"
CALIBRATION_NAME: Final = "calibration.json"
GOLDEN_NAME: Final = "golden.json"
MODEL_CARD_NAME: Final = "MODEL_CARD.md"

DEFAULT_ARTEFACT_DIR: Final = Path(__file__).parent / "model"
"""The artefact that comes with the package."""


class ArtefactInvalid(ValueError):
    """The classifier's files are missing, unreadable, altered, or of another version than this code."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(path, problem)
        self.path, self.problem = path, problem

    def __str__(self) -> str:
        return f"{self.path}: {self.problem}"


class Manifest(StrictModel):
    """classifier.json. `training_config_sha256` and `data` tell where the weights came from."""

    model_version: str
    onnx_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    onnx_opset: int
    features: FeatureSpec
    structure_names: tuple[str, ...]
    domains: tuple[Domain, ...]
    training_config_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    data: dict[str, int]


def sha256_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def read_model(artefact_dir: Path) -> tuple[Manifest, bytes]:
    """The manifest and the ONNX bytes it vouches for. Raises ArtefactInvalid."""
    manifest_path, onnx_path = artefact_dir / MANIFEST_NAME, artefact_dir / ONNX_NAME
    try:
        manifest = Manifest.model_validate_json(_read(manifest_path))
    except ValidationError as error:
        raise ArtefactInvalid(manifest_path, str(error)) from error
    if manifest.structure_names != STRUCTURE_NAMES:
        raise ArtefactInvalid(manifest_path, "structural features of another version")
    data = _read(onnx_path)
    if sha256_of(data) != manifest.onnx_sha256:
        raise ArtefactInvalid(onnx_path, f"its SHA-256 is not the one in {MANIFEST_NAME}")
    return manifest, data


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ArtefactInvalid(path, error.strerror or "cannot be read") from error
