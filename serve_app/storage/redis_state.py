"""Counters and breakers in Redis, for routers that share no ledger process. Each step is atomic, on Redis's clock.

Everything that Redis may do wrong is SharedStateUnavailable here; the URL, which may hold a password, is in no error
and no log. Nothing is retried by the client: a script that ran and whose reply was lost would run twice. Use a Redis
that evicts nothing (`maxmemory-policy noeviction`); one that loses all its data lends no money until it is preset.
"""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import cast

from redis.asyncio import Redis
from redis.asyncio.client import Pipeline
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, WatchError

from serve_app.contracts.allowance import Balance, MeterKind, Order
from serve_app.contracts.breaker import BreakerEvent, BreakerView
from serve_app.errors import SharedStateUnavailable
from serve_app.resilience.breaker import (
    MAX_ANNOUNCED_S,
    QUIET,
    BreakerPolicy,
    BreakerState,
    on_event,
    take_probe,
    view_of,
)
from serve_app.storage.engine import StorageError

log = logging.getLogger(__name__)

PREFIX = "{upcoach}"
MAX_WHOLE = 2**53 - 1
"""Redis's scripts count in doubles. In billionths of a USD this is 9 million USD: a larger budget counts as that."""
RETRY_AFTER_S = 1.0
MAX_CONNECTIONS = 32
MAX_PRESET_ROWS = 500
MAX_CONFLICTS = 8
FIELDS_A_BALANCE = 4


class RedisUrlInvalid(StorageError):
    """The text says nothing of the URL."""

    def __str__(self) -> str:
        return (
            "the Redis URL is not usable: it must look like redis://HOST:PORT/0 or rediss://USER:PASSWORD@HOST:PORT/0"
        )


def open_redis(url: str, timeout_s: float) -> Redis:
    """Connects to nothing yet. `timeout_s` limits connecting and each command. Raises RedisUrlInvalid."""
    try:
        return Redis.from_url(
            url,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            max_connections=MAX_CONNECTIONS,
            retry=Retry(NoBackoff(), 0),
        )
    except ValueError:
        raise RedisUrlInvalid from None


class RedisAllowances:
    """Implements Allowances. As MeterBook, but for rounding: a rate refills by the millisecond.

    DAY and MONTH meters lend nothing until `preset` was called once since Redis lost its data.
    """

    def __init__(self, client: Redis) -> None:
        self._script = client.register_script(Path(__file__).with_name("meters.lua").read_text())
        self._rim = _Rim()

    async def trade(self, holder: str, lease_s: float, orders: Sequence[Order]) -> Sequence[Balance]:
        fields = chain.from_iterable(map(_order_fields, orders))
        arguments = ["trade", holder, _ms(lease_s), _ms(RETRY_AFTER_S), *fields]
        with self._rim.guarding():
            numbers = cast("list[int]", await self._script(keys=[PREFIX], args=arguments))
        answers = (numbers[start : start + FIELDS_A_BALANCE] for start in range(0, len(numbers), FIELDS_A_BALANCE))
        return [
            Balance(order.meter.key, granted, left, resets_in_ms / 1000, bool(is_scarce))
            for order, (granted, left, resets_in_ms, is_scarce) in zip(orders, answers, strict=True)
        ]

    async def preset(
        self, *, day: Mapping[str, int], month: Mapping[str, int], as_of_unix_s: float | None = None
    ) -> None:
        """Raises what is spent to at least these amounts, by meter key; calling it often does no harm.

        `as_of_unix_s`: a moment of the day and month that were summed, by default this one. Sums of another period
        than Redis's own clock shows change nothing.
        """
        moment_ms = _ms(time.time() if as_of_unix_s is None else as_of_unix_s)
        rows = [(MeterKind.DAY, *row) for row in day.items()] + [(MeterKind.MONTH, *row) for row in month.items()]
        # At least one call: that there was nothing to tell is told as well. The last one opens the meters.
        for start in range(0, max(1, len(rows)), MAX_PRESET_ROWS):
            some = rows[start : start + MAX_PRESET_ROWS]
            is_last = int(start + MAX_PRESET_ROWS >= len(rows))
            fields = [field for kind, key, spent in some for field in (str(kind), key, min(spent, MAX_WHOLE))]
            with self._rim.guarding():
                await self._script(keys=[PREFIX], args=["preset", moment_ms, is_last, *fields])


