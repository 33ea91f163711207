"""Our log lines go where Serve writes, and nowhere else changes."""

import logging
from collections.abc import Iterator
from logging.handlers import BufferingHandler

import pytest

from deployments.logs import PACKAGES, log_with_serve

SERVE = "ray.serve"


@pytest.fixture
def serves() -> Iterator[BufferingHandler]:
    """Serve's log as it is on a replica; every logger is as before in the end."""
    handler = BufferingHandler(100)
    loggers = [logging.getLogger(name) for name in (SERVE, *PACKAGES)]
    before = [(logger, logger.handlers, logger.propagate, logger.level) for logger in loggers]
    loggers[0].handlers = [handler]
    loggers[0].setLevel(logging.WARNING)
    yield handler
    for logger, handlers, propagates, level in before:
        logger.handlers, logger.propagate = handlers, propagates
        logger.setLevel(level)


def test_a_warning_of_ours_is_in_serves_log_once(serves: BufferingHandler) -> None:
    log_with_serve()
    log_with_serve()
    logging.getLogger("serve_app.pipeline.walk").warning("attempt %d failed", 1)
    assert [record.getMessage() for record in serves.buffer] == ["attempt 1 failed"]


def test_what_is_below_serves_level_is_not(serves: BufferingHandler) -> None:
    log_with_serve()
    logging.getLogger("deployments.router").info("a detail")
    assert serves.buffer == []


def test_without_a_log_of_serves_nothing_changes(serves: BufferingHandler) -> None:
    logging.getLogger(SERVE).handlers = []
    before = [(logging.getLogger(name).handlers, logging.getLogger(name).propagate) for name in PACKAGES]
    log_with_serve()
    assert [(logging.getLogger(name).handlers, logging.getLogger(name).propagate) for name in PACKAGES] == before
