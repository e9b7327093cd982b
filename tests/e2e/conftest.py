"""Whole runs through the command line, on the documents that come with dolmix."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from commands import ROOT, Dolmix, command, environment


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this room carries the marker `e2e`."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.e2e)


@pytest.fixture(scope="session")
def dolmix() -> Dolmix:
    """Run `dolmix` to its end; raise with its output unless the exit code is the expected one."""

    def run(*arguments: str | Path, expect: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            command(*arguments),
            capture_output=True,
            text=True,
            env=environment(),
            cwd=ROOT,
            timeout=280,
            check=False,
        )
        assert done.returncode == expect, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    return run


@pytest.fixture(scope="session")
def sample(dolmix: Dolmix, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the sample from the shipped documents alone, with its tokenizer."""
    folder = tmp_path_factory.mktemp("sample")
    dolmix("sample", folder, "--shipped-only", "--vocab-size", "1024")
    return folder


@pytest.fixture(scope="session")
def pipeline_file(sample: Path, lid_model: Path) -> Path:
    """Write the quickstart's pipeline over the shipped documents."""
    raw = yaml.safe_load((ROOT / "configs" / "pipelines" / "quickstart.yaml").read_text())
    text = json.dumps(raw).replace("runs/sample", str(sample))
    raw = json.loads(text.replace("models/lid.176.ftz", str(lid_model)))
    raw["on_bad_record"]["max_frac"] = 0.2
    raw["part_bytes"] = 20_000
    path = sample / "pipeline.yaml"
    path.write_text(yaml.safe_dump(raw, sort_keys=False))
    return path


@pytest.fixture(scope="session")
def finished_run(dolmix: Dolmix, pipeline_file: Path) -> Path:
    """Run the pipeline once, undisturbed, with two workers."""
    output = pipeline_file.parent / "undisturbed"
    dolmix("run", pipeline_file, f"output={output}", "executor.workers=2")
    return output


@pytest.fixture(scope="session")
def lock(dolmix: Dolmix, finished_run: Path) -> Path:
    """Resolve a mix of the run's stores: two stages, several epochs."""
    stores = {p.name.split("@")[0]: p for p in sorted((finished_run / "stores").iterdir())}
    large = {n: p for n, p in stores.items() if (p / "shards").is_dir() and _tokens(p) > 2000}
    mix: dict[str, Any] = {
        "name": "e2e",
        "seed": 11,
        "sequence_length": 64,
        "block": 32,
        "batch_size": [{"from_step": 1, "instances": 8}, {"from_step": 6, "instances": 16}],
        "sources": {n: {"store": str(p), "max_epochs": 4} for n, p in large.items()},
        "stages": [
            {"name": "main", "tokens": 16_000, "weights": dict.fromkeys(large, 1)},
            {"name": "anneal", "tokens": 6_000, "weights": {min(large): 1}, "order": "reuse"},
        ],
    }
    path = finished_run / "mix.yaml"
    path.write_text(yaml.safe_dump(mix, sort_keys=False))
    lock = finished_run / "mix.lock.json"
    dolmix("mix", "resolve", path, "-o", lock)
    return lock


def _tokens(store: Path) -> int:
    return int(json.loads((store / "manifest.json").read_bytes())["totals"]["tokens"])
