"""The stated share of traffic stays local: the committed configurations, their calibration, every upstream up."""

from pathlib import Path

import numpy as np
import pytest

from serve_app.assembly import policies
from serve_app.classification.artefact import CALIBRATION_NAME, DEFAULT_ARTEFACT_DIR, read_model
from serve_app.classification.calibration import NUM_QUANTILES, Calibration
from serve_app.contracts.decision import Decision
from serve_app.contracts.fleet import FleetSnapshot
from serve_app.contracts.vocabulary import LOCAL, Domain, Place, Tier
from serve_app.routing.decide import decide
from serve_app.routing.policy import RoutingPolicy
from serve_app.settings.load import LoadedSettings, load_settings
from tests.fakes.builders import a_request
from tests.fakes.processes import ROOT

NUM_DRAWS = 2000
PLACES = [LOCAL, Place("cloud"), Place("cloud-eu"), Place("cloud-us")]
KEYS = {"OPENAI_API_KEY": "set", "ANTHROPIC_API_KEY": "set", "MISTRAL_API_KEY": "set"}


def complexities() -> list[float]:
    """Evenly drawn from the distribution that the default calibration describes."""
    manifest, _ = read_model(DEFAULT_ARTEFACT_DIR)
    calibration = Calibration.load(DEFAULT_ARTEFACT_DIR / CALIBRATION_NAME, manifest.onnx_sha256)
    at = (np.arange(NUM_DRAWS) + 0.5) / NUM_DRAWS * (NUM_QUANTILES - 1)
    return [float(value) for value in np.interp(at, range(NUM_QUANTILES), calibration.quantiles)]


def tiers_of(snapshot: FleetSnapshot, policy: RoutingPolicy, domain: Domain) -> list[Tier]:
    outcomes = [
        decide(a_request(complexity=value, domain=domain, allowed_places=PLACES, remaining_s=120.0), snapshot, policy)
        for value in complexities()
    ]
    assert all(isinstance(outcome, Decision) for outcome in outcomes)
    return [outcome.chosen.tier for outcome in outcomes if isinstance(outcome, Decision)]


def loaded(path: Path, environment: dict[str, str]) -> LoadedSettings:
    return load_settings(path, require_secrets=False, environment=environment)


@pytest.mark.parametrize("domain", [Domain.KNOWLEDGE, Domain.CODING, Domain.COACHING])
@pytest.mark.parametrize("environment", [{}, KEYS], ids=["no keys", "all keys"])
@pytest.mark.parametrize("name", ["gateway.demo.yaml", "gateway.yaml"])
def test_the_local_share_is_the_target_within_two_per_cent(
    name: str, environment: dict[str, str], domain: Domain
) -> None:
    settings = loaded(ROOT / "configs" / name, environment)
    routing = settings.tree.routing
    tiers = tiers_of(FleetSnapshot(policies.candidates(settings), {}), policies.routing_policy(settings), domain)
    local_share = sum(tier.is_local for tier in tiers) / len(tiers)
    fast_share = sum(tier is Tier.LOCAL_FAST for tier in tiers) / len(tiers)
    assert local_share == pytest.approx(routing.target_local_share, abs=0.02)
    assert fast_share == pytest.approx(routing.fast_share, abs=0.02)


@pytest.mark.parametrize("target", [0.0, 0.1, 0.35, 0.8, 1.0])
def test_another_target_gives_another_share(tmp_path: Path, target: float) -> None:
    text = (ROOT / "configs" / "gateway.demo.yaml").read_text(encoding="utf-8")
    stated = "  target_local_share: 0.5\n  fast_share: 0.25\n"
    assert stated in text
    path = tmp_path / "gateway.yaml"
    path.write_text(text.replace(stated, f"  target_local_share: {target}\n  fast_share: 0\n"), encoding="utf-8")
    settings = loaded(path, {})
    tiers = tiers_of(FleetSnapshot(policies.candidates(settings), {}), policies.routing_policy(settings), Domain.MATH)
    assert sum(tier.is_local for tier in tiers) / len(tiers) == pytest.approx(target, abs=0.02)