class RedisBreakerBoard:
    """Implements the BreakerBoard port. What concerns an upstream that is not configured is ignored, never probed."""

    def __init__(self, client: Redis, policy: BreakerPolicy, upstream_ids: Sequence[str]) -> None:
        self._client, self._policy, self._upstream_ids = client, policy, tuple(upstream_ids)
        self._kept_ms = _ms(2 * max(MAX_ANNOUNCED_S, policy.max_open_for_s, policy.probe_lease_s))
        self._rim = _Rim()

    async def report(self, holder: str, events: Sequence[BreakerEvent]) -> Sequence[BreakerView]:
        known = [event for event in events if event.upstream_id in self._upstream_ids]
        with self._rim.guarding():
            for _ in range(MAX_CONFLICTS):
                async with self._client.pipeline() as pipe:
                    states, now_s = await self._read(pipe, {event.upstream_id for event in known})
                    before = dict(states)
                    for event in known:
                        name = event.upstream_id
                        states[name] = on_event(states[name], self._policy, event, now_s)
                    if await self._wrote(pipe, before, states):
                        return [view_of(state, name, now_s) for name, state in states.items() if not state.is_quiet]
        raise SharedStateUnavailable(RETRY_AFTER_S)

    async def try_probe(self, holder: str, upstream_id: str) -> bool:
        if upstream_id not in self._upstream_ids:
            return False
        with self._rim.guarding():
            for _ in range(MAX_CONFLICTS):
                async with self._client.pipeline() as pipe:
                    states, now_s = await self._read(pipe, {upstream_id})
                    after, may_call = take_probe(states[upstream_id], self._policy, now_s, holder)
                    if await self._wrote(pipe, states, {**states, upstream_id: after}):
                        return may_call
        raise SharedStateUnavailable(RETRY_AFTER_S)

    async def _read(self, pipe: Pipeline, to_change: set[str]) -> tuple[dict[str, BreakerState], float]:
        """Every breaker's state, and Redis's Unix time in seconds; whoever changes one of `to_change` undoes us."""
        if to_change:
            await pipe.watch(*map(_breaker_key, to_change))
        texts = await self._client.mget([_breaker_key(name) for name in self._upstream_ids])
        seconds, microseconds = await self._client.time()
        states = {name: _state(text) for name, text in zip(self._upstream_ids, texts, strict=True)}
        return states, seconds + microseconds / 1e6

    async def _wrote(
        self, pipe: Pipeline, before: Mapping[str, BreakerState], after: Mapping[str, BreakerState]
    ) -> bool:
        """False where another router was faster: nothing is written then."""
        changed = {name: state for name, state in after.items() if state != before[name]}
        if not changed:
            return True
        pipe.multi()  # type: ignore[no-untyped-call]
        for name, state in changed.items():
            if state.is_quiet:
                pipe.delete(_breaker_key(name))
            else:
                pipe.set(_breaker_key(name), state.to_json(), px=self._kept_ms)
        try:
            await pipe.execute()
        except WatchError:
            return False
        return True


class _Rim:
    """Names every failure of Redis, and logs its kind when that changes."""

    def __init__(self) -> None:
        self._last_failure: str | None = None

    @contextmanager
    def guarding(self) -> Iterator[None]:
        try:
            yield
        except (RedisError, OSError) as error:
            # The text may hold what was sent, so only the kind is kept.
            kind = type(error).__name__
            if kind != self._last_failure:
                log.warning("Redis does not answer: %s", kind)
            self._last_failure = kind
            raise SharedStateUnavailable(RETRY_AFTER_S) from None
        self._last_failure = None


def _order_fields(order: Order) -> tuple[str | int, ...]:
    meter = order.meter
    amounts = (order.used, order.returned, order.wanted, order.at_least)
    window_ms = _ms(meter.window_s or 0.0)
    return (
        meter.key,
        str(meter.kind),
        min(meter.capacity, MAX_WHOLE),
        window_ms,
        *(min(n, MAX_WHOLE) for n in amounts),
    )


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


def _breaker_key(upstream_id: str) -> str:
    return f"{PREFIX}:breaker:{upstream_id}"


def _state(text: bytes | str | None) -> BreakerState:
    """What cannot be read counts as quiet: the next failures will say it again."""
    try:
        return QUIET if text is None else BreakerState.from_json(text)
    except ValueError:
        return QUIET
