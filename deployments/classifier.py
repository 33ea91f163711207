"""The complexity classifier as a deployment: for clusters where its memory should not be in every router."""

from collections.abc import Sequence

from deployments.logs import log_with_serve
from serve_app.assembly import parts
from serve_app.contracts.assessment import Assessment, Turn
from serve_app.settings.load import LoadedSettings


class ComplexityClassifier:
    """Implements the Classifier port."""

    def __init__(self, loaded: LoadedSettings) -> None:
        log_with_serve()
        self._classifier = parts.classifier(loaded)

    async def assess(self, turns: Sequence[Turn]) -> Assessment:
        return await self._classifier.assess(turns)
