"""What an instance keeps on disk: key, state, the model's stamp, and folders short enough for sockets."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from serve_app.demo.instance import Instance, RunState, forget_state, load_state
from serve_app.demo.model import is_stamped, write_stamp
from serve_app.demo.secret_files import ensure_secret

# What Linux takes for the path of a Unix socket, without the final zero.
MAX_SOCKET_PATH = 107


@pytest.fixture
def instance(tmp_path: Path) -> Instance:
    return Instance(
        home=tmp_path / "home",
        port=8000,
        serve_config=tmp_path / "serve.yaml",
        cache=tmp_path / "cache",
        simulator_ports=(9901, 9902),
        ready_timeout_s=300.0,
        project=tmp_path / "project",
    )


def test_the_key_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "demo.key"
    assert ensure_secret(path, prefix="uc-")
    first = path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600
    assert first.startswith("uc-")
    assert len(first.strip()) > 40
    assert not ensure_secret(path, prefix="uc-")
    assert path.read_text() == first


def test_two_keys_differ(tmp_path: Path) -> None:
    ensure_secret(tmp_path / "a")
    ensure_secret(tmp_path / "b")
    assert (tmp_path / "a").read_text() != (tmp_path / "b").read_text()


def test_a_key_left_open_to_others_is_closed_again(tmp_path: Path) -> None:
    path = tmp_path / "demo.key"
    ensure_secret(path, prefix="uc-")
    path.chmod(0o644)
    ensure_secret(path, prefix="uc-")
    assert path.stat().st_mode & 0o777 == 0o600


def test_an_empty_key_from_an_interrupted_run_is_made_again(tmp_path: Path) -> None:
    path = tmp_path / "demo.key"
    path.touch(mode=0o600)
    assert ensure_secret(path, prefix="uc-")
    assert path.read_text().startswith("uc-")


def test_a_state_is_read_back_and_forgotten(tmp_path: Path) -> None:
    assert load_state(tmp_path) is None
    state = RunState(port=8000, metrics_port=9101, gcs_address="127.0.0.1:21000")
    state.save(tmp_path)
    assert load_state(tmp_path) == state
    forget_state(tmp_path)
    forget_state(tmp_path)
    assert load_state(tmp_path) is None


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"port": 1}', '{"port": 1, "other": 2}'])
def test_a_damaged_state_counts_as_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "state.json").write_text(text)
    assert load_state(tmp_path) is None


def test_sockets_fit_under_the_run_folder_however_deep_the_home_is(instance: Instance) -> None:
    deep = replace(instance, home=Path("/") / "/".join(["a-long-folder-name"] * 20))
    node_id, pid = "f" * 56, "4194304"
    plasma = deep.run_dir / "ray" / f"session_2026-11-23_00-37-01_253895_{pid}" / "sockets" / "plasma_store"
    # HAProxy binds beside the final name first, with its process id in it.
    admin = deep.run_dir / "h" / node_id / f"admin.sock.{pid}.tmp"
    assert len(str(plasma)) <= MAX_SOCKET_PATH
    assert len(str(admin)) <= MAX_SOCKET_PATH


def test_two_homes_have_two_run_folders(instance: Instance) -> None:
    assert instance.run_dir != replace(instance, home=instance.home / "other").run_dir


@pytest.fixture
def model(tmp_path: Path) -> tuple[Path, Path]:
    folder, manifest = tmp_path / "model", tmp_path / "manifest.json"
    folder.mkdir()
    (folder / "weights").write_text("weights")
    manifest.write_text("{}")
    return folder, manifest


def test_a_stamp_holds_while_nothing_changes(model: tuple[Path, Path]) -> None:
    assert not is_stamped(*model)
    write_stamp(*model)
    assert is_stamped(*model)


def test_a_touched_added_or_removed_file_breaks_the_stamp(model: tuple[Path, Path]) -> None:
    folder, _ = model
    write_stamp(*model)
    (folder / "weights").write_text("WEIGHTS")
    os.utime(folder / "weights", ns=(1, 1))
    assert not is_stamped(*model)
    write_stamp(*model)
    (folder / "extra").touch()
    assert not is_stamped(*model)
    write_stamp(*model)
    (folder / "extra").unlink()
    assert not is_stamped(*model)


def test_a_changed_manifest_breaks_the_stamp(model: tuple[Path, Path]) -> None:
    write_stamp(*model)
    model[1].write_text('{"name": "other"}')
    assert not is_stamped(*model)


def test_a_removed_model_has_no_stamp(model: tuple[Path, Path]) -> None:
    folder, manifest = model
    write_stamp(folder, manifest)
    (folder / "weights").unlink()
    folder.rmdir()
    assert not is_stamped(folder, manifest)
