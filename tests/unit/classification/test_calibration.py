from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from serve_app.classification.artefact import ArtefactInvalid
from serve_app.classification.calibration import NUM_QUANTILES, Calibration, CalibrationMismatch, calibrate
from serve_app.classification.scorer import Score
from serve_app.contracts.assessment import Turn
from serve_app.contracts.vocabulary import Domain

DIGEST, OTHER_DIGEST = "a" * 64, "b" * 64
SHARES = st.floats(0.0, 1.0)


class ScorerByLength:
    """Complexity is the number of characters, in percent."""

    model_sha256 = DIGEST

    def score(self, turns: Sequence[Turn]) -> Score:
        return Score(len(turns[-1].text) / 100.0, Domain.COACHING, 1.0)


def prompts_of(lengths: Sequence[int]) -> list[list[Turn]]:
    return [[Turn("user", "x" * length)] for length in lengths]


def a_calibration() -> Calibration:
    return calibrate(ScorerByLength(), {"short": prompts_of(range(50)), "long": prompts_of(range(50, 101))})


def test_a_calibration_states_its_model_and_its_mix() -> None:
    calibration = a_calibration()
    assert (calibration.model_sha256, calibration.mix) == (DIGEST, {"short": 50, "long": 51})
    assert len(calibration.quantiles) == NUM_QUANTILES


@pytest.mark.parametrize(("share", "threshold"), [(0.0, 0.0), (0.25, 0.25), (0.5, 0.5), (0.505, 0.505), (1.0, 1.0)])
def test_a_threshold_splits_the_mix_at_the_stated_share(share: float, threshold: float) -> None:
    assert a_calibration().threshold_for_share(share) == pytest.approx(threshold)


@given(SHARES, SHARES)
def test_a_larger_share_never_has_a_lower_threshold(one: float, other: float) -> None:
    calibration = a_calibration()
    low, high = sorted((one, other))
    assert calibration.threshold_for_share(low) <= calibration.threshold_for_share(high)


@pytest.mark.parametrize("share", [-0.01, 1.01, float("nan")])
def test_a_share_outside_0_to_1_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match="share"):
        a_calibration().threshold_for_share(share)


def test_a_saved_calibration_is_read_back_for_its_own_model(tmp_path: Path) -> None:
    path = tmp_path / "calibration.json"
    path.write_text(a_calibration().model_dump_json())
    assert Calibration.load(path, DIGEST) == a_calibration()


def test_a_calibration_of_another_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "calibration.json"
    path.write_text(a_calibration().model_dump_json())
    with pytest.raises(CalibrationMismatch, match="belongs to model aaaaaaaaaaaa") as caught:
        Calibration.load(path, OTHER_DIGEST)
    assert isinstance(caught.value, ValueError)


def test_a_missing_or_broken_calibration_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtefactInvalid, match=r"calibration\.json"):
        Calibration.load(tmp_path / "calibration.json", DIGEST)
    (tmp_path / "calibration.json").write_text("{}")
    with pytest.raises(ArtefactInvalid, match="quantiles"):
        Calibration.load(tmp_path / "calibration.json", DIGEST)


@pytest.mark.parametrize("quantiles", [(0.5,) * 100, (0.9, *(0.5,) * 100), (*(0.5,) * 100, 1.5)])
def test_quantiles_that_are_no_distribution_are_refused(quantiles: tuple[float, ...]) -> None:
    with pytest.raises(ValidationError):
        Calibration(model_sha256=DIGEST, quantiles=quantiles, mix={})


def test_calibrating_on_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one prompt"):
        calibrate(ScorerByLength(), {"empty": []})
