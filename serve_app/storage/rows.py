"""An attempt as a row, and back. No attempt may be refused by a database, or its batch would be sent again for ever.

So what no column holds is bent to what one does: NUL and lone surrogates, text too long for an index, numbers that are
none or too large to be summed.
"""

import math
from collections.abc import Mapping
from typing import Any

from serve_app.contracts.attempt import Attempt, Usage
from serve_app.contracts.vocabulary import DataClass, Outcome, Place, Reason, Tier

NANO = 1_000_000_000
MAX_TEXT_CHARS = 255
MAX_COUNT = 2**40
MAX_COST_NANO_USD = 10**15
"""A million USD for one attempt. Millions of such rows still sum to less than 2**63."""
REPLACEMENT = "\ufffd"


def nano_usd(usd: float) -> int:
    """Billionths of a USD, to the nearest."""
    if math.isnan(usd):
        return 0
    bound_usd = MAX_COST_NANO_USD / NANO
    return round(min(max(usd, -bound_usd), bound_usd) * NANO)


def clean_text(text: str) -> str:
    storable = text[:MAX_TEXT_CHARS].replace("\0", REPLACEMENT)
    return storable.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def row_of(attempt: Attempt) -> dict[str, Any]:
    return {
        "id": clean_text(attempt.id),
        "request_id": clean_text(attempt.request_id),
        "number": _count(attempt.number, 2**31 - 1),
        "tenant_id": clean_text(attempt.tenant_id),
        "tier": attempt.tier.name,
        "upstream_id": clean_text(attempt.upstream_id),
        "model": clean_text(attempt.model),
        "place": clean_text(attempt.place),
        "reason": attempt.reason.value,
        "data_class": attempt.data_class.value,
        "num_input_tokens": _count(attempt.usage.num_input_tokens),
        "num_output_tokens": _count(attempt.usage.num_output_tokens),
        "is_estimated": attempt.usage.is_estimated,
        "cost_nano_usd": nano_usd(attempt.cost_usd),
        "outcome": attempt.outcome.value,
        "error_code": None if attempt.error_code is None else clean_text(attempt.error_code),
        "started_at_unix_s": _finite(attempt.started_at_unix_s),
        "elapsed_s": _finite(attempt.elapsed_s),
        "ttft_s": None if attempt.ttft_s is None else _finite(attempt.ttft_s),
    }


def attempt_of(row: Mapping[Any, Any]) -> Attempt:
    return Attempt(
        id=row["id"],
        request_id=row["request_id"],
        number=row["number"],
        tenant_id=row["tenant_id"],
        tier=Tier[row["tier"]],
        upstream_id=row["upstream_id"],
        model=row["model"],
        place=Place(row["place"]),
        reason=Reason(row["reason"]),
        data_class=DataClass(row["data_class"]),
        usage=Usage(row["num_input_tokens"], row["num_output_tokens"], row["is_estimated"]),
        cost_usd=row["cost_nano_usd"] / NANO,
        outcome=Outcome(row["outcome"]),
        error_code=row["error_code"],
        started_at_unix_s=row["started_at_unix_s"],
        elapsed_s=row["elapsed_s"],
        ttft_s=row["ttft_s"],
    )


def _count(value: int, bound: int = MAX_COUNT) -> int:
    return min(max(value, 0), bound)


def _finite(value: float) -> float:
    return float(value) if math.isfinite(value) else 0.0
