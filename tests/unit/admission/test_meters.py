"""The owner of the meters: what is lent never exceeds what is left, and what was spent is never forgotten."""

import calendar
import math
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from serve_app.admission.meters import DAY_S, MeterBook, period_ends_at, period_of
from serve_app.contracts.allowance import Balance, Meter, MeterKind, Order
from serve_app.errors import SharedStateUnavailable
from tests.fakes.builders import FakeClock

LEASE_S = 5.0
NOON = float(calendar.timegm((2026, 11, 23, 12, 0, 0)))
TOKENS = Meter("tokens:acme", MeterKind.RATE, 600, 60.0)
SLOTS = Meter("concurrent:acme", MeterKind.LEVEL, 10)
DAILY = Meter("day:acme", MeterKind.DAY, 1000)
MONTHLY = Meter("month:acme", MeterKind.MONTH, 1000)


class Owner:
    """A loaded book, its two clocks, and orders in one line."""

    def __init__(self, *, is_loaded: bool = True, max_meters: int = 100, max_holders: int = 10) -> None:
        self.clock, self.wall = FakeClock(), FakeClock(NOON)
        self.book = MeterBook(self.clock, self.wall, max_meters=max_meters, max_holders=max_holders)
        if is_loaded:
            self.book.preset(day={}, month={})

    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.wall.advance(seconds)

    def order(self, meter: Meter, holder: str = "a", **amounts: int) -> Balance:
        return self.book.trade_now(holder, LEASE_S, [Order(meter, **amounts)])[0]

    def left(self, meter: Meter) -> int:
        return self.order(meter, "looks").left


@pytest.fixture
def owner() -> Owner:
    return Owner()


def test_at_least_what_is_asked_for_is_lent_and_a_fair_part_beyond_it(owner: Owner) -> None:
    assert owner.order(SLOTS, wanted=10, at_least=2).granted == 5
    assert owner.order(SLOTS, "b", wanted=10, at_least=4).granted == 4
    assert owner.order(SLOTS, "c", wanted=10).granted == 0
    assert owner.left(SLOTS) == 1


def test_never_more_than_wanted_is_lent(owner: Owner) -> None:
    assert owner.order(SLOTS, wanted=3, at_least=1).granted == 3


def test_less_than_what_is_of_use_is_not_lent_and_marks_the_meter_scarce_for_a_lease(owner: Owner) -> None:
    assert not owner.order(SLOTS, wanted=8, at_least=8).is_scarce
    refused = owner.order(SLOTS, "b", wanted=4, at_least=3)
    assert (refused.granted, refused.left, refused.is_scarce) == (0, 2, True)
    assert owner.order(SLOTS).is_scarce
    owner.advance(LEASE_S)
    assert not owner.order(SLOTS).is_scarce


def test_at_least_more_than_wanted_is_no_order_at_all(owner: Owner) -> None:
    assert owner.order(SLOTS, wanted=1, at_least=2).granted == 0


def test_what_was_used_moves_from_held_to_spent(owner: Owner) -> None:
    owner.order(DAILY, wanted=100, at_least=100)
    assert owner.order(DAILY, used=60).left == 900
    assert owner.order(DAILY, returned=40).left == 940


def test_more_used_than_held_counts_too(owner: Owner) -> None:
    owner.order(DAILY, wanted=100, at_least=100)
    assert owner.order(DAILY, used=1100).left == 0
    assert owner.order(DAILY, wanted=1, at_least=1).granted == 0
    owner.order(SLOTS, "b", used=3)
    assert owner.left(SLOTS) == 7


def test_more_returned_than_held_gives_nothing_for_nothing(owner: Owner) -> None:
    owner.order(SLOTS, wanted=4, at_least=4)
    assert owner.order(SLOTS, returned=100).left == 10


