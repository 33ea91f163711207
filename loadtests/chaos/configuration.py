"""The gateway that the suite hurts, as configuration files: two Routers, one CloudProxy as a deployment, two inline.

Its time limits and breakers are much shorter than in production, so that a fault is over within seconds.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from loadtests.chaos.scenarios import CLOUDS, FALLBACK, PRIMARY, RACER_BUDGET_USD, RACERS, SPECIALIST

TENANTS = ("chaos", *RACERS.values())
LOCAL_UPSTREAM = "smollm2"
OUTPUT_USD_PER_MTOK = 40.0
_LIMITS = {"first_token_s": 2.5, "gap_s": 1.0, "min_tokens_per_s": 1.0, "throughput_window_s": 3.0}
_LOCAL_LIMITS = {"first_token_s": 8.0, "gap_s": 5.0, "min_tokens_per_s": 0.5, "throughput_window_s": 5.0}


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the gateway is put among. `database` and `redis` None: the embedded stores."""

    project: Path
    state_folder: Path
    addresses: Mapping[str, str]
    has_local: bool
    database: str | None = None
    redis: str | None = None


def write_configuration(folder: Path, around: Surroundings, keys: Mapping[str, str]) -> tuple[Path, Path]:
    """Writes gateway.yaml, serve.yaml and the files of their secrets into `folder`; the paths of the first two."""
    gateway = _gateway(around)
    for tenant, key in keys.items():
        gateway["tenants"][tenant]["key"] = {"file": _secret(folder, f"{tenant}.key", key)}
    if around.database is not None:
        gateway["ledger"]["database"] = {"file": _secret(folder, "database.url", around.database)}
    if around.redis is not None:
        gateway["shared_state"] = {"redis": {"file": _secret(folder, "redis.url", around.redis)}}
    gateway_file, serve_file = folder / "gateway.yaml", folder / "serve.yaml"
    gateway_file.write_text(yaml.safe_dump(gateway, sort_keys=False), encoding="utf-8")
    serve_file.write_text(yaml.safe_dump(_serve(gateway_file), sort_keys=False), encoding="utf-8")
    return gateway_file, serve_file


def _secret(folder: Path, name: str, value: str) -> str:
    path = folder / name
    path.touch(mode=0o600)
    path.write_text(value, encoding="utf-8")
    return str(path)


def _gateway(around: Surroundings) -> dict[str, Any]:
    clouds = {PRIMARY: "deployment", SPECIALIST: "inline", FALLBACK: "inline"}
    local = [LOCAL_UPSTREAM] if around.has_local else []
    upstreams: dict[str, Any] = {name: _cloud(name) for name in CLOUDS}
    if around.has_local:
        upstreams[LOCAL_UPSTREAM] = _local(around.project)
    tiers = {
        "LOCAL_FAST": {"upstreams": local, "deadline_s": 60, "max_output_tokens": 128},
        "LOCAL_STANDARD": {"upstreams": local, "deadline_s": 60, "max_output_tokens": 512},
        "CLOUD_ENHANCED": {"upstreams": [PRIMARY], "deadline_s": 60, "max_output_tokens": 4096},
        "CLOUD_SPECIALIZED": {"upstreams": [SPECIALIST], "deadline_s": 60, "max_output_tokens": 4096},
        "CLOUD_FALLBACK": {"upstreams": [FALLBACK], "deadline_s": 60, "max_output_tokens": 4096},
    }
    return {
        "version": 1,
        "state_folder": str(around.state_folder),
        "router": {
            "scaling": {"min_replicas": 2, "max_replicas": 2, "max_ongoing_requests": 128, "max_queued_requests": 128},
            "probe_interval_s": 1,
        },
        "limits": {"retry_after_s": 1, "keep_alive_s": 5},
        "resilience": {
            "breaker": {"failure_threshold": 5, "open_for_s": 0.5, "max_open_for_s": 3, "probe_lease_s": 5},
            "hedging": {"enabled": True},
            "local_wait_s": 3,
        },
        "ledger": {"placement": "deployment"},
        "routing": {"target_local_share": 0.5, "fast_share": 0.25},
        "privacy": {
            "places": {"public": ["local", "cloud"], "personal": ["local", "cloud"], "confidential": ["local"]}
        },
        "providers": {
            name: {"base_url": f"{around.addresses[name]}/v1", "place": "cloud", "placement": placement}
            | {"scaling": {"max_ongoing_requests": 256, "max_queued_requests": 256}}
            for name, placement in clouds.items()
        },
        "upstreams": upstreams,
        "tiers": {name: tier for name, tier in tiers.items() if tier["upstreams"]},
        "tenants": {name: _tenant(name) for name in TENANTS},
    }


def _cloud(name: str) -> dict[str, Any]:
    return {
        "provider": name,
        "model": name,
        "context_window": 128000,
        "capabilities": ["chat", "tools", "structured_output"],
        "domains": ["coding", "coaching", "knowledge", "writing"] if name == SPECIALIST else [],
        "price": {"input_usd_per_mtok": 0, "output_usd_per_mtok": OUTPUT_USD_PER_MTOK},
        "expected_ttft_s": 0.1,
        "expected_tokens_per_s": 100,
        "max_in_flight": 256,
        "time_limits": _LIMITS,
    }


def _local(project: Path) -> dict[str, Any]:
    return {
        "model": "smollm2-135m-instruct",
        "local": {
            "folder": "smollm2-135m-instruct",
            "manifest": str(project / "configs/models/smollm2-135m-instruct.json"),
            "accelerator": "cpu",
            "bundles": [{"CPU": 0.5}],
            "engine": {"dtype": "bfloat16", "max_model_len": 1024, "enforce_eager": True, "max_num_seqs": 16},
            "environment": {"VLLM_CPU_KVCACHE_SPACE": "1", "HF_HUB_OFFLINE": "1"},
            "scaling": {"max_ongoing_requests": 32, "max_queued_requests": 32},
        },
        "context_window": 1024,
        "capabilities": ["chat", "structured_output"],
        "price": {"input_usd_per_mtok": 0, "output_usd_per_mtok": 0},
        "expected_ttft_s": 0.2,
        "expected_tokens_per_s": 25,
        "max_in_flight": 16,
        "time_limits": _LOCAL_LIMITS,
    }


def _tenant(name: str) -> dict[str, Any]:
    tenant: dict[str, Any] = {"places": ["local", "cloud"], "default_data_class": "public"}
    if name in RACERS.values():
        tenant["budget"] = {"day_usd": RACER_BUDGET_USD}
    return tenant


def _serve(gateway_file: Path) -> dict[str, Any]:
    return {
        "proxy_location": "HeadOnly",
        "http_options": {"host": "127.0.0.1", "port": 8000},
        "logging_config": {"encoding": "JSON", "log_level": "WARNING", "enable_access_log": False},
        "applications": [
            {
                "name": "upcoach",
                "route_prefix": "/",
                "import_path": "serve_app.graph:build_app",
                "args": {"config": str(gateway_file)},
            }
        ],
    }
