"""Serve options from settings. Every deployment gets finite `max_ongoing_requests` and `max_queued_requests`."""

from typing import Any

from serve_app.settings.schema import Scaling

DRAIN_POLL_S = 0.5
"""How often a replica that is to stop looks whether all it had is finished. Serve's default adds 2 s to every stop."""

HEALTH_CHECK_PERIOD_S = 2.0
"""A killed replica is noticed, and replaced, at the next check. Serve's default is 10 s."""

HEALTH_CHECK_TIMEOUT_S = 30.0
"""Long, because a busy event loop is not a broken one."""

SURGE_PERCENT = 100
"""An update starts what is new before it stops what is old, so that no request waits for a replica to start."""


def serve_options(
    scaling: Scaling, *, resources: dict[str, float] | None = None, has_one_owner: bool = False
) -> dict[str, Any]:
    """Keyword arguments for `serve.deployment`. `has_one_owner`: an update, too, has never two replicas of it."""
    actor: dict[str, Any] = {"num_cpus": scaling.num_cpus}
    if resources:
        actor["resources"] = resources
    surge = {} if has_one_owner else {"max_surge_percent": SURGE_PERCENT}
    return {"ray_actor_options": actor, **surge, **replica_options(scaling)}


def replica_options(scaling: Scaling) -> dict[str, Any]:
    """Capacity, draining and health of each replica, and how many there are.

    A fixed number where both bounds are equal, else autoscaling between them.
    """
    options: dict[str, Any] = {
        "max_ongoing_requests": scaling.max_ongoing_requests,
        "max_queued_requests": scaling.max_queued_requests,
        "graceful_shutdown_timeout_s": scaling.drain_s,
        "graceful_shutdown_wait_loop_s": DRAIN_POLL_S,
        "health_check_period_s": HEALTH_CHECK_PERIOD_S,
        "health_check_timeout_s": HEALTH_CHECK_TIMEOUT_S,
    }
    if scaling.min_replicas == scaling.max_replicas:
        return {**options, "num_replicas": scaling.max_replicas}
    return {
        **options,
        "autoscaling_config": {
            "min_replicas": scaling.min_replicas,
            "max_replicas": scaling.max_replicas,
            "target_ongoing_requests": max(1, scaling.max_ongoing_requests // 2),
        },
    }
