"""One real Redis and one real PostgreSQL for all tests of the stores. A test that stops one starts it again."""

from collections.abc import Iterator

import pytest

from tests.fakes.servers import StoreServer, postgres_server, redis_server


@pytest.fixture(scope="session")
def redis_store() -> Iterator[StoreServer]:
    with redis_server() as server:
        yield server


@pytest.fixture(scope="session")
def postgres() -> Iterator[StoreServer]:
    with postgres_server() as server:
        yield server
