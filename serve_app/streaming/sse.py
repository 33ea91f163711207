"""Server-sent events, bytes in and payloads out.

Invariants:
- The events given depend on the bytes only, never on where the network cut them.
- An event is given as soon as its blank line has come, and never before.
- What is held between two calls is bounded by `max_event_bytes`; each byte is copied a fixed number of times.
- An event that the end of the stream cuts off is never given.
"""

DONE = b"[DONE]"
"""The payload with which OpenAI-style streams say that they are complete."""

_BOM = b"\xef\xbb\xbf"


class EventTooLarge(ValueError):
    """One event, or one line of it, is larger than the parser may hold. The parser is of no use after it."""

    def __init__(self, max_event_bytes: int) -> None:
        super().__init__(max_event_bytes)
        self.max_event_bytes = max_event_bytes

    def __str__(self) -> str:
        return f"an event of the stream is larger than {self.max_event_bytes} bytes"


class SseParser:
    """Gives the `data` of every event; comments, `event`, `id` and `retry` fields and empty events are left out.

    Lines end with LF, CRLF or CR. Several `data` lines of one event are joined with LF.
    """

    def __init__(self, max_event_bytes: int = 1 << 20) -> None:
        self._max_event_bytes = max_event_bytes
        self._head: bytes | None = b""  # the first bytes of the stream while they may still be a BOM
        self._ended_with_cr = False
        self._tail: list[bytes] = []  # the pieces of a line whose end has not come
        self._tail_bytes = 0
        self._values: list[bytes] = []  # the data lines of the event that is open
        self._values_bytes = 0

    def feed(self, data: bytes) -> list[bytes]:
        """Payloads of the events that `data` completes. Raises EventTooLarge; events just before it are lost."""
        if self._head is not None:
            data = self._without_bom(data)
        if self._ended_with_cr and data:
            self._ended_with_cr = False
            data = data.removeprefix(b"\n")
        if not data:
            return []
        whole = self._read_one_event(data)
        if whole is not None:
            return [whole]
        end = max(data.rfind(b"\n"), data.rfind(b"\r")) + 1
        if end == 0:
            self._hold(data)
            return []
        self._ended_with_cr = data.endswith(b"\r")
        lines = b"".join((*self._tail, data[:end])).splitlines()
        self._tail, self._tail_bytes = [], 0
        payloads = self._read_lines(lines)
        if end < len(data):
            self._hold(data[end:])
        return payloads

    def _read_one_event(self, data: bytes) -> bytes | None:
        """The usual case: nothing held, and `data` is exactly `data: …` and a blank line. None in every other case."""
        if self._tail or self._values or not data.startswith(b"data: ") or not data.endswith(b"\n\n"):
            return None
        size = len(data)
        if data.find(b"\n") != size - 2 or b"\r" in data or not 8 < size <= self._max_event_bytes + 2:
            return None
        return data[6:-2]

    def _read_lines(self, lines: list[bytes]) -> list[bytes]:
        payloads = []
        for line in lines:
            if not line:
                payload = b"\n".join(self._values)
                if payload:
                    payloads.append(payload)
                self._values, self._values_bytes = [], 0
                continue
            self._check_size(len(line))
            if line.startswith(b"data:"):
                self._values.append(line[6:] if line.startswith(b" ", 5) else line[5:])
            elif line == b"data":
                self._values.append(b"")
            else:
                continue
            self._values_bytes += len(line) + 1
        return payloads

    def _hold(self, piece: bytes) -> None:
        self._check_size(self._tail_bytes + len(piece))
        self._tail.append(piece)
        self._tail_bytes += len(piece)

    def _check_size(self, line_bytes: int) -> None:
        if self._values_bytes + line_bytes > self._max_event_bytes:
            raise EventTooLarge(self._max_event_bytes)

    def _without_bom(self, data: bytes) -> bytes:
        """`data` without a byte order mark; empty while it cannot be told yet."""
        head = (self._head or b"") + data
        if len(head) < len(_BOM) and _BOM.startswith(head):
            self._head = head
            return b""
        self._head = None
        return head.removeprefix(_BOM)
