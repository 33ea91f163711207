"""Where one instance keeps what, and which ports it uses."""

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
MODEL_NAME = "smollm2-135m-instruct"
SIMULATOR_NAMES = ("simulator", "simulator-fallback")


@dataclass(frozen=True, slots=True)
class Instance:
    """One run of the graph. `home` is absolute and identifies it; `simulator_ports` is empty where none are wanted."""

    home: Path
    port: int
    serve_config: Path
    cache: Path
    simulator_ports: tuple[int, ...]
    ready_timeout_s: float
    project: Path = PROJECT

    @property
    def is_default(self) -> bool:
        """Whether this is the instance of `make up`, and not one beside it."""
        return self.home == self.project / ".local"

    @property
    def venv(self) -> Path:
        return self.project / ".venv"

    @property
    def python(self) -> Path:
        return self.venv / "bin" / "python"

    @property
    def logs(self) -> Path:
        return self.home / "logs"

    @property
    def key_file(self) -> Path:
        return self.home / "demo.key"

    @property
    def ray_token_file(self) -> Path:
        return self.home / "ray.token"

    @property
    def run_dir(self) -> Path:
        """Ray's and HAProxy's sockets and logs. Under /tmp because a Unix socket's path may have 107 characters."""
        digest = hashlib.sha256(f"{os.getuid()}:{self.home}".encode()).hexdigest()
        return Path("/tmp") / f"uc-{digest[:8]}"  # noqa: S108 - made with mode 0700 and its owner is checked

    @property
    def model(self) -> Path:
        return self.cache / MODEL_NAME

    @property
    def model_manifest(self) -> Path:
        return self.project / "configs" / "models" / f"{MODEL_NAME}.json"


@dataclass(frozen=True, slots=True)
class RunState:
    """What is running, as far as it must be known to somebody who comes later. Kept in `home/state.json`."""

    port: int
    metrics_port: int
    gcs_address: str

    def save(self, home: Path) -> None:
        draft = home / "state.json.tmp"
        draft.write_text(json.dumps(asdict(self), indent=2) + "\n")
        draft.replace(home / "state.json")


def load_state(home: Path) -> RunState | None:
    """None where nothing was started, or where the file does not say what we write into it."""
    try:
        return RunState(**json.loads((home / "state.json").read_text()))
    except (OSError, ValueError, TypeError):
        return None


def forget_state(home: Path) -> None:
    (home / "state.json").unlink(missing_ok=True)
