"""Progress of slow steps: one line that moves on a terminal, a line every ten seconds anywhere else."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

TERMINAL_TICK_S = 0.5
LOG_TICK_S = 10.0
LINE_WIDTH = 110


def clock_text(seconds: float) -> str:
    """Minutes and seconds, as `1:05`."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


class Step:
    """One step that is under way. `note` replaces what is shown beside its name."""

    def __init__(self, name: str, clock: Callable[[], float]) -> None:
        self.name = name
        self._clock = clock
        self._started_at = clock()
        self._note = ""

    def note(self, text: str) -> None:
        self._note = text

    def elapsed_s(self) -> float:
        return self._clock() - self._started_at

    def line(self) -> str:
        note = f": {self._note}" if self._note else ""
        return f"  {self.name}{note}  [{clock_text(self.elapsed_s())}]"[:LINE_WIDTH]


class Progress:
    """Writes to `stream`, which is standard error: standard output carries results only."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._is_terminal = stream.isatty()

    def say(self, text: str) -> None:
        self._stream.write(f"{text}\n")
        self._stream.flush()

    @contextmanager
    def step(self, name: str) -> Iterator[Step]:
        """Shows the step until the block ends, then how long it took; a block that raises is shown as failed."""
        step = Step(name, self._clock)
        is_over = threading.Event()
        ticker = threading.Thread(target=self._tick, args=(step, is_over), daemon=True)
        ticker.start()
        outcome = "failed after"
        try:
            yield step
            outcome = "done in"
        finally:
            is_over.set()
            ticker.join()
            self._erase()
            self.say(f"  {name}: {outcome} {step.elapsed_s():.1f} s")

    def _tick(self, step: Step, is_over: threading.Event) -> None:
        tick_s = TERMINAL_TICK_S if self._is_terminal else LOG_TICK_S
        while not is_over.wait(tick_s):
            if self._is_terminal:
                self._erase()
                self._stream.write(step.line())
                self._stream.flush()
            else:
                self.say(step.line())

    def _erase(self) -> None:
        if self._is_terminal:
            self._stream.write("\r\x1b[K")
