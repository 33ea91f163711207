"""Everything a request meets on its way, put together by whoever runs the application."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from serve_app.admission.gate import AdmissionGate
from serve_app.admission.tenants import TenantDirectory
from serve_app.contracts.chat import Dialect
from serve_app.contracts.ledger import Ledger
from serve_app.pipeline.dispatch import Dispatcher
from serve_app.pipeline.prepare import Preparation
from serve_app.telemetry.metrics import Metrics
from serve_app.upstreams.fleet import Fleet


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """Bounds of bodies and of kept answers in bytes; `keep_alive_s` is the silence after which a stream speaks up.

    `typical_output_tokens` is what a request without a limit of its own is admitted for.
    """

    max_body_bytes: int
    max_json_depth: int
    max_kept_answer_bytes: int
    keep_alive_s: float
    typical_output_tokens: int


@dataclass(frozen=True, slots=True)
class Gateway:
    """`is_draining`: this router will stop as soon as what runs in it has ended."""

    directory: TenantDirectory
    gate: AdmissionGate
    preparation: Preparation
    dispatcher: Dispatcher
    fleet: Fleet
    ledger: Ledger
    metrics: Metrics
    dialects: Mapping[str, Dialect]
    limits: HttpLimits
    is_draining: Callable[[], bool]
