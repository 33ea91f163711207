"""Hands a Serve config file to a running Ray and reports until the applications run. Runs inside the environment.

    python -m serve_app.demo.serve_driver --address 127.0.0.1:21000 --port 8000 configs/serve/demo.yaml

Each line of standard output is a JSON object: `status`, `deployments` (name to status), `message`. The exit code is 0
when all applications run and 1 when one failed for good. What was deployed outlives this process, and no dashboard,
which `serve deploy` would need, has to run for it.
"""

import argparse
import json
import logging
import sys
import time
from pathlib import Path
from typing import Any

import ray
import yaml
from ray import serve
from ray.serve.context import _get_global_client
from ray.serve.schema import ApplicationStatus, ServeDeploySchema

POLL_S = 0.5
HOPELESS = (ApplicationStatus.DEPLOY_FAILED, ApplicationStatus.DELETING)


def read_config(path: Path, port: int) -> ServeDeploySchema:
    """The file with its HTTP port replaced and HTTP kept on the loopback address."""
    described: dict[str, Any] = yaml.safe_load(path.read_text())
    options = {**described.get("http_options", {}), "host": "127.0.0.1", "port": port}
    return ServeDeploySchema.model_validate({**described, "http_options": options})


def deploy(config: ServeDeploySchema) -> None:
    """The two calls that the dashboard makes for `serve deploy`."""
    serve.start(
        proxy_location=config.proxy_location,
        http_options=config.http_options.model_dump(),
        logging_config=config.logging_config,
    )
    client = _get_global_client()
    assert client is not None  # noqa: S101 - serve.start has just made it
    client.deploy_apps(config)


def report() -> dict[str, Any]:
    """What Serve says of all applications taken together."""
    applications = serve.status().applications
    statuses = {application.status for application in applications.values()}
    failed = [application for application in applications.values() if application.status in HOPELESS]
    deployments = {
        name: str(deployment.status.value)
        for application in applications.values()
        for name, deployment in application.deployments.items()
    }
    messages = [application.message for application in failed]
    messages += [
        deployment.message
        for application in applications.values()
        for deployment in application.deployments.values()
        if deployment.message and deployment.status.value != "HEALTHY"
    ]
    is_running = statuses == {ApplicationStatus.RUNNING}
    status = "failed" if failed else "running" if is_running else "deploying"
    return {"status": status, "deployments": deployments, "message": "\n".join(messages)}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m serve_app.demo.serve_driver")
    parser.add_argument("--address", required=True)
    parser.add_argument("--port", required=True, type=int)
    parser.add_argument("config", type=Path)
    arguments = parser.parse_args()
    config = read_config(arguments.config, arguments.port)
    ray.init(address=arguments.address, log_to_driver=False, logging_level=logging.ERROR)
    deploy(config)
    while True:
        current = report()
        sys.stdout.write(json.dumps(current) + "\n")
        sys.stdout.flush()
        if current["status"] != "deploying":
            return 0 if current["status"] == "running" else 1
        time.sleep(POLL_S)


if __name__ == "__main__":
    sys.exit(main())
