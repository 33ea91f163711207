"""Whose a process is, by its title."""

import pytest

from loadtests.compare.memory import Kind, Memory, Owner, kind_of, render, total_of


@pytest.mark.parametrize(
    ("title", "kind"),
    [
        ("ray::ServeReplica:upcoach:Router", Kind(Owner.OURS, "Router")),
        ("ray::ServeReplica:upcoach:Router   ", Kind(Owner.OURS, "Router")),
        ("ray::ServeReplica:upcoach:Router.handle_request", Kind(Owner.OURS, "Router")),
        ("ray::ServeReplica:upcoach:LLMServer:mistral-v0.3", Kind(Owner.MODEL, "LLMServer:mistral-v0.3")),
        ("VLLM::EngineCore", Kind(Owner.MODEL, "VLLM::EngineCore")),
        ("ray::ServeController.listen_for_change", Kind(Owner.RAY, "ray::ServeController")),
        ("ray::DashboardAgent", Kind(Owner.RAY, "ray::DashboardAgent")),
        ("/venv/ray/core/src/ray/raylet/raylet --raylet_socket_name=/x", Kind(Owner.RAY, "raylet")),
        ("/venv/ray/core/src/ray/gcs/gcs_server --log_dir=/x", Kind(Owner.RAY, "gcs_server")),
        ("python -u /venv/site-packages/ray/_private/log_monitor.py --session-dir=/x", Kind(Owner.RAY, "log_monitor")),
        ("/usr/sbin/haproxy -f /tmp/haproxy.cfg", Kind(Owner.HAPROXY, "haproxy")),
        ("python -m loadtests.simulator --port 9001", Kind(Owner.SIMULATOR, "loadtests.simulator")),
        ("python -m http.server", None),
        ("vim haproxy.cfg", None),
        ("", None),
    ],
)
def test_a_process_is_known_by_its_title(title: str, kind: Kind | None) -> None:
    assert kind_of(title) == kind


def test_the_graph_is_counted_without_the_model_and_without_ray() -> None:
    mib = 2**20
    sums = {
        Kind(Owner.OURS, "Router"): Memory(2, 200 * mib, 220 * mib, 400 * mib),
        Kind(Owner.OURS, "Ledger"): Memory(1, 100 * mib, 110 * mib, 200 * mib),
        Kind(Owner.MODEL, "LLMServer:m"): Memory(1, 900 * mib, 900 * mib, 900 * mib),
        Kind(Owner.RAY, "raylet"): Memory(1, 50 * mib, 50 * mib, 50 * mib),
    }
    assert total_of(sums, Owner.OURS) == Memory(3, 300 * mib, 330 * mib, 600 * mib)
    assert render(sums).endswith("The graph without the model and Ray's own processes: 300.0 MiB (USS)")
