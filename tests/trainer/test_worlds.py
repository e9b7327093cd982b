"""Runs of 1, 2 and 4 processes: exact resume, the same batches, faults of one rank."""

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from zygote import Run, Zygote, wait_for

from dolmix.order import verify_log
from trainer.checkpoint import complete, read_meta
from trainer.config import TrainConfig
from trainer.speed import CLOCKED

Start = Callable[..., Run]


@pytest.fixture
def start(configure: Callable[..., TrainConfig], zygote: Zygote, quick_folder: Path) -> Start:
    """Give a function that starts a run: `start(name, processes, fault=..., **settings)`."""

    def begin(name: str, processes: int, *, fault: str = "", **settings: Any) -> Run:
        config = configure(name, **settings).model_dump(mode="json")
        config["output"] = str(quick_folder / name)
        file = quick_folder / f"{name}.yaml"
        file.write_text(yaml.safe_dump(config))
        log = quick_folder / f"{name}.log"
        return zygote.start([str(file)], processes=processes, log=log, fault=fault)

    return begin


def lines(output: Path) -> list[dict[str, Any]]:
    """Read a run's metrics without what depends on the clock."""
    file = output / "metrics.jsonl"
    found = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    for line in found:
        for name in CLOCKED:
            line.pop(name, None)
    return found


def tensors(output: Path) -> list[bytes]:
    """Bytes of the latest checkpoint's tensor files."""
    files = sorted(complete(output / "checkpoints")[-1].glob("*.distcp"))
    assert files
    return [file.read_bytes() for file in files]


@pytest.mark.e2e
@pytest.mark.parametrize("processes", [2, 4])
def test_resume_of_several_processes_is_exact(
    start: Start, quick_folder: Path, processes: int
) -> None:
    """Runs of 4 and 2 more steps end in the metrics and tensors of 6 steps, bit for bit."""
    assert start("whole", processes, max_steps=6).wait() == [0] * processes
    assert start("parts", processes, max_steps=4).wait() == [0] * processes
    assert start("parts", processes, max_steps=6).wait() == [0] * processes
    assert lines(quick_folder / "whole") == lines(quick_folder / "parts")
    assert tensors(quick_folder / "whole") == tensors(quick_folder / "parts")


@pytest.mark.e2e
def test_the_number_of_processes_changes_no_batch(
    start: Start, quick_folder: Path, lock: Path
) -> None:
    """1, 2, 4 and again 1 process take turns: the proof is the order's, losses within 1e-3."""
    assert start("alone", 1).wait() == [0]
    for processes, until in ((1, 3), (2, 6), (4, 9), (1, 12)):
        assert start("turns", processes, max_steps=until).wait() == [0] * processes
    proof = verify_log(lock, quick_folder / "turns")
    assert proof.ok
    assert proof.chains == 12
    for a, b in zip(lines(quick_folder / "alone"), lines(quick_folder / "turns"), strict=True):
        assert a["chain"] == b["chain"]
        assert a["ce"] == pytest.approx(b["ce"], rel=1e-3)


@pytest.mark.e2e
def test_nan_in_one_rank_is_left_out_on_all(start: Start, quick_folder: Path, lock: Path) -> None:
    """Gradients of one of two ranks that are no number leave the update out on both.

    The weights stay what they were: the next step's loss is finite and as without those updates.
    The steps are named with the command that shows their documents; the run goes on to its end.
    """
    run = start("nan", 2, fault="nan_in_rank_1", max_steps=7)
    assert run.wait() == [0, 0]
    found = lines(quick_folder / "nan")
    assert [line["step"] for line in found if line["skipped"]] == [3, 5]
    assert all(line["grad_norm"] is not None for line in found if not line["skipped"])
    for step in (3, 5):
        assert f"step {step}: update left out, loss" in run.said()
        assert f"dolmix order show {lock} --step {step}" in run.said()
    meta = read_meta(complete(quick_folder / "nan" / "checkpoints")[-1])
    assert (meta.guard.num_skipped, meta.guard.skipped) == (2, (3, 5))


@pytest.mark.e2e
def test_a_spike_in_one_rank_is_left_out(start: Start, quick_folder: Path) -> None:
    """A gradient far above those of the window is left out on both ranks, and only that one."""
    faults = {"window": 8, "spike_sigma": 12.0}
    run = start("spike", 2, fault="spike_in_rank_1", max_steps=11, faults=faults)
    assert run.wait() == [0, 0]
    found = lines(quick_folder / "spike")
    assert [line["step"] for line in found if line["skipped"]] == [9]


