"""`python -m serve_app.demo`: arguments, the environment, and what is printed."""

import argparse
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from serve_app.demo.failures import SetupFailed
from serve_app.demo.instance import PROJECT, Instance
from serve_app.demo.packages import Purpose
from serve_app.demo.progress import Progress
from serve_app.demo.system_packages import ensure_system_packages
from serve_app.demo.up_down import down, prepare, up

EXAMPLES = """examples:
  python3.11 -m serve_app.demo up
  python3.11 -m serve_app.demo up --port 8010
  python3.11 -m serve_app.demo up --home /tmp/second --port 18000 --simulator-port 19901 --fallback-port 19902
  python3.11 -m serve_app.demo up --home /tmp/second --port 18000 --serve-config my.yaml --no-simulators
  python3.11 -m serve_app.demo down --home /tmp/second
  python3.11 -m serve_app.demo prepare --dev --system

environment, where the argument is not given:
  PORT, SIMULATOR_PORT, FALLBACK_PORT   the ports
  UPCOACH_HOME                          --home
  UPCOACH_CACHE                         --cache; else upcoach/ in $XDG_CACHE_HOME or ~/.cache
"""

READY = """
{headline} on http://127.0.0.1:{port}

  curl http://127.0.0.1:{port}/v1/chat/completions \\
    -H "Authorization: Bearer $(cat {key})" -H "Content-Type: application/json" \\
    -d '{{"model": "auto", "messages": [{{"role": "user", "content": "Hello! How are you?"}}]}}'

  from openai import OpenAI
  client = OpenAI(base_url="http://127.0.0.1:{port}/v1", api_key=open("{key}").read().strip())
  for chunk in client.chat.completions.create(
      model="auto", stream=True, messages=[{{"role": "user", "content": "Hello! How are you?"}}]
  ):
      print(chunk.choices[0].delta.content or "", end="", flush=True)

Logs: {logs} and {run_dir}/ray/session_latest/logs/serve. Stop it with: {stop}
"""


def main(arguments: Sequence[str] | None = None) -> int:
    options = build_parser(os.environ).parse_args(arguments)
    progress = Progress(sys.stderr)
    # Being asked to stop is an interrupt like any other: what was started is stopped again.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        _run(options, instance_from(options), progress)
    except SetupFailed as failure:
        detail = f"\n{failure.detail}\n" if failure.detail else ""
        progress.say(f"\n{detail}\nFailed: {failure.cause}\nTo do: {failure.remedy}")
        return 1
    except KeyboardInterrupt:
        progress.say("\nInterrupted; what was started has been stopped.")
        return 130
    return 0


def build_parser(environment: Mapping[str, str]) -> argparse.ArgumentParser:
    """The command line; defaults come from `environment`."""
    parser = argparse.ArgumentParser(
        prog="python -m serve_app.demo",
        description="Set up and run the whole graph on this machine.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    shared = argparse.ArgumentParser(add_help=False)
    home = Path(environment.get("UPCOACH_HOME") or PROJECT / ".local")
    shared.add_argument("--home", type=Path, default=home, help="where the instance keeps its key, logs and state")
    shared.add_argument("--cache", type=Path, default=_default_cache(environment), help="where models are kept")
    start = commands.add_parser("up", parents=[shared], help="set up, start, wait until it answers")
    start.add_argument("--port", type=int, default=environment.get("PORT") or "8000")
    start.add_argument("--serve-config", type=Path, default=PROJECT / "configs" / "serve" / "demo.yaml")
    start.add_argument("--simulator-port", type=int, default=environment.get("SIMULATOR_PORT") or "9901")
    start.add_argument("--fallback-port", type=int, default=environment.get("FALLBACK_PORT") or "9902")
    start.add_argument("--no-simulators", action="store_true", help="the configuration names other upstreams")
    start.add_argument("--ready-timeout-s", type=float, default=300.0)
    commands.add_parser("down", parents=[shared], help="stop what up started for this --home")
    setup = commands.add_parser("prepare", parents=[shared], help="only the virtual environment and the model")
    setup.add_argument("--dev", action="store_true", help="with the packages for tests and training")
    setup.add_argument("--no-model", action="store_true")
    setup.add_argument("--system", action="store_true", help="with the Debian packages that the tests run")
    return parser


def instance_from(options: argparse.Namespace) -> Instance:
    is_up = options.command == "up"
    simulators = (options.simulator_port, options.fallback_port) if is_up and not options.no_simulators else ()
    return Instance(
        home=options.home.resolve(),
        port=options.port if is_up else 0,
        serve_config=options.serve_config.resolve() if is_up else PROJECT,
        cache=options.cache.resolve(),
        simulator_ports=simulators,
        ready_timeout_s=options.ready_timeout_s if is_up else 0.0,
    )


def _run(options: argparse.Namespace, instance: Instance, progress: Progress) -> None:
    match options.command:
        case "up":
            was_started = up(instance, progress)
            headline = "The graph is ready" if was_started else "The graph was already running and is ready"
            sys.stdout.write(_ready_text(instance, headline))
        case "down":
            num_stopped = down(instance.home, instance.run_dir, progress)
            stopped = f"Stopped {num_stopped} processes" if num_stopped else "Nothing was running"
            sys.stdout.write(f"{stopped}; no process of {_short(instance.home)} is left.\n")
        case _:
            if options.system:
                ensure_system_packages(progress, instance.logs)
            purpose = Purpose.DEV if options.dev else Purpose.SERVE
            prepare(instance, purpose, progress, with_model=not options.no_model)


def _ready_text(instance: Instance, headline: str) -> str:
    stop = "make down" if instance.is_default else f"python -m serve_app.demo down --home {instance.home}"
    return READY.format(
        headline=headline,
        port=instance.port,
        key=_short(instance.key_file),
        logs=_short(instance.logs),
        run_dir=instance.run_dir,
        stop=stop,
    )


def _short(path: Path) -> Path:
    """Relative where that is shorter to read: inside the folder the command was run in."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def _default_cache(environment: Mapping[str, str]) -> Path:
    named = environment.get("UPCOACH_CACHE")
    if named:
        return Path(named)
    return Path(environment.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "upcoach"


if __name__ == "__main__":
    sys.exit(main())
