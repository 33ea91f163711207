"""One absolute end for the whole request."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from serve_app.errors import DeadlineExceeded


@dataclass(frozen=True, slots=True)
class Deadline:
    """`ends_at` is on `clock`'s scale, so a deadline stays in its process: across one, hand over `remaining_s()`."""

    ends_at: float
    clock: Callable[[], float] = field(default=time.monotonic, repr=False, compare=False)

    @classmethod
    def after(cls, seconds: float, clock: Callable[[], float] = time.monotonic) -> "Deadline":
        return cls(clock() + seconds, clock)

    def remaining_s(self) -> float:
        return max(0.0, self.ends_at - self.clock())

    def check(self) -> None:
        """Raises DeadlineExceeded when nothing is left."""
        if self.remaining_s() <= 0.0:
            raise DeadlineExceeded
