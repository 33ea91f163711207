"""The gateway's own log lines in the file that Serve keeps for each replica.

Serve takes a replica's standard error for itself and drops what comes there below its own level: without this, nobody
would ever read a warning of ours.
"""

import logging

PACKAGES = ("serve_app", "deployments")


def log_with_serve() -> None:
    """Call it on a replica, whose log Serve has opened by then; elsewhere it changes nothing."""
    serves = logging.getLogger("ray.serve")
    if not serves.handlers:
        return
    for name in PACKAGES:
        ours = logging.getLogger(name)
        ours.handlers, ours.propagate = list(serves.handlers), False
        ours.setLevel(serves.level)
