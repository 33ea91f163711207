"""Whether an upstream's stream still moves: tokens in the time that was spent waiting for it, over a sliding window.

Only waiting counts, so that a client that reads slowly never makes its upstream look slow.
"""

from collections import deque


class ThroughputWatch:
    """Holds an entry for each second of `window_s`, and two more. With `min_tokens_per_s` 0 it never complains.

    A second counts until all of it has left the window, so that a stream which is quick enough is never called slow.
    """

    def __init__(self, min_tokens_per_s: float, window_s: float) -> None:
        self._min_tokens_per_s, self._window_s = min_tokens_per_s, window_s
        self._waited_s = 0.0
        self._num_tokens = 0
        self._seconds: deque[tuple[int, int]] = deque()

    def feed(self, waited_s: float, num_tokens: int) -> None:
        """`num_tokens` came after `waited_s` of waiting."""
        self._waited_s += waited_s
        second = int(self._waited_s)
        if self._seconds and self._seconds[-1][0] == second:
            self._seconds[-1] = (second, self._seconds[-1][1] + num_tokens)
        else:
            self._seconds.append((second, num_tokens))
        self._num_tokens += num_tokens
        oldest = self._waited_s - self._window_s
        while self._seconds[0][0] + 1 <= oldest:
            self._num_tokens -= self._seconds.popleft()[1]

    @property
    def is_too_slow(self) -> bool:
        """False until a whole window was waited through."""
        if self._waited_s < self._window_s:
            return False
        return self._num_tokens < self._min_tokens_per_s * self._window_s
