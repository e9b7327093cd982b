"""Starting ahead: only for a run that will have something to do, and never a fault of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import builders
import pytest
from commands import environment

from dolmix.config import parse
from dolmix.pipeline import ahead
from dolmix.pipeline.plan import make_plan
from dolmix.pipeline.spec import Pipeline


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Pipelines that would have been started for."""
    found: list[Any] = []
    monkeypatch.setattr(ahead, "start", lambda pipeline, *_: found.append(json.loads(pipeline)))
    return found


def test_it_starts_with_the_settings_of_file_and_command(
    tmp_path: Path, started: list[Any]
) -> None:
    """What workers load ahead is what the run will be asked for."""
    path = tmp_path / "p.yaml"
    path.write_text(f"output: {tmp_path / 'run'}\nseed: 1\n")
    ahead.start_for(path, ["seed=2", "executor.workers=3"])
    assert started == [{"output": str(tmp_path / "run"), "seed": 2, "executor": {"workers": 3}}]


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        ("output: {run}", ["executor.workers=1"]),
        ("output: {done}", []),
        ("seed: 1", []),
        ("- a list", []),
        ("output: [", []),
        ("output: 7", []),
        ("output: {run}\nexecutor: 3", []),
        ("output: {run}\nseed: 2024-01-01", []),
        ("output: {run}", ["seed"]),
    ],
)
def test_it_does_not_start_where_there_may_be_nothing_to_do_or_a_file_is_wrong(
    tmp_path: Path, started: list[Any], text: str, settings: list[str]
) -> None:
    """One worker, a folder that holds a run, and files of which others say what is wrong."""
    done = tmp_path / "done"
    done.mkdir()
    (done / ahead.PLAN_FILE).write_text("{}")
    path = tmp_path / "p.yaml"
    path.write_text(text.format(run=tmp_path / "run", done=done))
    ahead.start_for(path, settings)
    ahead.start_for(tmp_path / "absent.yaml", settings)
    assert started == []


@pytest.mark.parametrize(
    ("arguments", "seed"),
    [
        (["run", "{path}"], 1),
        (["--verbose", "run", "{path}", "seed=2", "--json"], 2),
        (["plan", "{path}"], None),
        (["run"], None),
        (["--help"], None),
        ([], None),
    ],
)
def test_a_command_line_starts_it_for_a_run_alone(
    tmp_path: Path, started: list[Any], arguments: list[str], seed: int | None
) -> None:
    """`run` with a file, wherever options stand; no other command, and none that is cut short."""
    path = tmp_path / "p.yaml"
    path.write_text(f"output: {tmp_path / 'run'}\nseed: 1\n")
    ahead.start_for_command([a.format(path=path) for a in arguments])
    assert [one["seed"] for one in started] == ([] if seed is None else [seed])


LOADED = """
import sys
from dolmix.pipeline import ahead
ahead.start_for_command(sys.argv[1:])
heavy = {"typer", "pydantic", "numpy", "numba", "pyarrow", "datatrove"} & {*sys.modules}
assert not heavy, heavy
from dolmix.cli.main import run_cli
code = run_cli()
heavy = {"numba", "scipy", "datatrove", "tokenizers"} & {*sys.modules}
assert not heavy, heavy
sys.exit(code)
"""


def test_the_parent_of_workers_loads_little(tmp_path: Path, tiny_tokenizer: Path) -> None:
    """Nothing heavy before the process is started, no kernels and no engine in all of a run.

    The first plan loads tokenizer and solver, to keep what it finds.
    """
    builders.write_jsonl(tmp_path / "a.jsonl", [builders.document(n) for n in range(4)])
    raw = builders.pipeline(
        tmp_path / "run",
        tiny_tokenizer,
        sources={"web": {"inputs": [str(tmp_path / "a.jsonl")], "filters": [{"type": "gopher"}]}},
        dedup=[{"type": "minhash"}],
        executor={"type": "local", "workers": 2},
    )
    path = tmp_path / "p.yaml"
    path.write_text(json.dumps(raw))
    make_plan(parse(Pipeline, raw, origin="test"))
    done = subprocess.run(
        [sys.executable, "-c", LOADED, "run", str(path)],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "kept 4" in done.stdout


@pytest.mark.parametrize("given", [None, "glibc.malloc.hugetlb=0"])
def test_its_environment_is_its_own(given: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has the pipeline, and the C library's settings, a person's own last, so that they hold.

    The process that starts it has what it had.
    """
    seen: dict[str, str] = {}
    monkeypatch.setattr("multiprocess.forkserver.ensure_running", lambda: seen.update(os.environ))
    monkeypatch.delenv(ahead.TUNABLES, raising=False)
    if given is not None:
        monkeypatch.setenv(ahead.TUNABLES, given)
    before = dict(os.environ)
    ahead.start('{"output": "nowhere"}')
    assert os.environ == before
    tunables = ahead.HUGE_PAGES if given is None else f"{ahead.HUGE_PAGES}:{given}"
    assert seen == before | {ahead.TUNABLES: tunables, ahead.WARM: '{"output": "nowhere"}'}
