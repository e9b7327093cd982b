"""A run that is killed in every pass of dedup comes to the result of one that never was."""

import os
import signal
import subprocess
import time
from hashlib import blake2b
from pathlib import Path
from typing import Any

import builders
import pytest
import yaml
from commands import Dolmix, command, environment
from dedup_runs import varied

PASSES = ("signatures", "candidates", "shingles", "verify", "clusters", "index", "tokenize")
PATIENCE_S = 90


@pytest.fixture(scope="module")
def dedup_pipeline(tmp_path_factory: pytest.TempPathFactory, tiny_tokenizer: Path) -> Path:
    """Write a pipeline of two sources in several parts, with every pass of document dedup."""
    folder = tmp_path_factory.mktemp("dedup")
    sources: dict[str, Any] = {}
    for name, seeds in (("web", range(24)), ("docs", range(18, 36))):
        texts = [varied(seed, 31 * copy) for seed in seeds for copy in range(1 + seed % 3)]
        records = [builders.document(n, text) for n, text in enumerate(texts)]
        builders.write_jsonl(folder / f"{name}.jsonl", records)
        sources[name] = {"inputs": [str(folder / f"{name}.jsonl")]}
    near = {"type": "minhash", "bands": 4, "rows": 4, "threshold": 0.7, "verify": True}
    raw = builders.pipeline(
        folder / "run",
        tiny_tokenizer,
        sources=sources,
        dedup=[{"type": "exact"}, near],
        dedup_index=True,
        part_bytes=20_000,
        executor={"type": "local", "workers": 2},
    )
    path = folder / "pipeline.yaml"
    path.write_text(yaml.safe_dump(raw))
    return path


def fingerprints(run: Path) -> dict[str, str]:
    """Digest of every file of the result, the index among it."""
    return {
        str(path.relative_to(run)): blake2b(path.read_bytes(), digest_size=16).hexdigest()
        for folder in ("stores", "decisions", "dedup-index")
        for path in sorted((run / folder).rglob("*"))
        if path.is_file()
    }


def kill_in(pass_name: str, pipeline: Path, output: Path) -> None:
    """Start the run and kill all its processes as soon as a task of the pass is at work or done."""
    process = subprocess.Popen(
        command("run", pipeline, f"output={output}"),
        env=environment(),
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    begun = [output / "work" / "progress" / pass_name, output / "records" / pass_name]
    deadline = time.monotonic() + PATIENCE_S
    try:
        while not any(next(folder.glob("[!.]*.json"), None) for folder in begun):
            assert process.poll() is None, f"the run ended before its pass {pass_name}"
            assert time.monotonic() < deadline
            time.sleep(0.002)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.mark.timeout(400)
def test_a_kill_in_every_pass_changes_no_byte(
    dolmix: Dolmix, dedup_pipeline: Path, tmp_path: Path
) -> None:
    """Killed in each pass in turn, then with another number of workers: the same bytes."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    dolmix("run", dedup_pipeline, f"output={whole}", "executor.workers=1")
    for pass_name in PASSES:
        kill_in(pass_name, dedup_pipeline, killed)
    dolmix("run", dedup_pipeline, f"output={killed}", "executor.workers=3")
    assert fingerprints(killed) == fingerprints(whole)
    assert len(fingerprints(whole)) > 40
    assert [p for p in killed.rglob(".*") if p.name.endswith(".part")] == []
