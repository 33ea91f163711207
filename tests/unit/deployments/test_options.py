"""Options of every deployment: a finite capacity, time to drain, and an update that is not felt."""

import pytest

from deployments.options import replica_options, serve_options
from serve_app.settings.schema import Scaling


def test_capacity_and_draining_come_from_the_settings() -> None:
    options = replica_options(Scaling(max_ongoing_requests=7, max_queued_requests=3, drain_s=42.0))
    assert (options["max_ongoing_requests"], options["max_queued_requests"]) == (7, 3)
    assert options["graceful_shutdown_timeout_s"] == 42.0


def test_a_replica_that_is_done_does_not_stay_for_the_sake_of_waiting() -> None:
    assert replica_options(Scaling())["graceful_shutdown_wait_loop_s"] < 1.0


def test_an_update_starts_the_next_before_it_stops_the_last_but_never_doubles_an_owner() -> None:
    assert serve_options(Scaling())["max_surge_percent"] == 100
    assert "max_surge_percent" not in serve_options(Scaling(), has_one_owner=True)


@pytest.mark.parametrize(("least", "most"), [(0, 1), (1, 4)])
def test_replicas_are_scaled_between_bounds_that_differ(least: int, most: int) -> None:
    options = replica_options(Scaling(min_replicas=least, max_replicas=most, max_ongoing_requests=8))
    assert "num_replicas" not in options
    scaling = options["autoscaling_config"]
    assert (scaling["min_replicas"], scaling["max_replicas"], scaling["target_ongoing_requests"]) == (least, most, 4)


def test_equal_bounds_are_a_fixed_number() -> None:
    options = replica_options(Scaling(min_replicas=2, max_replicas=2))
    assert options["num_replicas"] == 2
    assert "autoscaling_config" not in options


def test_a_proxy_can_be_tied_to_nodes_that_have_a_way_out() -> None:
    actor = serve_options(Scaling(num_cpus=0.5), resources={"egress": 1.0})["ray_actor_options"]
    assert actor == {"num_cpus": 0.5, "resources": {"egress": 1.0}}
