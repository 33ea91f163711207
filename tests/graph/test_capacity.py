"""What the graph can hold is stated and finite: no deployment is left with Serve's own, unbounded, limits."""

from pathlib import Path
from typing import Any

import pytest
from ray.serve._private.build_app import build_app as resolve

from serve_app.graph import GraphArgs, build_app

CONFIGS = Path(__file__).parents[2] / "configs"


def deployments_of(config: Path) -> dict[str, Any]:
    """Every deployment's configuration by its name. Serve has no public way to look into what was bound."""
    built = resolve(build_app(GraphArgs(config=config)), name="upcoach")
    return {deployment.name: deployment._deployment_config for deployment in built.deployments}


@pytest.mark.parametrize("name", ["gateway.demo.yaml", "gateway.yaml"])
def test_every_deployment_has_a_finite_capacity_and_time_to_drain(name: str) -> None:
    deployments = deployments_of(CONFIGS / name)
    assert {"Router", "Ledger"} <= deployments.keys()
    assert any(deployment.startswith("LocalLLM:") for deployment in deployments)
    for deployment, options in deployments.items():
        assert 0 < options.max_ongoing_requests <= 4096, deployment
        assert 0 < options.max_queued_requests <= 4096, deployment
        assert 0 < options.graceful_shutdown_timeout_s <= 3600, deployment
        assert options.graceful_shutdown_wait_loop_s < 1, deployment
