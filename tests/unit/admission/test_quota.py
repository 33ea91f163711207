"""A quota's meters. The headers that it is read from are tested with the HTTP API."""

from dataclasses import replace

import pytest

from serve_app.admission.quota import concurrency_meter, refill_s, request_meter, token_meter
from serve_app.contracts.allowance import Balance, Meter, MeterKind
from serve_app.contracts.tenant import Quota
from tests.fakes.builders import a_tenant


def test_each_limit_is_a_meter_that_all_routers_know_by_the_tenants_name() -> None:
    tenant = replace(a_tenant(id="acme"), quota=Quota(10, 1_000, 30.0, 2))
    assert concurrency_meter(tenant) == Meter("concurrent:acme", MeterKind.LEVEL, 2)
    assert request_meter(tenant) == Meter("requests:acme", MeterKind.RATE, 10, 30.0)
    assert token_meter(tenant) == Meter("tokens:acme", MeterKind.RATE, 1_000, 30.0)


def test_no_limit_is_no_meter() -> None:
    assert concurrency_meter(a_tenant()) is request_meter(a_tenant()) is token_meter(a_tenant()) is None


A_SECOND_EACH = Meter("tokens:acme", MeterKind.RATE, 100, 100.0)


@pytest.mark.parametrize(
    ("left", "resets_in_s", "amount", "wait_s"),
    [
        (10, 90.0, 30, 20.0),  # nobody holds anything: what is missing
        (10, 90.0, 100, 90.0),
        (0, 170.0, 30, 100.0),  # 70 in debt
        (10, 50.0, 30, 20.0),  # 40 are held by others, and may stay so
        (10, 5.0, 30, 5.0),  # 90 are held, and free again when the lease ends
        (50, 50.0, 30, 0.0),
        (-70, 170.0, 30, 100.0),
    ],
)
def test_a_wait_is_what_the_amount_needs_and_not_the_whole_window(
    left: int, resets_in_s: float, amount: int, wait_s: float
) -> None:
    assert refill_s(A_SECOND_EACH, Balance("tokens:acme", 0, left, resets_in_s), amount) == pytest.approx(wait_s)
