"""Unit tests open no INET socket and start no Ray: whatever tries fails its test, loudly."""

import socket
import sys
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

# How long one example takes is the machine's business: a busy one must not fail a property that holds.
settings.register_profile("unit", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unit")

INET_FAMILIES = (socket.AF_INET, socket.AF_INET6)
DEFAULT_FAMILY = -1


def _refuse_ray(*_arguments: object, **_options: object) -> None:
    pytest.fail("a unit test started Ray")


@pytest.fixture(autouse=True)
def nothing_leaves(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """`pytest.fail` raises no Exception, so that no `except Exception` under test swallows it.

    Sockets that are made of a file number (accepted or duplicated ones, and asyncio's own pair) are let through.
    """
    open_socket = socket.socket.__init__

    def guarded(
        self: socket.socket,
        family: int = DEFAULT_FAMILY,
        type: int = -1,  # noqa: A002 - socket's own name
        proto: int = -1,
        fileno: int | None = None,
    ) -> None:
        if fileno is None and family in (DEFAULT_FAMILY, *INET_FAMILIES):
            pytest.fail("a unit test opened an INET socket")
        open_socket(self, family, type, proto, fileno)

    monkeypatch.setattr(socket.socket, "__init__", guarded)
    if "ray" in sys.modules:
        monkeypatch.setattr(sys.modules["ray"], "init", _refuse_ray)
    yield
    if "ray" in sys.modules and sys.modules["ray"].is_initialized():
        pytest.fail("a unit test started Ray")