@pytest.mark.e2e
def test_a_stopped_rank_is_reported_with_its_stack(
    start: Start, quick_folder: Path, relock: Callable[..., Path], tmp_path: Path
) -> None:
    """One of two ranks is stopped: within the timeout both end, and its last stack is told."""
    lock = relock(tmp_path, seed=8, steps=280, batch=2)
    run = start("hung", 2, lock=str(lock), log_every=1, faults={"timeout_s": 4.0})
    wait_for(lambda: lines(quick_folder / "hung"), "first step")
    wait_for((quick_folder / "hung" / "watch" / "rank-1.json").is_file, "sign of life")
    run.signal(signal.SIGSTOP, rank=1)
    assert run.wait(60) == [1, -signal.SIGKILL]
    said = run.said()
    assert "the run hangs: rank 1 did not get on" in said
    assert "rank 1: no sign of life any more; last step" in said
    assert "T (stopped)" in said
    told = said.partition("stack of rank 1:")[2]
    assert "trainer/loop.py" in told
    stacks = (quick_folder / "hung" / "watch" / "rank-0.stacks").read_text()
    assert "trainer/loop.py" in stacks


@pytest.mark.e2e
def test_termination_of_one_rank_saves_all(
    start: Start, quick_folder: Path, relock: Callable[..., Path], tmp_path: Path
) -> None:
    """SIGTERM to one of two ranks: both end with 130 after a checkpoint of the last step done."""
    lock = relock(tmp_path, seed=8, steps=280, batch=2)
    run = start("ended", 2, lock=str(lock), log_every=1)
    wait_for(lambda: lines(quick_folder / "ended"), "first step")
    run.signal(signal.SIGTERM, rank=1)
    assert run.wait() == [130, 130]
    saved = read_meta(complete(quick_folder / "ended" / "checkpoints")[-1])
    assert lines(quick_folder / "ended")[-1]["step"] == saved.step < 280


@pytest.mark.e2e
def test_two_replicas_train_what_two_shards_do(start: Start, quick_folder: Path) -> None:
    """Hybrid sharding, a whole model on each of two ranks, gives the same batches and losses."""
    assert start("shards", 2, max_steps=4).wait() == [0, 0]
    assert start("replicas", 2, max_steps=4, parallel={"replicas": 2}).wait() == [0, 0]
    pairs = zip(lines(quick_folder / "shards"), lines(quick_folder / "replicas"), strict=True)
    for a, b in pairs:
        assert a["chain"] == b["chain"]
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-5)


@pytest.mark.e2e
def test_gradients_added_once_a_step_are_those_of_every_microbatch(
    start: Start, quick_folder: Path
) -> None:
    """`comm: step` with four microbatches on each of two ranks trains what `comm: micro` does."""
    for comm in ("micro", "step"):
        settings = {"max_steps": 4, "microbatch": 1, "parallel": {"comm": comm}}
        assert start(comm, 2, **settings).wait() == [0, 0]
    for a, b in zip(lines(quick_folder / "micro"), lines(quick_folder / "step"), strict=True):
        assert a["chain"] == b["chain"]
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-5)
        assert a["grad_norm"] == pytest.approx(b["grad_norm"], rel=1e-4)


@pytest.mark.e2e
def test_changed_weights_reach_every_rank(
    start: Start, quick_folder: Path, lock: Path, stores: Callable[..., Path]
) -> None:
    """Two processes change weights alike, one goes on: the proof is that of lock and ledger."""
    held_out = {name: str(stores(quick_folder, name, 200, 70)) for name in ("code", "web")}
    settings = {
        "evaluation": {"stores": held_out, "tokens": 5 * 12},
        "dynamic": {"every_steps": 4, "references": {"code": 3.0, "web": 4.3}},
    }
    assert start("dynamic", 2, max_steps=6, **settings).wait() == [0, 0]
    assert start("dynamic", 1, **settings).wait() == [0]
    ledger = (quick_folder / "dynamic" / "ledger.jsonl").read_text().splitlines()
    assert len(ledger) == 2
    proof = verify_log(lock, quick_folder / "dynamic")
    assert (proof.ok, proof.chains) == (True, 12)
