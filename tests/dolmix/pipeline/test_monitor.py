"""Whose processes a run watches."""

import time
from multiprocessing import get_context
from pathlib import Path

import builders
import pytest

from dolmix.config import parse
from dolmix.pipeline import monitor
from dolmix.pipeline.monitor import Monitor
from dolmix.pipeline.plan import make_plan
from dolmix.pipeline.spec import Pipeline


def test_other_children_of_the_program_are_not_watched(
    tmp_path: Path, tiny_tokenizer: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process of the program's own may be killed while a run goes on."""
    builders.write_jsonl(tmp_path / "a.jsonl", [builders.document(0)])
    sources = {"web": {"inputs": [str(tmp_path / "a.jsonl")]}}
    raw = builders.pipeline(tmp_path / "run", tiny_tokenizer, sources=sources)
    monkeypatch.setattr(monitor, "GRACE_S", 0.0)
    monkeypatch.setattr(Monitor, "_end_the_run", lambda _: None)
    watch = Monitor(make_plan(parse(Pipeline, raw, origin="test")), "filter", quiet=True)
    child = get_context("fork").Process(target=time.sleep, args=(60,))
    child.start()
    watch._look_for_lost_workers([])
    child.kill()
    child.join()
    watch._look_for_lost_workers([])
    assert not watch.lost