def test_several_orders_for_one_meter_are_taken_in_order(owner: Owner) -> None:
    owner.order(SLOTS, wanted=9, at_least=9)
    claim, more = owner.book.trade_now(
        "a", LEASE_S, [Order(SLOTS, returned=10**9, wanted=9, at_least=9), Order(SLOTS, wanted=5, at_least=1)]
    )
    assert (claim.granted, more.granted, more.left) == (9, 1, 0)


async def test_the_port_answers_as_the_core_does(owner: Owner) -> None:
    assert (await owner.book.trade("a", LEASE_S, [Order(SLOTS, wanted=2, at_least=2)]))[0].granted == 2


def test_a_rate_refills_steadily_and_never_beyond_its_capacity(owner: Owner) -> None:
    owner.order(TOKENS, used=600)
    owner.advance(0.05)
    assert owner.left(TOKENS) == 0
    owner.advance(0.05)
    assert owner.left(TOKENS) == 1
    owner.advance(30.0)
    assert owner.left(TOKENS) == 301
    owner.advance(3600.0)
    assert owner.left(TOKENS) == 600


def test_a_full_rate_collects_nothing_towards_the_next_unit(owner: Owner) -> None:
    owner.order(TOKENS, used=1)
    owner.advance(0.19)
    assert owner.left(TOKENS) == 600
    owner.order(TOKENS, used=1)
    owner.advance(0.09)
    assert owner.left(TOKENS) == 599


def test_a_rate_says_when_all_of_it_is_there_again(owner: Owner) -> None:
    assert owner.order(TOKENS, used=300).resets_in_s == pytest.approx(30.0)
    assert owner.order(SLOTS).resets_in_s == 0.0
    assert owner.order(SLOTS, wanted=1).resets_in_s == LEASE_S


@given(st.lists(st.floats(0.0, 7.0), max_size=30), st.integers(1, 10_000), st.floats(0.5, 100.0))
def test_a_rate_refills_exactly_however_often_it_is_looked_at(
    pauses_s: list[float], capacity: int, window_s: float
) -> None:
    owner, meter = Owner(), Meter("tokens:x", MeterKind.RATE, capacity, window_s)
    owner.order(meter, used=100 * capacity)
    began_s = owner.clock.now_s
    for pause_s in pauses_s:
        owner.advance(pause_s)
        owner.order(meter)
    exact = capacity * (owner.clock.now_s - began_s) / window_s
    account = owner.book._accounts[meter.key]
    refilled = 100 * capacity - account.spent
    assert refilled == pytest.approx(min(exact, 100 * capacity), abs=1 + 1e-5 * capacity)


def test_a_day_ends_at_midnight_utc(owner: Owner) -> None:
    assert owner.order(DAILY, used=700).resets_in_s == pytest.approx(12 * 3600)
    owner.advance(12 * 3600 - 1)
    assert owner.left(DAILY) == 300
    owner.advance(1)
    assert owner.left(DAILY) == 1000


def test_a_month_ends_at_midnight_utc_on_the_first(owner: Owner) -> None:
    owner.order(MONTHLY, used=700)
    owner.advance(7 * DAY_S)
    assert owner.left(MONTHLY) == 300
    owner.advance(DAY_S / 2)
    assert owner.left(MONTHLY) == 1000


def test_what_is_held_stays_held_when_a_period_ends(owner: Owner) -> None:
    owner.wall.now_s = NOON + DAY_S / 2 - 1
    owner.order(DAILY, used=500)
    owner.order(DAILY, wanted=100, at_least=100)
    owner.advance(2)
    assert owner.left(DAILY) == 900


def test_a_wall_clock_that_jumps_back_gives_no_money_back(owner: Owner) -> None:
    owner.order(DAILY, used=700)
    owner.wall.advance(-3 * DAY_S)
    assert owner.left(DAILY) == 300
    owner.wall.advance(3 * DAY_S)
    assert owner.left(DAILY) == 300


