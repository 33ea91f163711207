"""A small valid configuration to break in one place at a time."""

from collections.abc import Mapping
from pathlib import Path

from serve_app.settings.load import LoadedSettings, load_settings
from serve_app.settings.problems import InvalidSettings, Problem

VALID = """\
version: 1
state_folder: state
routing:
  weights: {quality: 0.7, cost: 0.15}
privacy:
  places:
    public: [local, cloud]
    personal: [local, cloud]
    confidential: [local]
providers:
  openai:
    base_url: https://api.openai.test/v1
    place: cloud
    api_key: {env: OPENAI_API_KEY}
    scaling: {min_replicas: 1}
upstreams:
  mistral-7b:
    model: mistralai/Mistral-7B
    local:
      folder: /models/mistral
      manifest: models/mistral.json
      accelerator: cpu
      bundles: [{CPU: 1}]
    context_window: 8192
    capabilities: [chat, tools]
    price: {input_usd_per_mtok: 0, output_usd_per_mtok: 0}
    expected_ttft_s: 0.2
    expected_tokens_per_s: 50
  gpt-5:
    provider: openai
    model: gpt-5
    context_window: 100000
    price: {input_usd_per_mtok: 1, output_usd_per_mtok: 2}
    expected_ttft_s: 1
    expected_tokens_per_s: 50
tiers:
  LOCAL_FAST: {upstreams: [mistral-7b], deadline_s: 20, max_output_tokens: 512}
  CLOUD_ENHANCED: {upstreams: [gpt-5], deadline_s: 60, max_output_tokens: 512}
tenants:
  acme:
    key: {env: ACME_KEY}
    places: [local, cloud]
"""
SECRETS = {"OPENAI_API_KEY": "sk-openai-value", "ACME_KEY": "uc-acme-value"}


def changed(old: str, new: str) -> str:
    """VALID with `old`, which stands in it once, exchanged."""
    assert VALID.count(old) == 1, old
    return VALID.replace(old, new)


def load_text(
    folder: Path, text: str, *, environment: Mapping[str, str] = SECRETS, require_secrets: bool = True
) -> LoadedSettings:
    path = folder / "gateway.yaml"
    path.write_text(text, encoding="utf-8")
    return load_settings(path, require_secrets=require_secrets, environment=environment)


def problems_of(folder: Path, text: str, *, environment: Mapping[str, str] = SECRETS) -> tuple[Problem, ...]:
    """Everything that is wrong with a configuration that must be refused."""
    try:
        load_text(folder, text, environment=environment)
    except InvalidSettings as error:
        return error.problems
    raise AssertionError("the configuration was accepted")


def line_in(text: str, fragment: str) -> int:
    """The number of the first line that holds `fragment`, counted from 1."""
    return next(number for number, line in enumerate(text.splitlines(), 1) if fragment in line)
