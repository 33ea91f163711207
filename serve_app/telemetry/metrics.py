"""Prometheus metrics of one router. Labels only from closed sets: tiers, upstreams, outcomes, codes."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from serve_app.contracts.attempt import Attempt
from serve_app.contracts.vocabulary import Circuit

CONTENT_TYPE = CONTENT_TYPE_LATEST
_OPENNESS = {Circuit.CLOSED: 0.0, Circuit.HALF_OPEN: 0.5, Circuit.OPEN: 1.0}
LATENCY_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
FAST_BUCKETS_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1)


class Metrics:
    """One instance a router; its registry is its own, so that tests need not clean up."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "upcoach_requests_total",
            "Requests by route, status code and chosen tier.",
            ["route", "status", "tier"],
            registry=self._registry,
        )
        self._overhead = Histogram(
            "upcoach_gateway_overhead_seconds",
            "Time of the gateway's own before an answer began.",
            buckets=FAST_BUCKETS_S,
            registry=self._registry,
        )
        self._decisions = Counter(
            "upcoach_decisions_total",
            "Decisions by tier and reason.",
            ["tier", "reason"],
            registry=self._registry,
        )
        self._attempts = Counter(
            "upcoach_attempts_total",
            "Attempts by upstream, tier and outcome.",
            ["upstream", "tier", "outcome"],
            registry=self._registry,
        )
        self._ttft = Histogram(
            "upcoach_attempt_ttft_seconds",
            "From an attempt's start to its first content.",
            ["upstream", "tier"],
            buckets=LATENCY_BUCKETS_S,
            registry=self._registry,
        )
        self._tokens = Counter(
            "upcoach_tokens_total",
            "Tokens by upstream and direction.",
            ["upstream", "direction"],
            registry=self._registry,
        )
        self._cost = Counter("upcoach_cost_usd_total", "Cost of all attempts.", ["upstream"], registry=self._registry)
        self._heuristic = Counter(
            "upcoach_classifier_heuristic_total",
            "Assessments that the heuristic gave in place of the model.",
            ["cause"],
            registry=self._registry,
        )
        self._available = Gauge(
            "upcoach_upstream_available",
            "1 while the router finds the upstream available.",
            ["upstream"],
            registry=self._registry,
        )

        self._outbox_rows = Gauge(
            "upcoach_ledger_queued_rows", "Rows that the ledger has not taken yet.", registry=self._registry
        )
        self._outbox_lost = Gauge(
            "upcoach_ledger_lost_rows", "Rows that will never reach the ledger.", registry=self._registry
        )
        self._journal_bytes = Gauge(
            "upcoach_journal_bytes", "What this router's write-ahead journal takes on disk.", registry=self._registry
        )
        self._journal_writable = Gauge(
            "upcoach_journal_writable", "1 while the write-ahead journal takes rows.", registry=self._registry
        )
        self._circuit = Gauge(
            "upcoach_upstream_circuit_open",
            "1 while the circuit breaker keeps calls away; 0.5 while it lets one probe through.",
            ["upstream"],
            registry=self._registry,
        )

    def record_request(self, route: str, status: int, tier: str) -> None:
        self._requests.labels(route, str(status), tier).inc()

    def record_overhead(self, overhead_s: float) -> None:
        self._overhead.observe(overhead_s)

    def record_decision(self, tier: str, reason: str) -> None:
        self._decisions.labels(tier, reason).inc()

    def record_attempt(self, attempt: Attempt) -> None:
        upstream, tier = attempt.upstream_id, attempt.tier.name
        self._attempts.labels(upstream, tier, attempt.outcome.value).inc()
        if attempt.ttft_s is not None:
            self._ttft.labels(upstream, tier).observe(attempt.ttft_s)
        self._tokens.labels(upstream, "input").inc(attempt.usage.num_input_tokens)
        self._tokens.labels(upstream, "output").inc(attempt.usage.num_output_tokens)
        self._cost.labels(upstream).inc(attempt.cost_usd)

    def record_heuristic(self, cause: str) -> None:
        self._heuristic.labels(cause).inc()

    def record_availability(self, upstream_id: str, *, is_available: bool) -> None:
        self._available.labels(upstream_id).set(is_available)

    def record_circuit(self, upstream_id: str, circuit: Circuit) -> None:
        self._circuit.labels(upstream_id).set(_OPENNESS[circuit])

    def record_outbox(
        self, *, num_queued: int, num_lost: int, num_journal_bytes: int, is_journal_writable: bool
    ) -> None:
        self._outbox_rows.set(num_queued)
        self._outbox_lost.set(num_lost)
        self._journal_bytes.set(num_journal_bytes)
        self._journal_writable.set(is_journal_writable)

    def render(self) -> bytes:
        return generate_latest(self._registry)
