"""The two simulated cloud providers that the demo's cloud tiers point at."""

import os
import time
from subprocess import DEVNULL, STDOUT, Popen

from serve_app.demo.commands import tail
from serve_app.demo.failures import StepFailed
from serve_app.demo.instance import SIMULATOR_NAMES, Instance
from serve_app.demo.processes import holder_of, marked
from serve_app.demo.progress import Progress

START_LIMIT_S = 20.0


def start_simulators(instance: Instance, progress: Progress) -> None:
    """Starts those whose port nobody listens on, and waits until each listens. Raises StepFailed."""
    missing = [
        (name, port)
        for name, port in zip(SIMULATOR_NAMES, instance.simulator_ports, strict=False)
        if holder_of(port) is None
    ]
    if not missing:
        return
    with progress.step("simulated providers"):
        started = [(name, port, _start(instance, name, port)) for name, port in missing]
        for name, port, process in started:
            _wait_until_it_listens(instance, name, port, process)


def _start(instance: Instance, name: str, port: int) -> Popen[bytes]:
    command = [
        str(instance.python),
        "-m",
        "loadtests.simulator",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--name",
        name,
    ]
    with (instance.logs / f"{name}.log").open("wb") as log:
        return Popen(  # noqa: S603 - our own command, no shell
            command,
            cwd=instance.project,
            env=marked(os.environ, instance.home),
            stdin=DEVNULL,
            stdout=log,
            stderr=STDOUT,
            start_new_session=True,
        )


def _wait_until_it_listens(instance: Instance, name: str, port: int, process: Popen[bytes]) -> None:
    ends_at = time.monotonic() + START_LIMIT_S
    while holder_of(port) is None:
        if process.poll() is not None or time.monotonic() > ends_at:
            log = instance.logs / f"{name}.log"
            raise StepFailed(f"The simulated provider {name} did not start.", f"Its log is {log}.", tail(log))
        time.sleep(0.1)
