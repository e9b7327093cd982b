"""Starting ahead: only for a run that will have something to do, and never a fault of its own."""

import json
from pathlib import Path
from typing import Any

import pytest

from dolmix.pipeline import ahead


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
