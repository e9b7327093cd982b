"""The bytes of a result depend on configuration and inputs alone."""

import os
import random
import shutil
import signal
import subprocess
from hashlib import blake2b
from pathlib import Path

import pytest
from commands import Dolmix, command, environment

KILLS = 5


def fingerprints(run: Path) -> dict[str, str]:
    """Digest of every file of the result: stores, decisions, dropped texts, bad records."""
    found = {}
    for folder in ("stores", "decisions", "excluded", "bad-records"):
        for path in sorted((run / folder).rglob("*")):
            if path.is_file():
                digest = blake2b(path.read_bytes(), digest_size=16).hexdigest()
                found[str(path.relative_to(run))] = digest
    return found


def hidden(run: Path) -> list[Path]:
    """Leftovers of attempts."""
    return [p for p in run.rglob(".*") if p.name.endswith(".part")]


@pytest.mark.parametrize("workers", [1, 4])
def test_any_number_of_workers_gives_the_same_bytes(
    dolmix: Dolmix, pipeline_file: Path, finished_run: Path, workers: int
) -> None:
    """One, two and four tasks at once commit identical stores and decisions."""
    output = pipeline_file.parent / f"workers-{workers}"
    dolmix("run", pipeline_file, f"output={output}", f"executor.workers={workers}")
    assert fingerprints(output) == fingerprints(finished_run)
    assert len(fingerprints(output)) > 20


@pytest.mark.parametrize("whole_tree", [True, False], ids=["tree", "parent"])
@pytest.mark.timeout(500)
def test_a_killed_run_goes_on_to_the_same_bytes(
    dolmix: Dolmix, pipeline_file: Path, finished_run: Path, whole_tree: bool
) -> None:
    """Five kill -9 at random moments, then a rerun: the same bytes, and nothing left over."""
    output = pipeline_file.parent / f"killed-{'tree' if whole_tree else 'parent'}"
    arguments = command("run", pipeline_file, f"output={output}", "executor.workers=2")
    draw = random.Random(f"{whole_tree}")
    interrupted = 0
    while interrupted < KILLS:
        child = subprocess.Popen(
            arguments,
            env=environment(),
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            assert child.wait(timeout=draw.uniform(0.7, 3.5)) == 0
            shutil.rmtree(output)  # done before its kill: begin anew
            continue
        except subprocess.TimeoutExpired:
            interrupted += 1
            if whole_tree:
                os.killpg(child.pid, signal.SIGKILL)
            else:
                child.kill()
            child.wait()
        assert all(_whole(store) for store in output.glob("stores/[!.]*@*"))
    dolmix("run", pipeline_file, f"output={output}", "executor.workers=2")
    assert fingerprints(output) == fingerprints(finished_run)
    assert hidden(output) == []


def test_a_second_run_reuses_everything(
    dolmix: Dolmix, pipeline_file: Path, finished_run: Path
) -> None:
    """Running again runs no task: no pass is announced, no file changes."""
    before = {p: p.stat().st_mtime_ns for p in finished_run.rglob("*.parquet")}
    again = dolmix("run", pipeline_file, f"output={finished_run}", "executor.workers=2")
    assert "tasks" not in again.stderr
    assert {p: p.stat().st_mtime_ns for p in finished_run.rglob("*.parquet")} == before


def _whole(store: Path) -> bool:
    """Tell whether a visible store is a committed one."""
    return (store / "manifest.json").exists() and (store / "id.idx").exists()
