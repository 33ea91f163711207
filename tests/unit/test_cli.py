"""The `upcoach` command: what it prints where, and how it ends."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from typer.testing import CliRunner, Result

from serve_app import cli
from serve_app.cli import app
from tests.fakes.processes import ROOT

DEMO, REFERENCE = ROOT / "configs" / "gateway.demo.yaml", ROOT / "configs" / "gateway.yaml"
SECRET = "uc-a-secret-that-must-not-be-shown"
SECRET_NAMES = ("UPCOACH_DEMO_KEY", "UPCOACH_EXAMPLE_KEY", "OPENAI_API_KEY", "ANTHROPIC_API_KEY", "MISTRAL_API_KEY")


@pytest.fixture(autouse=True)
def no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SECRET_NAMES:
        monkeypatch.delenv(name, raising=False)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The words of every command below `command`, which is a group when it has commands of its own."""
    children = getattr(command, "commands", None)
    if children is None:
        yield path
        return
    for name, child in children.items():
        yield from commands(child, (*path, name))


COMMANDS = [path for path in commands(typer.main.get_command(app)) if path[0] != "classifier"]


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_the_help_of_every_command_has_an_example_of_it(path: tuple[str, ...]) -> None:
    result = run(*path, "--help")
    assert result.exit_code == 0
    assert f"Example: upcoach {' '.join(path)}" in " ".join(result.output.split())


def test_without_a_command_the_help_is_shown() -> None:
    result = run()
    assert result.exit_code == 2
    assert "explain" in result.output
    assert "config" in result.output


def test_explain_prints_the_decision_and_never_the_prompt() -> None:
    result = run("explain", "Hello there, old friend!", "--config", DEMO)
    assert (result.exit_code, result.stderr) == (0, "")
    assert "CHOSEN    LOCAL_FAST" in result.stdout
    assert "reason: simple" in result.stdout
    assert "old friend" not in result.stdout


def test_explain_as_json_is_the_decision_alone() -> None:
    result = run("explain", "Hello!", "--config", DEMO, "--json")
    decision = json.loads(result.stdout)
    assert decision["object"] == "route.decision"
    assert decision["chosen"] == {
        "tier": "LOCAL_FAST",
        "upstream": "smollm2",
        "model": "smollm2-135m-instruct",
        "place": "local",
    }
    assert {"simulator", "simulator-fallback"} <= {fallback["upstream"] for fallback in decision["fallbacks"]}
    assert all(dropped["reason"] for dropped in decision["dropped"])


def test_explain_as_json_shows_a_refusal_too() -> None:
    result = run("explain", "Hello!", "-c", DEMO, "--json", "--model", "cloud", "--data-class", "confidential")
    refusal = json.loads(result.stdout)
    assert (refusal["object"], refusal["reason"], refusal["allowed_places"]) == (
        "route.refusal",
        "residency",
        ["local"],
    )
    assert len(refusal["dropped"]) == 5


def test_explain_heeds_the_model_and_the_tenant() -> None:
    result = run("explain", "Hello!", "-c", DEMO, "--json", "--model", "sim-large", "--tenant", "demo")
    assert json.loads(result.stdout)["reason"] == "pinned_model"


def test_explain_names_the_nearest_tenant() -> None:
    result = run("explain", "Hello!", "--config", DEMO, "--tenant", "demmo")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "no tenant is named 'demmo'; did you mean 'demo'?\n"


def test_explain_says_what_is_wrong_with_the_classifiers_folder(tmp_path: Path) -> None:
    raw = yaml.safe_load(DEMO.read_text(encoding="utf-8"))
    raw["classifier"] = {"artefact": str(tmp_path / "nothing")}
    path = tmp_path / "gateway.yaml"
    path.write_text(yaml.safe_dump(raw), encoding="utf-8")
    result = run("explain", "Hello!", "--config", path)
    assert (result.exit_code, result.stdout) == (1, "")
    assert str(tmp_path / "nothing") in result.stderr


@pytest.mark.parametrize(
    ("path", "says"),
    [(DEMO, "(3 of 4 upstreams active, 5 tiers, 1 tenants)"), (REFERENCE, "(5 of 5 upstreams active, ")],
)
def test_the_committed_configurations_are_valid_without_secrets(path: Path, says: str) -> None:
    result = run("config", "validate", path, "--no-secrets")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith(f"{path}: valid {says}")


