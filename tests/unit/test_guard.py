"""The guard in conftest.py holds: no INET socket, no Ray, and asyncio still works."""

import asyncio
import contextlib
import socket
import sys
from collections.abc import Iterator
from types import SimpleNamespace

import pytest


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_an_inet_socket_fails_the_test(family: socket.AddressFamily) -> None:
    with pytest.raises(pytest.fail.Exception, match="INET socket"):
        socket.socket(family, socket.SOCK_STREAM)


def test_a_socket_of_the_default_family_fails_the_test() -> None:
    with pytest.raises(pytest.fail.Exception, match="INET socket"):
        socket.socket()


def test_code_that_catches_every_exception_cannot_hide_a_socket() -> None:
    with pytest.raises(pytest.fail.Exception), contextlib.suppress(Exception):
        socket.create_connection(("127.0.0.1", 9))


def test_an_event_loop_of_its_own_still_works() -> None:
    assert asyncio.run(asyncio.sleep(0, "done")) == "done"


def test_a_pair_of_unix_sockets_still_works() -> None:
    left, right = socket.socketpair()
    with left, right:
        left.sendall(b"x")
        assert right.recv(1) == b"x"


@pytest.fixture(scope="module")
def ray() -> Iterator[SimpleNamespace]:
    """A stand-in for Ray, loaded before the guard of each test looks for it."""
    with pytest.MonkeyPatch.context() as patch:
        stand_in = SimpleNamespace(init=lambda: None, is_initialized=lambda: False)
        patch.setitem(sys.modules, "ray", stand_in)
        yield stand_in


def test_starting_ray_fails_the_test(ray: SimpleNamespace) -> None:
    with pytest.raises(pytest.fail.Exception, match="started Ray"):
        ray.init()
