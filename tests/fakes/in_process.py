"""The whole gateway but Ray: the demo configuration over simulators, served by uvicorn in a thread."""

import contextlib
import threading
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import uvicorn
import yaml

from deployments.cloud_proxy import CloudProxy
from serve_app.assembly.gateway import gateway as make_gateway
from serve_app.assembly.parts import classifier as make_classifier
from serve_app.assembly.shared import SharedState
from serve_app.contracts.vocabulary import LOCAL
from serve_app.http_api.app import create_app
from serve_app.settings.load import LoadedSettings, load_settings
from serve_app.telemetry.metrics import Metrics
from serve_app.upstreams.openai_http import Endpoint, OpenAIHttpUpstream
from tests.fakes.processes import ROOT, RunningSimulator, free_port
from tests.fakes.running_graph import QUICK_BREAKER

KEY = "uc-test-key"


@dataclass(frozen=True, slots=True)
class Providers:
    """The simulators behind the demo's upstreams; `local` stands where vLLM would."""

    local: RunningSimulator
    cloud: RunningSimulator
    fallback: RunningSimulator


def demo_settings(folder: Path, providers: Providers, **changes: object) -> LoadedSettings:
    """The demo configuration with its ports and key replaced; `changes` are merged into its top-level sections."""
    raw = yaml.safe_load((ROOT / "configs" / "gateway.demo.yaml").read_text(encoding="utf-8"))
    raw["providers"]["simulator"]["base_url"] = f"{providers.cloud.url}/v1"
    raw["providers"]["simulator-fallback"]["base_url"] = f"{providers.fallback.url}/v1"
    (folder / "key").write_text(KEY, encoding="utf-8")
    raw["tenants"]["demo"]["key"] = {"file": str(folder / "key")}
    raw["providers"]["openai"]["api_key"] = {"file": str(folder / "absent")}
    raw["state_folder"] = str(folder / "state")
    raw["resilience"] = {"breaker": QUICK_BREAKER}
    for section, values in changes.items():
        raw[section] = {**raw.get(section, {}), **values} if isinstance(values, Mapping) else values
    path = folder / "gateway.yaml"
    path.write_text(yaml.safe_dump(raw), encoding="utf-8")
    return load_settings(path)


@contextlib.contextmanager
def serving(loaded: LoadedSettings, providers: Providers) -> Iterator[str]:
    """The gateway's address while it serves."""
    metrics = Metrics()
    classifier = make_classifier(loaded, metrics)
    shared = SharedState(loaded)
    upstreams = {
        upstream_id: CloudProxy(loaded, settings.provider) if settings.provider else _simulated_local(providers)
        for upstream_id, settings in loaded.active_upstreams.items()
    }
    gateway, background = make_gateway(loaded, upstreams, classifier, shared.ports, metrics=metrics)

    @contextlib.asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        await shared.start()
        async with background():
            yield
        await shared.aclose()
        for upstream in upstreams.values():
            await upstream.aclose()
        await classifier.aclose()

    port = free_port()
    server = uvicorn.Server(
        uvicorn.Config(
            create_app(gateway, lifespan),
            host="127.0.0.1",
            port=port,
            log_level="error",
            lifespan="on",
            timeout_graceful_shutdown=2,
        )
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        _wait_until_started(server, thread)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(timeout=10)


def _simulated_local(providers: Providers) -> OpenAIHttpUpstream:
    return OpenAIHttpUpstream(
        Endpoint(
            base_url=f"{providers.local.url}/v1",
            place=LOCAL,
            api_key=None,
            connect_timeout_s=1.0,
            idle_timeout_s=30.0,
            max_connections=64,
            max_event_bytes=1 << 20,
            max_answer_bytes=1 << 20,
        )
    )


def _wait_until_started(server: uvicorn.Server, thread: threading.Thread) -> None:
    ends_at = time.monotonic() + 20.0
    while not server.started:
        if not thread.is_alive() or time.monotonic() > ends_at:
            raise RuntimeError("the gateway did not start")
        time.sleep(0.02)
