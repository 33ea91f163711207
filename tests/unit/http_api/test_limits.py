"""OpenAI's rate-limit headers, as its clients parse them."""

import re
from dataclasses import replace

import hypothesis.strategies as st
import pytest
from hypothesis import given

from serve_app.admission.gate import AdmissionGate
from serve_app.admission.quota import duration
from serve_app.admission.saturation import Saturation
from serve_app.contracts.tenant import Quota, Tenant
from serve_app.errors import LimitReached
from serve_app.http_api.limits import limit_headers
from tests.fakes.builders import FakeClock, a_tenant
from tests.fakes.wallets import FakeWallet


def limited(requests: int | None, tokens: int | None) -> Tenant:
    return replace(a_tenant(), quota=Quota(requests, tokens, 60.0, 5))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0s"),
        (-3.0, "0s"),
        (0.0000001, "0s"),
        (0.0004, "1ms"),
        (0.012, "12ms"),
        (0.9999, "1s"),
        (1.0, "1s"),
        (1.1, "1.1s"),
        (2.5, "2.5s"),
        (10.0, "10s"),
        (59.9999, "1m0s"),
        (90.0, "1m30s"),
        (360.0, "6m0s"),
        (3_600.0, "1h0m0s"),
        (85_656.648, "23h47m36.648s"),
        (90_000.0, "25h0m0s"),
    ],
)
def test_a_span_is_written_as_openai_writes_it(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@given(st.floats(0, 10_000_000))
def test_a_span_read_back_is_the_same_and_never_shorter(seconds: float) -> None:
    found = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+)ms)?", duration(seconds))
    assert found is not None
    hours, minutes, whole, milli = (float(part or 0) for part in found.groups())
    read = hours * 3600 + minutes * 60 + whole + milli / 1000
    assert seconds - 1e-6 <= read <= seconds + 0.001 + 1e-6


async def test_a_refused_request_learns_its_limits_too() -> None:
    wallet = FakeWallet()
    gate = AdmissionGate(wallet, Saturation(10, 0.75, 0.9), clock=wallet.clock)
    tenant = limited(1, 600)
    (await gate.admit(tenant, num_tokens=240)).close(None)
    with pytest.raises(LimitReached):
        await gate.admit(tenant, num_tokens=1)
    expected = {
        "x-ratelimit-limit-requests": "1",
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": "1m0s",
        "x-ratelimit-limit-tokens": "600",
        "x-ratelimit-remaining-tokens": "360",
        "x-ratelimit-reset-tokens": "24s",
    }
    assert limit_headers(tenant, wallet) == limit_headers(tenant, gate) == expected


async def test_a_debt_is_shown_as_nothing_left() -> None:
    clock = FakeClock()
    wallet = FakeWallet(clock)
    tenant = limited(None, 600)
    gate = AdmissionGate(wallet, Saturation(10, 0.75, 0.9), clock=clock)
    (await gate.admit(tenant, num_tokens=600)).close(900)
    headers = limit_headers(tenant, wallet)
    assert headers["x-ratelimit-remaining-tokens"] == "0"
    assert headers["x-ratelimit-reset-tokens"] == "1m30s"


def test_before_the_first_balance_only_the_limit_is_known() -> None:
    assert limit_headers(limited(3, None), FakeWallet()) == {"x-ratelimit-limit-requests": "3"}


def test_a_tenant_without_limits_gets_no_headers() -> None:
    assert limit_headers(a_tenant(), FakeWallet()) == {}
