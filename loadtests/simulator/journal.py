"""One JSON line when a call begins and one when it ends, in a file: what a judge compares a gateway's books with.

A line is written at once and whole, so that a simulator that is killed leaves its calls behind: those without an end
were running. No text of a request or an answer is written down, only whether a marker was found in the request.
"""

import os
import time
from dataclasses import dataclass
from pathlib import Path

import orjson

from loadtests.simulator.counters import Ending, Ticket
from loadtests.simulator.wire import Request

MAX_BYTES = 512 * 1024 * 1024
_FULL = b'{"event":"full"}\n'


@dataclass(frozen=True, slots=True)
class Marker:
    """`found_in` tells whether a body holds `text`, which a tester planted: a sink that trusts no header."""

    text: bytes

    def found_in(self, request: Request) -> bool:
        return bool(self.text) and self.text in request.body


class Journal:
    """Appends to `path`. Past `max_bytes` it says so once and writes nothing more. Times are CLOCK_MONOTONIC, in s."""

    def __init__(self, path: Path, simulator: str, marker: Marker, max_bytes: int = MAX_BYTES) -> None:
        self._simulator, self._marker, self._max_bytes = simulator, marker, max_bytes
        self._file = path.open("ab", buffering=0)
        self._num_bytes = path.stat().st_size
        self._is_full = False
        # Beside the number of a call it names that call for ever: one file outlives many runs of its simulator.
        self._run = f"{os.getpid()}-{time.monotonic_ns()}"
        self._num_calls = 0

    def begin(self, request: Request, ticket: Ticket) -> None:
        """Writes the first line, and sees to it that the end of `ticket` writes the second."""
        self._num_calls += 1
        started_s = time.monotonic()
        call: dict[str, object] = {
            "event": "begin",
            "run": self._run,
            "call": self._num_calls,
            "simulator": self._simulator,
            "request_id": request.header(b"x-request-id"),
            "attempt": request.header(b"x-upcoach-attempt"),
            "path": request.path,
            "has_marker": self._marker.found_in(request),
            "started_s": started_s,
        }
        self._write(call)

        def end(ending: Ending) -> None:
            self._write(
                {
                    **call,
                    "event": "end",
                    "ending": ending.value,
                    "fault": None if ticket.fault is None else ticket.fault.value,
                    "model": ticket.model,
                    "prompt_tokens": ticket.num_prompt_tokens,
                    "completion_tokens": ticket.num_sent_tokens,
                    "ended_s": time.monotonic(),
                }
            )

        ticket.when_ended = end

    def close(self) -> None:
        self._file.close()

    def _write(self, line: dict[str, object]) -> None:
        if self._is_full or self._file.closed:
            return
        data = orjson.dumps(line) + b"\n"
        if self._num_bytes + len(data) > self._max_bytes:
            self._is_full = True
            data = _FULL
        self._num_bytes += len(data)
        self._file.write(data)
