"""A tenant's quota: the meters that it is counted with, and the headers that OpenAI's clients read it from."""

import math
from typing import Protocol

from serve_app.contracts.allowance import Balance, Meter, MeterKind
from serve_app.contracts.tenant import Tenant


class Balances(Protocol):
    """Whatever knows how much of a meter is left: a wallet, the admission gate, or one admission."""

    def balance(self, meter: Meter) -> Balance | None: ...


def concurrency_meter(tenant: Tenant) -> Meter | None:
    """None where the tenant has no such limit, as with the other two."""
    capacity = tenant.quota.max_concurrent
    return None if capacity is None else Meter(f"concurrent:{tenant.id}", MeterKind.LEVEL, capacity)


def request_meter(tenant: Tenant) -> Meter | None:
    capacity = tenant.quota.requests_per_window
    return None if capacity is None else Meter(f"requests:{tenant.id}", MeterKind.RATE, capacity, tenant.quota.window_s)


def token_meter(tenant: Tenant) -> Meter | None:
    """Counts tokens of prompts and answers together."""
    capacity = tenant.quota.tokens_per_window
    return None if capacity is None else Meter(f"tokens:{tenant.id}", MeterKind.RATE, capacity, tenant.quota.window_s)


def refill_s(rate: Meter, balance: Balance, amount: int) -> float:
    """Seconds until `amount` of a rate is there again; never more than until all of it is.

    What is missing comes at `capacity / window_s`. A rate that is in debt shows it only in `resets_in_s`: it is whole
    then, and so it held `amount` as much earlier as the rest takes to fill.
    """
    unit_s = (rate.window_s or 0.0) / max(1, rate.capacity)
    from_what_is_left_s = (amount - balance.left) * unit_s
    from_its_end_s = balance.resets_in_s - (rate.capacity - amount) * unit_s
    return max(0.0, min(max(from_what_is_left_s, from_its_end_s), balance.resets_in_s))


def limit_headers(tenant: Tenant, balances: Balances) -> dict[str, str]:
    """`x-ratelimit-{limit,remaining,reset}-{requests,tokens}` for those limits that the tenant has.

    The reset is when the whole window is free again. Before a meter's first balance only its limit is known.
    """
    headers: dict[str, str] = {}
    for noun, meter in (("requests", request_meter(tenant)), ("tokens", token_meter(tenant))):
        if meter is None:
            continue
        headers[f"x-ratelimit-limit-{noun}"] = str(meter.capacity)
        balance = balances.balance(meter)
        if balance is not None:
            headers[f"x-ratelimit-remaining-{noun}"] = str(min(max(balance.left, 0), meter.capacity))
            headers[f"x-ratelimit-reset-{noun}"] = duration(balance.resets_in_s)
    return headers


def duration(seconds: float) -> str:
    """A span as OpenAI writes it, which is Go's way: `12ms`, `1s`, `2.5s`, `6m0s`, `23h47m36.648s`.

    Rounded up to the millisecond, so that nobody who waits this long comes too early.
    """
    # First to the microsecond: 1.1 s is 1100 ms, not the 1101 that binary fractions make of it.
    num_ms = math.ceil(round(max(seconds, 0.0) * 1000, 3))
    if 0 < num_ms < 1000:
        return f"{num_ms}ms"
    num_minutes, num_ms = divmod(num_ms, 60_000)
    num_hours, num_minutes = divmod(num_minutes, 60)
    text = f"{num_ms / 1000:.3f}".rstrip("0").rstrip(".") + "s"
    if num_hours or num_minutes:
        text = f"{num_minutes}m{text}"
    return f"{num_hours}h{text}" if num_hours else text