def test_a_wall_clock_that_jumps_forward_opens_that_day_once(owner: Owner) -> None:
    owner.order(DAILY, used=700)
    owner.wall.advance(2 * DAY_S)
    owner.order(DAILY, used=900)
    owner.wall.advance(-2 * DAY_S)
    assert owner.left(DAILY) == 100
    owner.wall.advance(2 * DAY_S)
    assert owner.left(DAILY) == 100
    owner.wall.advance(DAY_S)
    assert owner.left(DAILY) == 1000


@given(st.floats(0.0, 4e9))
def test_every_moment_lies_in_its_period(unix_s: float) -> None:
    for kind in (MeterKind.DAY, MeterKind.MONTH):
        period = period_of(kind, unix_s)
        assert period_ends_at(kind, period - 1) <= unix_s < period_ends_at(kind, period)


def test_a_holder_that_fell_silent_holds_nothing(owner: Owner) -> None:
    owner.order(SLOTS, wanted=6, at_least=6)
    owner.advance(LEASE_S - 0.001)
    assert owner.order(SLOTS, "b").left == 4
    owner.advance(0.001)
    assert owner.order(SLOTS, "b").left == 10


def test_what_a_silent_holder_reports_later_still_counts(owner: Owner) -> None:
    owner.order(DAILY, wanted=600, at_least=600)
    owner.advance(LEASE_S)
    assert owner.order(DAILY, "b", wanted=1000, at_least=1000).granted == 1000
    assert owner.order(DAILY, used=600).left == 0
    assert owner.order(DAILY, "b", returned=1000).left == 400


def test_any_trade_renews_the_lease_of_all_that_is_held(owner: Owner) -> None:
    owner.order(SLOTS, wanted=6, at_least=6)
    for _ in range(4):
        owner.advance(LEASE_S - 1)
        owner.book.trade_now("a", LEASE_S, [])
    assert owner.left(SLOTS) == 4


def test_money_is_not_lent_before_it_is_known_what_was_spent() -> None:
    owner = Owner(is_loaded=False)
    assert not owner.book.is_loaded
    balance = owner.order(DAILY, wanted=1, at_least=1)
    assert (balance.granted, balance.left, balance.resets_in_s) == (0, 0, 1.0)
    assert owner.order(SLOTS, wanted=1, at_least=1).granted == 1
    owner.order(DAILY, used=5)
    owner.book.preset(day={DAILY.key: 100}, month={MONTHLY.key: 200})
    assert owner.book.is_loaded
    assert (owner.left(DAILY), owner.left(MONTHLY)) == (895, 800)


def test_what_was_loaded_ends_with_its_period() -> None:
    owner = Owner(is_loaded=False)
    owner.book.preset(day={DAILY.key: 100}, month={MONTHLY.key: 200})
    owner.advance(DAY_S)
    assert (owner.left(DAILY), owner.left(MONTHLY)) == (1000, 800)


def test_sums_of_a_day_that_is_over_say_nothing_of_this_one() -> None:
    owner = Owner(is_loaded=False)
    summed_at = owner.wall.now_s
    owner.advance(DAY_S)
    owner.book.preset(day={DAILY.key: 100}, month={MONTHLY.key: 200}, as_of_unix_s=summed_at)
    assert (owner.left(DAILY), owner.left(MONTHLY)) == (1000, 800)


def test_a_capacity_that_is_changed_counts_from_the_next_order(owner: Owner) -> None:
    owner.order(DAILY, used=700)
    assert owner.left(Meter(DAILY.key, MeterKind.DAY, 5000)) == 4300
    assert owner.left(Meter(DAILY.key, MeterKind.DAY, 500)) == 0


