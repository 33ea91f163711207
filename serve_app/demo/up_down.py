"""`up` and `down`: the order of the steps, and that a failed one leaves nothing running."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from serve_app.demo.failures import AlreadyRunning, StepFailed
from serve_app.demo.graph import deploy_graph, is_ready
from serve_app.demo.instance import Instance, RunState, forget_state, load_state
from serve_app.demo.model import ensure_model
from serve_app.demo.packages import Purpose, ensure_packages
from serve_app.demo.preflight import check_interpreter, check_run
from serve_app.demo.processes import holder_of, processes_of, stop_processes
from serve_app.demo.progress import Progress
from serve_app.demo.ray_head import choose_ports, ray_environment, start_ray
from serve_app.demo.secret_files import ensure_secret
from serve_app.demo.simulators import start_simulators

METRICS_PORT = 9101


def prepare(instance: Instance, purpose: Purpose, progress: Progress, *, with_model: bool) -> None:
    """The virtual environment, and the demo model where it is wanted. Starts nothing."""
    check_interpreter()
    instance.logs.mkdir(parents=True, exist_ok=True)
    with _one_at_a_time(instance.project / ".local" / "setup.lock", progress):
        ensure_packages(instance.project, purpose, progress, instance.logs)
        if with_model:
            with _one_at_a_time(_made(instance.cache) / ".lock", progress):
                ensure_model(instance, progress)


def up(instance: Instance, progress: Progress) -> bool:
    """Returns when the graph answers. False where it did already. Raises SetupFailed, leaving nothing running."""
    check_interpreter()
    instance.logs.mkdir(parents=True, exist_ok=True)
    with _one_at_a_time(instance.home / "instance.lock", progress):
        if _runs_already(instance):
            start_simulators(instance, progress)
            return False
        _clear_leftovers(instance, progress)
        check_run(_ports_to_check(instance), instance.run_dir)
        prepare(instance, Purpose.SERVE, progress, with_model=True)
        ensure_secret(instance.ray_token_file)
        if ensure_secret(instance.key_file, prefix="uc-"):
            progress.say(f"  demo key: {instance.key_file.read_text().strip()}  (kept in {instance.key_file})")
        try:
            _start(instance, progress)
        except BaseException:
            # An interrupt too: whoever stops half-way finds the machine as it was. Ray's logs stay for reading.
            stop_processes(instance.home)
            forget_state(instance.home)
            raise
    return True


def down(home: Path, run_dir: Path, progress: Progress) -> int:
    """Stops what `up` started for `home`; returns how many processes that were. Raises StepFailed if one survives."""
    if not home.is_dir():
        return 0
    with _one_at_a_time(home / "instance.lock", progress):
        num_stopped = 0
        if processes_of(home):
            with progress.step("stopping"):
                num_stopped = stop_processes(home)
        if left := processes_of(home):
            names = ", ".join(f"{process.pid} ({process.command[:60]})" for process in left)
            raise StepFailed(f"These processes do not stop: {names}.", "Stop them by hand: kill -KILL PID")
        forget_state(home)
        if run_dir.is_dir() and run_dir.stat().st_uid == os.getuid():
            shutil.rmtree(run_dir, ignore_errors=True)
        return num_stopped


def _start(instance: Instance, progress: Progress) -> None:
    start_simulators(instance, progress)
    ports = choose_ports(instance, _metrics_port(instance, progress))
    environment = ray_environment(instance, ports, os.environ)
    start_ray(instance, ports, environment, progress)
    deploy_graph(instance, ports, environment, progress)
    RunState(instance.port, ports.metrics, ports.gcs_address).save(instance.home)


def _runs_already(instance: Instance) -> bool:
    state = load_state(instance.home)
    if state is None or not processes_of(instance.home) or not is_ready(state.port):
        return False
    if state.port != instance.port:
        raise AlreadyRunning(
            f"The graph runs already, on port {state.port}.", "Use it there, or stop it first: make down"
        )
    return True


def _clear_leftovers(instance: Instance, progress: Progress) -> None:
    """An earlier run that crashed, or that no longer answers, would hold our ports."""
    forget_state(instance.home)
    if processes_of(instance.home):
        with progress.step("clearing what an earlier run left behind"):
            stop_processes(instance.home)
    if instance.run_dir.is_dir() and instance.run_dir.stat().st_uid == os.getuid():
        shutil.rmtree(instance.run_dir, ignore_errors=True)


def _ports_to_check(instance: Instance) -> dict[str, int]:
    simulators = zip(("SIMULATOR_PORT", "FALLBACK_PORT"), instance.simulator_ports, strict=False)
    return {"PORT": instance.port, **dict(simulators)}


def _metrics_port(instance: Instance, progress: Progress) -> int | None:
    """The demo's usual one, so that a Prometheus configuration can name it; None for any where it is not to be had."""
    if not instance.is_default:
        return None
    holder = holder_of(METRICS_PORT)
    if holder:
        progress.say(f"  port {METRICS_PORT} is taken by {holder}: state.json says where HAProxy's metrics are instead")
        return None
    return METRICS_PORT


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def _one_at_a_time(lock_file: Path, progress: Progress) -> Iterator[None]:
    """Waits for another run that changes the same folder. The kernel lets the lock go with its process."""
    _made(lock_file.parent)
    with lock_file.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with progress.step(f"waiting for another run that uses {lock_file.parent}"):
                fcntl.flock(lock, fcntl.LOCK_EX)
        yield
