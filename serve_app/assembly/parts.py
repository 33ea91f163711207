"""From settings to the parts that are used where they run: the classifier and the providers."""

from serve_app.assembly.policies import artefact_dir
from serve_app.classification.guarded import FallbackCause, TimeLimitedClassifier
from serve_app.classification.scorer import OnnxScorer
from serve_app.contracts.vocabulary import Place
from serve_app.settings.load import LoadedSettings
from serve_app.telemetry.metrics import Metrics
from serve_app.upstreams.openai_http import Endpoint, OpenAIHttpUpstream


def classifier(loaded: LoadedSettings, metrics: Metrics | None = None) -> TimeLimitedClassifier:
    """Owns a thread: `aclose()` it."""
    observer = None if metrics is None else _HeuristicObserver(metrics)
    scorer = OnnxScorer(artefact_dir(loaded))
    return TimeLimitedClassifier(scorer, loaded.tree.classifier.time_limit_s, observer=observer)


class _HeuristicObserver:
    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def on_fallback(self, cause: FallbackCause) -> None:
        self._metrics.record_heuristic(cause.value)


def provider(loaded: LoadedSettings, provider_id: str) -> OpenAIHttpUpstream:
    """Reads the provider's secret, so it runs where the provider is called; raises MissingSecret."""
    settings = loaded.tree.providers[provider_id]
    key = None if settings.api_key is None else loaded.secret(settings.api_key).get_secret_value()
    return OpenAIHttpUpstream(
        Endpoint(
            base_url=settings.base_url,
            place=Place(settings.place),
            api_key=key,
            connect_timeout_s=settings.connect_timeout_s,
            idle_timeout_s=settings.idle_timeout_s,
            max_connections=settings.max_connections,
            max_event_bytes=loaded.tree.limits.max_event_bytes,
            max_answer_bytes=loaded.tree.limits.max_answer_bytes,
        )
    )