def test_a_meter_is_forgotten_only_while_it_is_full_and_unheld() -> None:
    owner = Owner(max_meters=3)
    owner.order(DAILY, used=1)
    owner.order(SLOTS, wanted=1)
    owner.order(TOKENS, used=1)
    extra = Meter("requests:x", MeterKind.RATE, 5, 1.0)
    assert owner.order(extra, wanted=1, at_least=1) == Balance(extra.key, 0, 0, 1.0)
    owner.order(Meter("day:late", MeterKind.DAY, 5), used=2)
    owner.advance(1.0)
    assert owner.order(extra, wanted=1, at_least=1).granted == 1
    assert (owner.left(DAILY), owner.left(SLOTS)) == (999, 9)


def test_one_holder_too_many_is_told_that_nobody_counts_for_it() -> None:
    owner = Owner(max_holders=2)
    owner.order(SLOTS, "a")
    owner.order(SLOTS, "b")
    with pytest.raises(SharedStateUnavailable):
        owner.order(SLOTS, "c")
    owner.order(SLOTS, "a")
    owner.advance(LEASE_S)
    owner.order(SLOTS, "c")


AMOUNTS = st.integers(0, 30)
HOLDERS = st.sampled_from("abc")
METERS = st.sampled_from([TOKENS, SLOTS, DAILY])


class Bookkeeping(RuleBasedStateMachine):
    """Against the sums done plainly: rates are left out of the exact sum, as they refill."""

    def __init__(self) -> None:
        super().__init__()
        self.owner = Owner()
        self.held: dict[tuple[str, str], int] = {}
        self.spent: dict[str, int] = {}
        self.ends_at: dict[str, float] = {}

    @rule(holder=HOLDERS, meter=METERS, used=AMOUNTS, returned=AMOUNTS, wanted=AMOUNTS, at_least=AMOUNTS)
    def trade(self, holder: str, meter: Meter, used: int, returned: int, wanted: int, at_least: int) -> None:
        self.end_leases()
        place = (holder, meter.key)
        balance = self.owner.order(meter, holder, used=used, returned=returned, wanted=wanted, at_least=at_least)
        self.ends_at[holder] = self.owner.clock.now_s + LEASE_S
        self.spent[meter.key] = self.spent.get(meter.key, 0) + used
        self.held[place] = max(0, self.held.get(place, 0) - used - returned)
        free = max(0, meter.capacity - self.spent[meter.key] - self.all_held(meter))
        if meter.kind is not MeterKind.RATE:
            is_covered = at_least <= min(free, wanted)
            assert balance.granted >= at_least if is_covered else balance.granted == 0
            assert balance.left == free - balance.granted
        assert balance.granted <= wanted
        self.held[place] += balance.granted

    @rule(seconds=st.floats(0.1, 4.0))
    def wait(self, seconds: float) -> None:
        self.owner.advance(seconds)

    def end_leases(self) -> None:
        for holder, ends_at in list(self.ends_at.items()):
            if ends_at <= self.owner.clock.now_s:
                del self.ends_at[holder]
                self.held = {place: amount for place, amount in self.held.items() if place[0] != holder}

    def all_held(self, meter: Meter) -> int:
        return sum(amount for (_, key), amount in self.held.items() if key == meter.key)

    @invariant()
    def what_is_lent_was_there(self) -> None:
        for key, account in self.owner.book._accounts.items():
            holders = [each.held[key] for each in self.owner.book._holders.values() if key in each.held]
            assert (account.held, account.num_holders) == (sum(holders), len(holders))
            assert account.spent >= 0
            assert all(amount > 0 for amount in holders)


TestBookkeeping = Bookkeeping.TestCase


def months(year: int) -> Iterator[float]:
    for month in range(1, 13):
        yield float(calendar.timegm((year, month, calendar.monthrange(year, month)[1], 23, 59, 59)))


@pytest.mark.parametrize("year", [2024, 2026, 2100])
def test_the_last_second_of_every_month_is_followed_by_its_end(year: int) -> None:
    for last_s in months(year):
        assert math.isclose(period_ends_at(MeterKind.MONTH, period_of(MeterKind.MONTH, last_s)), last_s + 1)
