"""Runs that lose a process while tasks are at work: nothing hangs, and reruns finish."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import builders
import pytest
import yaml
from commands import Dolmix, command, environment

PATIENCE_S = 60


@pytest.fixture(scope="module")
def slow_pipeline(tmp_path_factory: pytest.TempPathFactory, tiny_tokenizer: Path) -> Path:
    """Write a pipeline whose two tokenize tasks take seconds: with the slower engine, for that."""
    folder = tmp_path_factory.mktemp("slow")
    for part in range(2):
        records = [builders.document(n, builders.prose(n, 20_000)) for n in range(part, 120, 2)]
        builders.write_jsonl(folder / f"part-{part}.jsonl", records)
    raw = builders.pipeline(
        folder / "run",
        tiny_tokenizer,
        sources={"web": {"inputs": [str(folder / "part-*.jsonl")]}},
        executor={"type": "local", "workers": 2},
    )
    raw["tokenizer"]["engine"] = "tokenizers"
    path = folder / "pipeline.yaml"
    path.write_text(yaml.safe_dump(raw))
    return path


@pytest.fixture
def started(slow_pipeline: Path, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """Start a run and wait until workers tokenize; the run's process, and its output."""
    output = tmp_path / "run"
    # a shell's background job has SIGINT ignored, and so would all that it starts
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(
        command("run", slow_pipeline, f"output={output}"),
        env=environment(),
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    signal.signal(signal.SIGINT, before)
    deadline = time.monotonic() + PATIENCE_S
    while len(working(output)) < 2:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    yield process, output
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert process.stderr is not None
    process.stderr.close()


def working(output: Path) -> list[int]:
    """Process numbers of the workers that tokenize."""
    found = []
    for path in (output / "work" / "progress" / "tokenize").glob("[!.]*.json"):
        try:
            found.append(json.loads(path.read_bytes())["pid"])
        except FileNotFoundError:
            continue
    return found


def session(leader: int) -> list[int]:
    """Living processes of a session."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[3]) == leader and fields[0] != "Z":
            found.append(int(entry.name))
    return found


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_a_killed_parent_takes_its_workers_along(
    dolmix: Dolmix, slow_pipeline: Path, started: tuple[subprocess.Popen[str], Path]
) -> None:
    """After kill -9 of the parent no process lives on, and a rerun at once succeeds."""
    process, output = started
    assert len(session(process.pid)) > 2
    process.kill()
    process.communicate()
    deadline = time.monotonic() + 5
    while session(process.pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert session(process.pid) == []
    dolmix("run", slow_pipeline, f"output={output}")


def test_a_killed_worker_ends_the_run_with_a_word(
    dolmix: Dolmix, slow_pipeline: Path, started: tuple[subprocess.Popen[str], Path]
) -> None:
    """A worker killed for lack of memory: exit 1 with its task named; a rerun finishes."""
    process, output = started
    os.kill(working(output)[0], signal.SIGKILL)
    _, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1, errors
    assert "its worker" in errors
    assert "web/0000" in errors
    assert "Traceback" not in errors
    dolmix("run", slow_pipeline, f"output={output}")


def test_ctrl_c_exits_130_and_can_go_on(
    dolmix: Dolmix, slow_pipeline: Path, started: tuple[subprocess.Popen[str], Path]
) -> None:
    """SIGINT to the whole group: exit 130, a sentence instead of a traceback, a rerun finishes."""
    process, output = started
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130, errors
    assert "run the same command again" in errors
    assert "Traceback" not in errors
    dolmix("run", slow_pipeline, f"output={output}")
