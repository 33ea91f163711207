"""What every test on the shared graph begins with."""

import pytest

from tests.fakes.circuits import close_circuits
from tests.fakes.running_graph import RunningGraph


@pytest.fixture(autouse=True)
def all_well(request: pytest.FixtureRequest) -> None:
    """Where a test uses the shared graph: its providers well, without a memory, and their circuits closed."""
    if "running_graph" not in request.fixturenames:
        return
    graph: RunningGraph = request.getfixturevalue("running_graph")
    for simulator in (graph.cloud, graph.fallback):
        simulator.reset()
    close_circuits(graph.url, graph.key)
    for simulator in (graph.cloud, graph.fallback):
        simulator.reset()
