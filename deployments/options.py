"""Serve options from settings. Every deployment gets finite `max_ongoing_requests` and `max_queued_requests`."""

from typing import Any

from serve_app.settings.schema import Scaling


def serve_options(
    scaling: Scaling, *, resources: dict[str, float] | None = None, environment: dict[str, str] | None = None
) -> dict[str, Any]:
    """Keyword arguments for `serve.deployment`."""
    actor: dict[str, Any] = {"num_cpus": scaling.num_cpus}
    if resources:
        actor["resources"] = resources
    if environment:
        actor["runtime_env"] = {"env_vars": environment}
    return {
        "max_ongoing_requests": scaling.max_ongoing_requests,
        "max_queued_requests": scaling.max_queued_requests,
        "ray_actor_options": actor,
        **replica_options(scaling),
    }


def replica_options(scaling: Scaling) -> dict[str, Any]:
    """A fixed number of replicas where both bounds are equal, else autoscaling between them."""
    if scaling.min_replicas == scaling.max_replicas:
        return {"num_replicas": scaling.max_replicas}
    return {
        "autoscaling_config": {
            "min_replicas": scaling.min_replicas,
            "max_replicas": scaling.max_replicas,
            "target_ongoing_requests": max(1, scaling.max_ongoing_requests // 2),
        }
    }
