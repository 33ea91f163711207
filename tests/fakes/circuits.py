"""Circuit breakers remember: a test on a shared gateway begins with all of them closed."""

import re
import time

import httpx

from tests.fakes.processes import TLS

CLOSED_WITHIN_S = 30.0
TIMEOUT_S = 60.0


def close_circuits(url: str, key: str) -> None:
    """What an earlier test broke would keep calls away. Its upstreams are well again: a success closes each circuit."""
    headers = {"authorization": f"Bearer {key}"}
    ends_at = time.monotonic() + CLOSED_WITHIN_S
    while upstream_ids := _open_circuits(url):
        if time.monotonic() > ends_at:
            raise AssertionError(f"circuits stay open: {upstream_ids}")
        for upstream_id in upstream_ids:
            # An upstream's id is a model's name too.
            body = {"model": upstream_id, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 4}
            httpx.post(f"{url}/v1/chat/completions", json=body, headers=headers, timeout=TIMEOUT_S, verify=TLS)
        time.sleep(0.1)


def _open_circuits(url: str) -> list[str]:
    metrics = httpx.get(f"{url}/metrics", timeout=TIMEOUT_S, verify=TLS).text
    return re.findall(r'^upcoach_upstream_circuit_open\{upstream="([^"]+)"\} (?!0\.0$)', metrics, re.MULTILINE)
