"""What a graph that does not become ready says about why."""

import io
import os
from pathlib import Path

import pytest

from serve_app.demo.graph import Watch, replica_log
from serve_app.demo.progress import Progress

REPORT = '{"status": "deploying", "deployments": {"Router": "HEALTHY", "LocalLLM:m": "UPDATING"}, "message": "pulling"}'


def test_a_report_names_what_is_not_healthy_yet() -> None:
    with Progress(io.StringIO()).step("graph") as step:
        watch = Watch(step)
        watch.read(REPORT)
        assert "1 of 2 deployments healthy, waiting for LocalLLM:m" in step.line()
    assert watch.unhealthy() == ["LocalLLM:m"]
    assert watch.message == "pulling"


@pytest.mark.parametrize("line", ["", "a library's warning", "{", "[1, 2]", "3"])
def test_a_line_that_is_no_report_changes_nothing(line: str) -> None:
    with Progress(io.StringIO()).step("graph") as step:
        watch = Watch(step)
        watch.read(REPORT)
        watch.read(line)
    assert watch.unhealthy() == ["LocalLLM:m"]


def write(folder: Path, name: str, text: str, modified_at: int) -> None:
    (folder / name).write_text(text)
    os.utime(folder / name, (modified_at, modified_at))


def test_the_newest_words_of_an_unhealthy_replica_are_found_by_its_name(tmp_path: Path) -> None:
    ours = ":job_id:01\n:actor_name:ServeReplica:upcoach:LocalLLM:m\n"
    write(tmp_path, "worker-1.err", f"{ours}an earlier line\n", 10)
    write(tmp_path, "worker-1.out", f"{ours}ValueError: no such folder\n", 20)
    write(tmp_path, "worker-2.err", ":job_id:01\n:actor_name:ServeReplica:upcoach:Router\nfine\n", 30)
    write(tmp_path, "worker-3.err", ours, 40)
    assert replica_log(tmp_path, ["LocalLLM:m"]) == "ValueError: no such folder"


def test_silence_is_told_as_nothing(tmp_path: Path) -> None:
    assert replica_log(tmp_path, ["LocalLLM:m"]) == ""
