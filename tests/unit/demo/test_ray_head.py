"""Ray's surroundings: the flags, no settings of another Ray, and HAProxy's pages on the loopback address."""

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from serve_app.demo import ray_head
from serve_app.demo.instance import Instance
from serve_app.demo.processes import MARK
from serve_app.demo.ray_head import Ports, choose_ports, ray_environment

PORTS = Ports(metrics=9101, stats=21001, fallback_proxy=21002, ray=tuple(range(21010, 21019)))

GENERATED = """frontend prometheus
    bind :9101
    mode http
frontend http_frontend
    bind *:8000
    bind *:91011
listen stats
  bind *:21001
"""


@pytest.fixture
def instance(tmp_path: Path) -> Instance:
    (tmp_path / "demo.key").write_text("uc-secret\n")
    return Instance(tmp_path, 8000, tmp_path / "serve.yaml", tmp_path / "cache", (), 300.0, project=tmp_path)


def test_ray_runs_with_the_ingress_flags_the_key_and_the_mark(instance: Instance) -> None:
    environment = ray_environment(instance, PORTS, {"PATH": "/bin", "OPENAI_API_KEY": "k"})
    assert environment["RAY_SERVE_ENABLE_HA_PROXY"] == environment["RAY_SERVE_THROUGHPUT_OPTIMIZED"] == "1"
    assert environment["UPCOACH_DEMO_KEY"] == "uc-secret"
    assert environment["OPENAI_API_KEY"] == "k"
    assert environment[MARK] == str(instance.home)


def test_address_and_token_of_another_ray_are_not_inherited(instance: Instance) -> None:
    environment = ray_environment(instance, PORTS, {"RAY_ADDRESS": "10.0.0.1:6379", "RAY_AUTH_TOKEN": "theirs"})
    assert "RAY_ADDRESS" not in environment
    assert "RAY_AUTH_TOKEN" not in environment
    assert environment["RAY_AUTH_TOKEN_PATH"] == str(instance.home / "ray.token")


def test_chosen_ports_are_all_different_and_leave_the_ingress_its_own(instance: Instance) -> None:
    ports = choose_ports(instance)
    again = choose_ports(replace(instance, port=ports.stats), 9101)
    assert again.metrics == 9101
    assert ports.stats not in (again.stats, again.fallback_proxy, *again.ray)
    assert len({ports.metrics, ports.stats, ports.fallback_proxy, *ports.ray}) == 3 + len(ray_head.RAY_PORT_OPTIONS)


def test_the_wrapper_moves_haproxys_own_pages_and_nothing_else(instance: Instance, tmp_path: Path) -> None:
    program = tmp_path / "a folder" / "haproxy"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\necho "ran $*"\n')
    program.chmod(0o700)
    wrapper, config = tmp_path / "wrapper", tmp_path / "haproxy.cfg"
    wrapper.write_text(ray_head.haproxy_wrapper(program, PORTS, tmp_path))
    wrapper.chmod(0o700)
    config.write_text(GENERATED)
    ran = subprocess.run([wrapper, "-db", "-f", config, "-sf", "12"], capture_output=True, text=True, check=True)
    assert ran.stdout == f"ran -db -f {config} -sf 12\n"
    binds = [line.strip() for line in config.read_text().splitlines() if "bind" in line]
    assert binds == ["bind 127.0.0.1:9101", "bind *:8000", "bind *:91011", "bind 127.0.0.1:21001"]


def test_the_wrapper_takes_out_the_splicing_of_requests_alone(instance: Instance, tmp_path: Path) -> None:
    wrapper, config = tmp_path / "wrapper", tmp_path / "haproxy.cfg"
    wrapper.write_text(ray_head.haproxy_wrapper(Path("/bin/true"), PORTS, tmp_path))
    wrapper.chmod(0o700)
    config.write_text("    option abortonclose\n    option splice-request\n    option splice-response\n")
    subprocess.run([wrapper, "-f", config], check=True)
    assert config.read_text() == "    option abortonclose\n    option splice-response\n"


def test_the_wrapper_exchanges_haproxys_own_answers_for_ours_and_no_others(tmp_path: Path) -> None:
    wrapper, config = tmp_path / "wrapper", tmp_path / "haproxy.cfg"
    wrapper.write_text(ray_head.haproxy_wrapper(Path("/bin/true"), PORTS, Path("/run/ours")))
    wrapper.chmod(0o700)
    config.write_text("".join(f"    errorfile {status} /ray/{status}.http\n" for status in (502, 403, 504)))
    subprocess.run([wrapper, "-f", config], check=True)
    assert config.read_text().split() == [
        *("errorfile", "502", "/run/ours/502.http"),
        *("errorfile", "403", "/ray/403.http"),
        *("errorfile", "504", "/run/ours/504.http"),
    ]


@pytest.mark.parametrize(
    ("status", "first_line", "code", "retry_after"),
    [
        (502, "HTTP/1.1 500 Internal Server Error", "internal_error", None),
        (503, "HTTP/1.1 503 Service Unavailable", "gateway_saturated", "1"),
        (504, "HTTP/1.1 504 Gateway Timeout", "deadline_exceeded", None),
    ],
)
def test_what_haproxy_answers_itself_is_in_openais_shape(
    status: int, first_line: str, code: str, retry_after: str | None
) -> None:
    head, _, body = ray_head.haproxy_error(ray_head.HAPROXY_ERRORS[status]).partition("\r\n\r\n")
    lines = head.split("\r\n")
    headers = dict(line.split(": ") for line in lines[1:])
    assert lines[0] == first_line
    assert json.loads(body)["error"]["code"] == code
    assert headers["Content-Length"] == str(len(body))
    assert headers.get("Retry-After") == retry_after
