"""Runs that are killed at any moment, while a checkpoint is written too, lose at most one step."""

import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from zygote import Zygote, wait_for

from trainer.checkpoint import complete, read_meta, step_of
from trainer.config import TrainConfig
from trainer.speed import CLOCKED
from trainer.tensor_files import check_sizes

STEPS = 40


def newest(output: Path) -> int:
    """Step of the newest checkpoint that is whole; every one that looks whole has all its bytes."""
    steps = [0]
    for path in complete(output / "checkpoints"):
        try:
            meta = read_meta(path)
            check_sizes(path, meta.files)
        except FileNotFoundError:  # removed meanwhile, since a later one is whole
            continue
        steps.append(meta.step)
    return max(steps)


def lines(output: Path) -> list[bytes]:
    """Whole lines of a run's metrics."""
    file = output / "metrics.jsonl"
    return file.read_bytes().split(b"\n")[:-1] if file.exists() else []


def without_speed(output: Path) -> list[str]:
    """Return a run's metrics without what depends on the clock."""
    return [str(yaml.safe_load(line) | dict.fromkeys(CLOCKED)) for line in lines(output)]


@pytest.mark.e2e
@pytest.mark.parametrize(("processes", "kills"), [(1, 15), (2, 5)])
def test_a_run_that_is_killed_ends_as_one_that_is_not(
    zygote: Zygote,
    quick_folder: Path,
    configure: Callable[..., TrainConfig],
    relock: Callable[..., Path],
    tmp_path: Path,
    processes: int,
    kills: int,
) -> None:
    """SIGKILL at 20 moments in all: what is left is always whole and never more than a step behind.

    Half of the moments are while a checkpoint is being written. Metrics and tensors at the end are,
    bit for bit, those of a run that nothing happened to.
    """
    draw, lock = random.Random(processes), relock(tmp_path, seed=3, steps=STEPS, batch=2)
    files, outputs = [], [quick_folder / "whole", quick_folder / "killed"]
    for output, every in zip(outputs, (STEPS, 1), strict=True):
        config = configure(lock=str(lock), log_every=1, checkpoint={"every_steps": every})
        raw = config.model_dump(mode="json") | {"output": str(output)}
        files.append(quick_folder / f"{output.name}.yaml")
        files[-1].write_text(yaml.safe_dump(raw))
    whole, killed = outputs
    run = zygote.start([str(files[0])], processes=processes, log=quick_folder / "whole.log")
    assert run.wait() == [0] * processes
    writing = 0
    for number in range(kills):
        before, at_least = newest(killed), 1 + draw.randrange(2)
        run = zygote.start([str(files[1])], processes=processes, log=quick_folder / f"{number}.log")
        wait_for(lambda: newest(killed) >= before + at_least, f"checkpoint; said {run.said()}")  # noqa: B023 - called at once
        if number % 2:
            wait_for(lambda: [*(killed / "checkpoints").glob(".step-*")], "begun checkpoint")
        time.sleep(draw.random() * 0.02)
        run.signal(signal.SIGKILL)
        assert all(code == -signal.SIGKILL for code in run.wait())
        writing += any((killed / "checkpoints").glob(".step-*"))
        assert before < newest(killed) <= len(lines(killed)) <= newest(killed) + 2
    assert writing >= kills // 3
    run = zygote.start([str(files[1])], processes=processes, log=quick_folder / "last.log")
    assert run.wait() == [0] * processes, run.said()
    assert without_speed(whole) == without_speed(killed)
    ends = [complete(output / "checkpoints")[-1] for output in outputs]
    assert [step_of(end) for end in ends] == [STEPS, STEPS]
    tensors = [[file.read_bytes() for file in sorted(end.glob("*.distcp"))] for end in ends]
    assert tensors[0] == tensors[1]