def test_validate_asks_for_secrets_unless_told_otherwise() -> None:
    result = run("config", "validate", REFERENCE)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.count("missing secret") == 6


def test_validate_finds_a_planted_typo_and_names_the_nearest_key(tmp_path: Path) -> None:
    text = REFERENCE.read_text(encoding="utf-8").replace("max_ongoing_requests: 256 #", "max_ongoing_reqests: 256 #", 1)
    path = tmp_path / "gateway.yaml"
    path.write_text(text, encoding="utf-8")
    line = next(number for number, line in enumerate(text.splitlines(), 1) if "reqests" in line)
    result = run("config", "validate", path, "--no-secrets")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == (
        f"{path}:{line}: router.scaling.max_ongoing_reqests: unknown key; did you mean 'max_ongoing_requests'?\n"
    )


def test_validate_names_the_nearest_file(tmp_path: Path) -> None:
    (tmp_path / "gateway.yaml").touch()
    result = run("config", "validate", tmp_path / "gatway.yaml")
    assert result.exit_code == 1
    assert "no such file; did you mean 'gateway.yaml'?" in result.stderr


def test_show_prints_the_effective_configuration_with_its_secrets_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SECRET_NAMES:
        monkeypatch.setenv(name, SECRET)
    result = run("config", "show", REFERENCE)
    assert (result.exit_code, result.stderr) == (0, "")
    shown = yaml.safe_load(result.stdout)
    assert shown["providers"]["openai"]["api_key"]["value"] == "********"
    assert shown["tenants"]["example"]["key"]["value"] == "********"
    assert shown["upstreams"]["gpt-5"]["stands_in_for"] is None
    assert SECRET not in result.output


def test_show_says_which_secret_is_missing() -> None:
    shown = yaml.safe_load(run("config", "show", REFERENCE).stdout)
    assert shown["providers"]["openai"]["api_key"]["value"] == "(missing)"


def test_show_refuses_what_validate_refuses(tmp_path: Path) -> None:
    path = tmp_path / "gateway.yaml"
    path.write_text("version: 1\n", encoding="utf-8")
    result = run("config", "show", path)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "privacy: this key is missing" in result.stderr


def test_verify_says_that_every_file_matches_or_which_does_not(tmp_path: Path) -> None:
    folder, manifest = tmp_path / "model", tmp_path / "manifest.json"
    folder.mkdir()
    (folder / "weights").write_bytes(b"abc")
    digest = {"sha256": hashlib.sha256(b"abc").hexdigest(), "num_bytes": 3}
    manifest.write_text(json.dumps({"name": "m", "files": {"weights": digest}}), encoding="utf-8")
    whole = run("models", "verify", folder, "--manifest", manifest)
    assert (whole.exit_code, whole.stdout) == (0, f"{folder}: every file matches {manifest}\n")
    (folder / "weights").write_bytes(b"abd")
    changed = run("models", "verify", folder, "--manifest", manifest)
    assert (changed.exit_code, changed.stdout) == (1, "")
    assert "weights" in changed.stderr


def test_the_console_script_runs_the_app(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["upcoach", "config", "validate", str(DEMO), "--no-secrets"])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 0
    assert "valid" in capsys.readouterr().out


def test_describe_prints_a_manifest_that_verify_accepts_until_a_file_changes(tmp_path: Path) -> None:
    folder, manifest = tmp_path / "model", tmp_path / "model.json"
    folder.mkdir()
    (folder / "weights").write_bytes(b"one")
    manifest.write_text(run("models", "describe", folder).stdout, encoding="utf-8")
    assert run("models", "verify", folder, "--manifest", manifest).exit_code == 0
    (folder / "weights").write_bytes(b"two")
    refused = run("models", "verify", folder, "--manifest", manifest)
    assert (refused.exit_code, "weights" in refused.stderr) == (1, True)


def test_describe_of_a_folder_that_is_not_there_says_so(tmp_path: Path) -> None:
    refused = run("models", "describe", tmp_path / "absent")
    assert refused.exit_code == 1
    assert "absent" in refused.stderr
