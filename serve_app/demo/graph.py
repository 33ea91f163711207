"""Deploys the graph into a running Ray and waits until it answers."""

import http.client
import json
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from serve_app.demo.commands import TAIL_LINES, run_logged, tail
from serve_app.demo.failures import NotReady
from serve_app.demo.instance import Instance
from serve_app.demo.processes import stop_processes
from serve_app.demo.progress import Progress, Step, clock_text
from serve_app.demo.ray_head import HOST, Ports, ray_logs

HTTP_LIMIT_S = 2.0


@dataclass
class Watch:
    """What the driver said last, shown in the progress line."""

    step: Step
    deployments: dict[str, str] = field(default_factory=dict)
    message: str = ""

    def read(self, line: str) -> None:
        try:
            report: Any = json.loads(line)
        except ValueError:
            report = None
        if not isinstance(report, dict):
            return  # a library's warning: it is kept in the log
        self.deployments, self.message = report["deployments"], report["message"]
        waiting = self.unhealthy()
        if self.deployments:
            num_ready = len(self.deployments) - len(waiting)
            names = f", waiting for {', '.join(waiting)}" if waiting else ""
            self.step.note(f"{num_ready} of {len(self.deployments)} deployments healthy{names}")

    def unhealthy(self) -> list[str]:
        return [name for name, status in self.deployments.items() if status != "HEALTHY"]


def is_ready(port: int) -> bool:
    """Whether `GET /readyz` answers 200 now and the local model takes part."""
    connection = http.client.HTTPConnection(HOST, port, timeout=HTTP_LIMIT_S)
    try:
        connection.request("GET", "/readyz")
        response = connection.getresponse()
        return response.status == 200 and json.loads(response.read()).get("local_ready") is not False
    except (OSError, ValueError, AttributeError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def deploy_graph(instance: Instance, ports: Ports, environment: Mapping[str, str], progress: Progress) -> None:
    """Returns when `/readyz` answers 200. Raises NotReady with the message or log that tells why not."""
    ends_at = time.monotonic() + instance.ready_timeout_s
    log = instance.logs / "serve-deploy.log"
    module = ["-m", "serve_app.demo.serve_driver", "--address", ports.gcs_address, "--port", str(instance.port)]
    with progress.step("graph") as step:
        step.note("starting Ray Serve")
        watch = Watch(step)
        is_late = threading.Event()
        alarm = threading.Timer(instance.ready_timeout_s, _give_up, (instance.home, is_late))
        alarm.daemon = True
        alarm.start()
        try:
            code = run_logged(
                [instance.python, *module, instance.serve_config],
                log,
                cwd=instance.project,
                environment=environment,
                on_line=watch.read,
            )
        finally:
            alarm.cancel()
        if code:
            raise _not_ready(instance, watch, log, is_late=is_late.is_set())
        step.note("asking /readyz")
        while not is_ready(instance.port):
            if time.monotonic() > ends_at:
                raise _not_ready(instance, watch, log, is_late=True)
            time.sleep(0.25)


def _give_up(home: Path, is_late: threading.Event) -> None:
    """The driver polls for ever: stopping the instance ends it."""
    is_late.set()
    stop_processes(home)


def _not_ready(instance: Instance, watch: Watch, log: Path, *, is_late: bool) -> NotReady:
    unhealthy = watch.unhealthy()
    names = f"; not healthy: {', '.join(unhealthy)}" if unhealthy else ""
    # Once the driver has reported, its own log holds nothing but those reports.
    own_words = "" if watch.deployments else tail(log)
    told = (watch.message.strip() or replica_log(ray_logs(instance), unhealthy) or own_words).splitlines()
    # A traceback ends with what went wrong; the log of what is merely slow does not.
    reason = f" ({told[-1].strip()[:200]})" if told and not is_late else ""
    when = f"was not ready after {clock_text(instance.ready_timeout_s)}" if is_late else "could not be deployed"
    return NotReady(
        f"The graph {when}{names}{reason}.",
        f"Read above why; all logs are in {ray_logs(instance) / 'serve'} and {instance.logs}.",
        "\n".join(told[-30:]),
    )


def replica_log(folder: Path, deployments: list[str]) -> str:
    """The end of the newest output of a replica of `deployments`, taken from Ray's log `folder`; empty if none spoke.

    Ray names a worker's files by numbers and opens each with its actor's name; libraries such as vLLM write there.
    """
    spoken: list[tuple[float, str]] = []
    for path in folder.glob("worker-*"):
        lines = path.read_text(errors="replace").splitlines()
        is_asked_for = any(f":{name}" in line for line in lines[:3] for name in deployments if "ServeReplica" in line)
        said = [line for line in lines if line and not line.startswith(":")]
        if is_asked_for and said:
            spoken.append((path.stat().st_mtime, "\n".join(said[-TAIL_LINES:])))
    return max(spoken)[1] if spoken else ""
