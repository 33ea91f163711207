"""What the contract is checked against: a gateway's address, a key for it, and the simulators of its cloud tiers."""

from typing import Protocol

from tests.fakes.processes import RunningSimulator


class Target(Protocol):
    """`url` is without `/v1`."""

    @property
    def url(self) -> str: ...

    @property
    def key(self) -> str: ...

    @property
    def cloud(self) -> RunningSimulator: ...

    @property
    def fallback(self) -> RunningSimulator: ...
