"""Arguments, their defaults from the environment, and what is printed at the end."""

from pathlib import Path

import pytest

from serve_app.demo import __main__ as command_line
from serve_app.demo.__main__ import build_parser, instance_from
from serve_app.demo.failures import PortTaken
from serve_app.demo.instance import PROJECT, Instance


def parsed(*arguments: str, **environment: str) -> Instance:
    return instance_from(build_parser({"HOME": "/home/someone", **environment}).parse_args(arguments))


def test_the_defaults_are_the_demo_of_the_contract() -> None:
    instance = parsed("up")
    assert (instance.port, instance.simulator_ports) == (8000, (9901, 9902))
    assert instance.home == PROJECT / ".local"
    assert instance.serve_config == PROJECT / "configs" / "serve" / "demo.yaml"


def test_the_environment_moves_ports_home_and_cache() -> None:
    instance = parsed("up", PORT="8010", SIMULATOR_PORT="9911", UPCOACH_HOME="/srv/home", UPCOACH_CACHE="/srv/cache")
    assert (instance.port, instance.simulator_ports[0]) == (8010, 9911)
    assert (instance.home, instance.cache) == (Path("/srv/home"), Path("/srv/cache"))


def test_an_argument_wins_over_the_environment() -> None:
    assert parsed("up", "--port", "8020", PORT="8010").port == 8020


def test_an_empty_variable_counts_as_none() -> None:
    assert parsed("up", PORT="").port == 8000


def test_a_port_that_is_no_number_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parsed("up", PORT="http")
    assert "invalid int value: 'http'" in capsys.readouterr().err


def test_a_configuration_with_other_upstreams_needs_no_simulators() -> None:
    assert parsed("up", "--no-simulators").simulator_ports == ()


def test_down_finds_the_folder_by_the_same_rule() -> None:
    assert parsed("down", UPCOACH_HOME="/srv/home").run_dir == parsed("up", UPCOACH_HOME="/srv/home").run_dir


def test_help_has_an_example_for_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        build_parser({}).parse_args(["--help"])
    text = capsys.readouterr().out
    for command in ("up", "down", "prepare"):
        assert f"serve_app.demo {command}" in text


def test_a_failure_ends_with_its_cause_and_its_remedy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise PortTaken("Port 8000 is taken.", "Choose another.", "a log line")

    monkeypatch.setattr(command_line, "up", fail)
    monkeypatch.setattr(command_line.signal, "signal", lambda *_: None)
    assert command_line.main(["up"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.split("\n\n")[-1] == "Failed: Port 8000 is taken.\nTo do: Choose another.\n"


def test_the_request_to_paste_reads_the_key_from_its_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command_line, "up", lambda *_: True)
    monkeypatch.setattr(command_line.signal, "signal", lambda *_: None)
    monkeypatch.chdir(PROJECT)
    assert command_line.main(["up", "--port", "8010", "--home", str(PROJECT / ".local")]) == 0
    out = capsys.readouterr().out
    assert "Authorization: Bearer $(cat .local/demo.key)" in out
    assert "http://127.0.0.1:8010/v1/chat/completions" in out
    assert '{"model": "auto"' in out
