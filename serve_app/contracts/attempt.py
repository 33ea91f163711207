"""One call of one upstream for one request: the ledger's row, which holds no text, and the port that takes it."""

from dataclasses import dataclass
from typing import Protocol

from serve_app.contracts.vocabulary import DataClass, Outcome, Place, Reason, Tier


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as the upstream counted them, or as estimated where it did not (`is_estimated`)."""

    num_input_tokens: int
    num_output_tokens: int
    is_estimated: bool


@dataclass(frozen=True, slots=True)
class Attempt:
    """`id` is unique for ever, `request_id` is the caller's and may come again. `number` starts at 1.

    `ttft_s` is None where no content token came; `error_code` where nothing failed.
    """

    id: str
    request_id: str
    number: int
    tenant_id: str
    tier: Tier
    upstream_id: str
    model: str
    place: Place
    reason: Reason
    data_class: DataClass
    usage: Usage
    cost_usd: float
    outcome: Outcome
    error_code: str | None
    started_at_unix_s: float
    elapsed_s: float
    ttft_s: float | None


class AttemptSink(Protocol):
    """Takes attempts from the request path. Neither method waits or raises."""

    def open(self, attempt: Attempt) -> None:
        """Before the upstream is called: the row that holds should this process die now, its outcome `abandoned`."""
        ...

    def settle(self, attempt: Attempt) -> None:
        """The final row; it takes the place of the one that was opened under the same id."""
        ...
