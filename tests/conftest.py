"""Fixtures that several kinds of tests share. The expensive ones are made once a run, when first asked for."""

from collections.abc import Iterator

import hypothesis
import pytest

from tests.fakes.in_process import Providers
from tests.fakes.processes import simulator
from tests.fakes.running_graph import RunningGraph
from tests.fakes.running_graph import running_graph as start_graph

# A loaded machine makes single examples slow; what matters is that they pass.
hypothesis.settings.register_profile("default", deadline=None)
hypothesis.settings.load_profile("default")


@pytest.fixture(scope="session")
def providers() -> Iterator[Providers]:
    """Three simulated upstreams; a test that changes one's behaviour resets it."""
    with simulator("local") as local, simulator("simulator") as cloud, simulator("simulator-fallback") as fallback:
        yield Providers(local, cloud, fallback)


@pytest.fixture(scope="session")
def running_graph(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGraph]:
    """One real graph for all tests that need one."""
    with start_graph(tmp_path_factory.mktemp("graph")) as graph:
        yield graph
