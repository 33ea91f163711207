"""The composition root: settings in, one Ray Serve application out. The only module that knows both sides.

Serve reads the type of `build_app`'s argument at run time, so this module must keep real annotations.
"""

from pathlib import Path

from ray import serve
from ray.serve import Application

from deployments.classifier import ComplexityClassifier
from deployments.cloud_proxy import CloudProxy
from deployments.ledger import Ledger
from deployments.options import replica_options, serve_options
from deployments.router import Router
from serve_app.assembly import policies
from serve_app.settings.load import LoadedSettings, load_settings
from serve_app.settings.schema import LocalModelSettings, Scaling
from serve_app.strict import StrictModel

OFFLINE_ENV = {"VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
"""Nothing on a model replica may try to reach out of the cluster."""

SINGLE_OWNER = Scaling(max_ongoing_requests=256, max_queued_requests=4096, drain_s=10.0)
"""The ledger has one owner: a second replica would keep a second truth."""


class GraphArgs(StrictModel):
    """Arguments of the application in a Serve file. `config` is a gateway configuration."""

    config: Path


def build_app(args: GraphArgs) -> Application:
    """Raises InvalidSettings, ArtefactInvalid or CalibrationMismatch before anything is deployed."""
    loaded = load_settings(args.config, require_secrets=False)
    policies.routing_policy(loaded)
    tree = loaded.tree
    models = {
        upstream_id: _local_model(loaded, upstream_id, settings.local)
        for upstream_id, settings in loaded.active_upstreams.items()
        if settings.local is not None
    }
    in_use = {settings.provider for settings in loaded.active_upstreams.values()}
    proxies = {
        provider_id: serve.deployment(
            name=f"CloudProxy:{provider_id}", **serve_options(provider.scaling, resources=provider.resources)
        )(CloudProxy).bind(loaded, provider_id)
        for provider_id, provider in tree.providers.items()
        if provider.placement == "deployment" and provider_id in in_use
    }
    classifier = None
    if tree.classifier.placement == "deployment":
        classifier = serve.deployment(**serve_options(tree.classifier.scaling))(ComplexityClassifier).bind(loaded)
    ledger = None
    if tree.ledger.placement == "deployment":
        ledger = serve.deployment(**serve_options(SINGLE_OWNER, has_one_owner=True))(Ledger).bind(loaded)
    router = serve.deployment(name="Router", **serve_options(tree.router.scaling))(serve.ingress()(Router))
    return router.bind(loaded, models, proxies, classifier, ledger)


def _local_model(loaded: LoadedSettings, upstream_id: str, local: LocalModelSettings) -> Application:
    # Imported here because vLLM comes with it: a graph without local models needs none.
    from ray.serve.llm import LLMConfig, build_llm_deployment  # noqa: PLC0415

    from deployments.local_llm import LocalLLM  # noqa: PLC0415

    folder = loaded.model_folder(local.folder)
    accelerator = {"kind": "cpu"} if local.accelerator == "cpu" else None
    config = LLMConfig(
        model_loading_config={
            "model_id": loaded.tree.upstreams[upstream_id].model,
            "model_source": str(folder),
        },
        accelerator_type=None if accelerator else local.accelerator,
        accelerator_config=accelerator,
        placement_group_config={"bundles": local.bundles},
        engine_kwargs=dict(local.engine),
        deployment_config=replica_options(local.scaling),
        runtime_env={"env_vars": {**OFFLINE_ENV, **local.environment}},
        # Serve's default holds tokens back for 50 ms to send them together, which is added to every first token.
        experimental_configs={"stream_batching_interval_ms": 0},
    )
    return build_llm_deployment(
        config,
        name_prefix="LocalLLM:",
        deployment_cls=LocalLLM,
        bind_kwargs={"folder": folder, "manifest": loaded.resolve_path(local.manifest)},
    )
