"""The real graph: Ray, HAProxy, vLLM on the demo model, started and stopped by the same code as `make up`."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from serve_app.demo.__main__ import build_parser, instance_from
from serve_app.demo.ray_head import ray_logs
from tests.fakes.processes import ROOT, RunningSimulator, free_port, simulator

UP_LIMIT_S = 600
DOWN_LIMIT_S = 120
QUICK_BREAKER = {"open_for_s": 0.2, "max_open_for_s": 1.0}
"""Tests break upstreams all the time, and the next one wants them back."""


@dataclass(frozen=True, slots=True)
class RunningGraph:
    """`home` holds its logs; `ray_logs` those of Ray and the replicas."""

    url: str
    key: str
    home: Path
    ray_logs: Path
    cloud: RunningSimulator
    fallback: RunningSimulator


@contextlib.contextmanager
def running_graph(home: Path) -> Iterator[RunningGraph]:
    """The demo's configuration with ports, key and simulators of its own."""
    port = free_port()
    with simulator("simulator") as cloud, simulator("simulator-fallback") as fallback:
        serve_config = _configure(home, cloud, fallback)
        command = [sys.executable, "-m", "serve_app.demo"]
        try:
            _run(
                [
                    *command,
                    "up",
                    "--home",
                    str(home),
                    "--port",
                    str(port),
                    "--serve-config",
                    str(serve_config),
                    "--no-simulators",
                ],
                UP_LIMIT_S,
            )
            key = (home / "demo.key").read_text(encoding="utf-8").strip()
            yield RunningGraph(f"http://127.0.0.1:{port}", key, home, _ray_logs(home), cloud, fallback)
        finally:
            _run([*command, "down", "--home", str(home)], DOWN_LIMIT_S)


def _configure(home: Path, cloud: RunningSimulator, fallback: RunningSimulator) -> Path:
    gateway = yaml.safe_load((ROOT / "configs" / "gateway.demo.yaml").read_text(encoding="utf-8"))
    gateway["providers"]["simulator"]["base_url"] = f"{cloud.url}/v1"
    gateway["providers"]["simulator-fallback"]["base_url"] = f"{fallback.url}/v1"
    gateway["providers"]["openai"]["api_key"] = {"file": str(home / "absent")}
    gateway["state_folder"] = str(home / "state")
    gateway["resilience"] = {"breaker": QUICK_BREAKER}
    gateway["tenants"]["demo"]["key"] = {"file": str(home / "demo.key")}
    local = gateway["upstreams"]["smollm2"]["local"]
    local["manifest"] = str(ROOT / "configs" / local["manifest"])
    (home / "gateway.yaml").write_text(yaml.safe_dump(gateway), encoding="utf-8")
    serve = yaml.safe_load((ROOT / "configs" / "serve" / "demo.yaml").read_text(encoding="utf-8"))
    serve["applications"][0]["args"]["config"] = str(home / "gateway.yaml")
    (home / "serve.yaml").write_text(yaml.safe_dump(serve), encoding="utf-8")
    return home / "serve.yaml"


def _run(command: list[str], limit_s: int) -> None:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=limit_s, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[3:5])} failed:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")


def _ray_logs(home: Path) -> Path:
    instance = instance_from(build_parser({}).parse_args(["down", "--home", str(home)]))
    return ray_logs(instance)
