"""The real graph without a local model: two routers, a provider's proxy and the ledger as deployments of their own.

It starts in a third of the time that vLLM needs, and any of its deployments can be replaced while it serves.
"""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from serve_app.demo.instance import load_state
from tests.fakes.processes import ROOT, RunningSimulator, free_port, simulator

UP_LIMIT_S = 300
DOWN_LIMIT_S = 120
REPLACE_LIMIT_S = 120


@dataclass(frozen=True, slots=True)
class CloudGraph:
    """`home` holds its configuration and logs. Its two providers are `cloud` and, after it, `fallback`."""

    url: str
    key: str
    home: Path
    cloud: RunningSimulator
    fallback: RunningSimulator

    def replace(self, deployment: str, num_cpus: float) -> None:
        """Deploys the same graph with another `num_cpus` for one deployment: Serve replaces all its replicas.

        Returns when all are replaced. Raises CalledProcessError.
        """
        serve = yaml.safe_load((self.home / "serve.yaml").read_text(encoding="utf-8"))
        overrides = serve["applications"][0].setdefault("deployments", [])
        overrides[:] = [override for override in overrides if override["name"] != deployment]
        overrides.append({"name": deployment, "ray_actor_options": {"num_cpus": num_cpus}})
        (self.home / "serve.yaml").write_text(yaml.safe_dump(serve), encoding="utf-8")
        state = load_state(self.home)
        assert state is not None
        command = ["-m", "serve_app.demo.serve_driver", "--address", state.gcs_address, "--port", str(state.port)]
        # As the head was started: it is on the loopback address, and asks for its token.
        ray = {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(self.home / "ray.token"),
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        }
        subprocess.run(
            [sys.executable, *command, str(self.home / "serve.yaml")],
            cwd=ROOT,
            env={**os.environ, **ray, "UPCOACH_DEMO_INSTANCE": str(self.home)},
            capture_output=True,
            timeout=REPLACE_LIMIT_S,
            check=True,
        )


@contextlib.contextmanager
def cloud_graph(home: Path) -> Iterator[CloudGraph]:
    """Ports, key and simulators of its own; started and stopped by the same code as `make up`."""
    port = free_port()
    with simulator("simulator") as cloud, simulator("simulator-fallback") as fallback:
        _configure(home, cloud, fallback)
        try:
            config = ["--serve-config", str(home / "serve.yaml"), "--no-simulators"]
            _demo("up", home, UP_LIMIT_S, "--port", str(port), *config)
            key = (home / "demo.key").read_text(encoding="utf-8").strip()
            yield CloudGraph(f"http://127.0.0.1:{port}", key, home, cloud, fallback)
        finally:
            _demo("down", home, DOWN_LIMIT_S)


def _configure(home: Path, cloud: RunningSimulator, fallback: RunningSimulator) -> None:
    gateway: dict[str, Any] = yaml.safe_load((ROOT / "configs" / "gateway.demo.yaml").read_text(encoding="utf-8"))
    gateway["state_folder"] = str(home / "state")
    for name, provider in (("simulator", cloud), ("simulator-fallback", fallback)):
        gateway["providers"][name].update(base_url=f"{provider.url}/v1", placement="deployment")
    gateway["providers"]["openai"]["api_key"] = {"file": str(home / "absent")}
    gateway["tenants"]["demo"]["key"] = {"file": str(home / "demo.key")}
    gateway["router"]["scaling"] = {"min_replicas": 2, "max_replicas": 2, "num_cpus": 0.1}
    gateway["ledger"] = {**gateway.get("ledger", {}), "placement": "deployment"}
    del gateway["upstreams"]["smollm2"]
    gateway["tiers"] = {name: tier for name, tier in gateway["tiers"].items() if name.startswith("CLOUD_")}
    (home / "gateway.yaml").write_text(yaml.safe_dump(gateway), encoding="utf-8")
    serve = yaml.safe_load((ROOT / "configs" / "serve" / "demo.yaml").read_text(encoding="utf-8"))
    serve["applications"][0]["args"]["config"] = str(home / "gateway.yaml")
    (home / "serve.yaml").write_text(yaml.safe_dump(serve), encoding="utf-8")


def _demo(command: str, home: Path, limit_s: int, *options: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "serve_app.demo", command, "--home", str(home), *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=limit_s,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{command} failed:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
