"""The configuration that the suite writes is one that the gateway takes."""

from pathlib import Path

import pytest
import yaml

from loadtests.chaos.configuration import TENANTS, Surroundings, write_configuration
from loadtests.chaos.scenarios import CLOUDS
from serve_app.settings.load import load_settings

ROOT = Path(__file__).parents[4]
KEYS = {tenant: f"key-of-{tenant}-0123456789" for tenant in TENANTS}


def around(tmp_path: Path, *, has_local: bool, has_servers: bool) -> Surroundings:
    return Surroundings(
        project=ROOT,
        state_folder=tmp_path / "state",
        addresses={name: f"http://127.0.0.1:{9001 + at}" for at, name in enumerate(CLOUDS)},
        has_local=has_local,
        database="postgresql://postgres@127.0.0.1:5432/postgres" if has_servers else None,
        redis="redis://127.0.0.1:6379/0" if has_servers else None,
    )


@pytest.mark.parametrize("has_local", [True, False])
@pytest.mark.parametrize("has_servers", [True, False])
def test_the_gateway_accepts_it(tmp_path: Path, has_local: bool, has_servers: bool) -> None:
    surroundings = around(tmp_path, has_local=has_local, has_servers=has_servers)
    gateway_file, serve_file = write_configuration(tmp_path, surroundings, KEYS)
    loaded = load_settings(gateway_file)
    assert loaded.tree.router.scaling.max_replicas == 2
    assert (loaded.tree.ledger.database is not None) == has_servers
    serve = yaml.safe_load(serve_file.read_text(encoding="utf-8"))
    assert serve["applications"][0]["args"] == {"config": str(gateway_file)}


def test_confidential_data_may_only_stay(tmp_path: Path) -> None:
    gateway_file, _ = write_configuration(tmp_path, around(tmp_path, has_local=True, has_servers=False), KEYS)
    gateway = yaml.safe_load(gateway_file.read_text(encoding="utf-8"))
    assert gateway["privacy"]["places"]["confidential"] == ["local"]
    assert all(provider["place"] == "cloud" for provider in gateway["providers"].values())


def test_no_secret_is_written_into_it_and_its_files_are_for_their_owner(tmp_path: Path) -> None:
    gateway_file, _ = write_configuration(tmp_path, around(tmp_path, has_local=False, has_servers=True), KEYS)
    text = gateway_file.read_text(encoding="utf-8")
    assert "key-of" not in text
    assert "postgresql" not in text
    assert {path.stat().st_mode & 0o077 for path in tmp_path.glob("*.key")} == {0}
