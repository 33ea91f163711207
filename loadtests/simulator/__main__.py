"""`python -m loadtests.simulator`: flags, the server, and its end."""

import argparse
import asyncio
import logging
import signal
import sys
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path

import uvloop
from pydantic import ValidationError

from loadtests.simulator.app import make_handler
from loadtests.simulator.behaviour import Behaviour, describe
from loadtests.simulator.journal import Journal, Marker
from loadtests.simulator.state import State
from loadtests.simulator.wire import Connection

DRAIN_S = 0.3

_EXAMPLE = """example:
  python -m loadtests.simulator --port 9001 --ttft-ms 150 --tokens-per-s 60 --fault rate_limited --fault-rate 0.05

one request's own fault:   X-Sim-Fault: die_after_n; n=3     or the model name   sim-fault-die_after_n-3
what it served, and how:   GET /_sim/served   GET /_sim/last   POST /_sim/reset   GET|PUT /_sim/behaviour
"""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = _parser()
    options = parser.parse_args(arguments)
    given = {name: getattr(options, name) for name in Behaviour.model_fields if getattr(options, name) is not None}
    try:
        behaviour = Behaviour.model_validate(given)
    except ValidationError as error:
        parser.error(describe(error))
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="simulator: %(message)s")
    with ExitStack() as held:
        try:
            journal = _journal(options, held)
        except OSError as error:
            sys.stderr.write(f"simulator: cannot write {options.journal}: {error.strerror}\n")
            return 1
        try:
            uvloop.run(_serve(State(options.name, behaviour, journal), options.host, options.port))
        except OSError as error:
            sys.stderr.write(f"simulator: cannot listen on {options.host}:{options.port}: {error.strerror}\n")
            return 1
    return 0


def _journal(options: argparse.Namespace, held: ExitStack) -> Journal | None:
    if options.journal is None:
        return None
    return held.enter_context(closing(Journal(options.journal, options.name, Marker(options.marker.encode()))))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m loadtests.simulator",
        allow_abbrev=False,
        description="A simulated OpenAI-compatible provider. No model runs in it.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=9001, help="0 takes a free one; the first line of the log names it")
    parser.add_argument("--name", default="simulator", help="named in its answers and its list of models")
    parser.add_argument("--journal", type=Path, help="a file that gets a JSON line as a call begins and as it ends")
    parser.add_argument("--marker", default="", help="the journal tells which requests hold this text")
    for name, field in Behaviour.model_fields.items():
        parser.add_argument(f"--{name.replace('_', '-')}", help=f"{field.description} (default: {field.default})")
    return parser


async def _serve(state: State, host: str, port: int) -> None:
    """Serves until SIGTERM or SIGINT; then lets what is running finish for DRAIN_S and drops the rest."""
    loop = asyncio.get_running_loop()
    connections: set[Connection] = set()
    handler = make_handler(state)
    server = await loop.create_server(lambda: Connection(handler, connections), host, port, backlog=2048)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    logging.info("listening on http://%s:%d", host, server.sockets[0].getsockname()[1])
    await stop.wait()
    server.close()
    if any(connection.is_busy for connection in connections):
        await asyncio.sleep(DRAIN_S)
    for connection in list(connections):
        connection.reset()


if __name__ == "__main__":
    sys.exit(main())
