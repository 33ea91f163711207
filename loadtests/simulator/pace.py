"""When each token is due: by absolute times, so that late wake-ups do not add up."""

import asyncio
import random
import time
from collections.abc import Callable

from loadtests.simulator.behaviour import Behaviour


class Pace:
    """The clock of one answer, started when it is made. Times are on `clock`'s scale, in seconds."""

    def __init__(
        self, behaviour: Behaviour, draw: random.Random, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._clock, self._draw, self._jitter = clock, draw, behaviour.jitter
        self._gap_s = 1.0 / behaviour.tokens_per_s if behaviour.tokens_per_s else 0.0
        self._due = clock() + self._drawn(behaviour.ttft_ms / 1e3)

    @property
    def has_gaps(self) -> bool:
        return self._gap_s > 0.0

    def wait_s(self) -> float:
        """What is left until the next token is due; 0 when it is due."""
        return max(0.0, self._due - self._clock())

    def step(self, num_tokens: int = 1) -> None:
        """Sets the time of the next token, `num_tokens` gaps after the last one."""
        if self._gap_s:
            self._due += self._drawn(self._gap_s * num_tokens)

    async def wait(self) -> None:
        wait_s = self.wait_s()
        if wait_s > 0.0:
            await asyncio.sleep(wait_s)

    def _drawn(self, wait_s: float) -> float:
        if wait_s <= 0.0 or self._jitter <= 0.0:
            return wait_s
        return wait_s * (1.0 + self._jitter * self._draw.uniform(-1.0, 1.0))
