"""`dolmix train`: several processes, exit codes, and an end that loses nothing."""

import errno
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from dolmix.cli.train import launch
from dolmix.errors import UsageError
from trainer.__main__ import main
from trainer.checkpoint import complete, read_meta
from trainer.config import TrainConfig
from trainer.lifetime import claimed
from trainer.parallel import choose_device, join_world

COMMAND = "import sys; from dolmix.cli.train import launch; sys.exit(launch(sys.argv[1], ()))"


@pytest.fixture
def written(configure: Callable[..., TrainConfig], tmp_path: Path) -> Callable[..., Path]:
    """Give a function that writes a run's settings to a YAML file."""

    def write(name: str, **changes: Any) -> Path:
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump(configure(name, **changes).model_dump(mode="json")))
        return path

    return write


def lines(output: Path) -> list[dict[str, Any]]:
    """Read a run's metrics."""
    file = output / "metrics.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def wait_for(condition: Callable[[], Any], what: str) -> None:
    """Poll until `condition` holds; fail after a minute."""
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, f"still no {what}"
        time.sleep(0.02)


def children(pid: int) -> list[int]:
    """Numbers of a process's children."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(word) for task in tasks for word in task.read_text().split()]


def environment(pid: int) -> dict[str, str]:
    """Environment that a process was started with."""
    text = Path(f"/proc/{pid}/environ").read_text()
    return dict(entry.split("=", 1) for entry in text.split("\0") if "=" in entry)


@pytest.fixture
def long_run(
    written: Callable[..., Path], tmp_path: Path, relock: Callable[..., Path]
) -> Iterator[tuple[subprocess.Popen[bytes], Path, Path]]:
    """Start `dolmix train` on 280 steps and wait for its first; yields it, its file, its output."""
    lock = relock(tmp_path, seed=8, steps=280, batch=2)
    path = written("long", lock=str(lock), log_every=1)
    run = subprocess.Popen([sys.executable, "-c", COMMAND, str(path)])
    try:
        wait_for(lambda: lines(tmp_path / "long"), "first step")
        yield run, path, tmp_path / "long"
    finally:
        run.kill()
        run.wait()


@pytest.mark.e2e
def test_two_processes_train_the_same_batches(
    configure: Callable[..., TrainConfig],
    train: Callable[..., bool],
    written: Callable[..., Path],
    repeating_lock: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Two processes start from the same weights and see the same batches as one, which goes on.

    Losses agree within 1e-3: only the order of additions and the cut of router losses differ. What
    both refuse (`resume: never` over checkpoints) is said once, without a traceback.
    """
    one, two = (configure(name, lock=str(repeating_lock)) for name in ("one", "two"))
    train(one)
    path = written("two", lock=str(repeating_lock))
    assert launch(path, ("processes=2", "max_steps=7")) == 0
    capfd.readouterr()
    assert launch(path, ("processes=2", "resume=never")) == 2
    said = [line for line in capfd.readouterr().err.splitlines() if "parameters" not in line]
    assert [line.partition(",")[0] for line in said] == ["resume: never"]
    train(two)
    first, second = lines(one.output), lines(two.output)
    assert [line["step"] for line in second] == list(range(1, 13))
    assert [line["chain"] for line in first] == [line["chain"] for line in second]
    assert first[0]["ce"] == pytest.approx(second[0]["ce"], rel=1e-6)
    assert [line["masked"] for line in first] == [line["masked"] for line in second]
    assert any(line["masked"] for line in first)
    for a, b in zip(first, second, strict=True):
        assert a["grad_norm"] == pytest.approx(b["grad_norm"], rel=0.02)
        assert a["ce"] == pytest.approx(b["ce"], rel=1e-3)
        assert a["source_loss"] == pytest.approx(b["source_loss"], rel=1e-3)


@pytest.mark.e2e
def test_configuration_errors_exit_2(
    written: Callable[..., Path], capfd: pytest.CaptureFixture[str]
) -> None:
    """A misspelt key ends every process quietly: one message, exit code 2, no traceback."""
    assert launch(written("bad"), ("processes=2", "optimizer.lrr=1")) == 2
    assert capfd.readouterr().err.splitlines()[1:] == [
        "  optimizer.lrr: unknown key; did you mean 'lr'?"
    ]


@pytest.mark.e2e
def test_termination_saves_and_exits_130(
    long_run: tuple[subprocess.Popen[bytes], Path, Path],
) -> None:
    """SIGTERM leaves a checkpoint of the last step done and exit code 130; the run can go on."""
    run, path, output = long_run
    run.send_signal(signal.SIGTERM)
    assert run.wait(60) == 130
    saved = read_meta(complete(output / "checkpoints")[-1])
    assert lines(output)[-1]["step"] == saved.step < 280
    assert launch(path, (f"max_steps={saved.step + 2}",)) == 0
    assert [line["step"] for line in lines(output)] == list(range(1, saved.step + 3))


@pytest.mark.e2e
def test_a_checkpoint_that_fails_is_no_clean_interruption(
    long_run: tuple[subprocess.Popen[bytes], Path, Path],
) -> None:
    """Interrupted where no checkpoint can be written, a run exits 1, not 130."""
    run, _, output = long_run
    (output / "checkpoints").write_text("a file in the way")
    run.send_signal(signal.SIGTERM)
    assert run.wait(60) == 1


@pytest.mark.e2e
def test_a_second_signal_ends_a_hung_rank(
    written: Callable[..., Path], tmp_path: Path, relock: Callable[..., Path]
) -> None:
    """One of two processes hangs, so no checkpoint can be written: a second signal ends both."""
    lock = relock(tmp_path, seed=8, steps=280, batch=2)
    path = written("hung", lock=str(lock), log_every=1, processes=2)
    run = subprocess.Popen([sys.executable, "-c", COMMAND, str(path)])
    ranks: dict[str, int] = {}
    try:
        wait_for(lambda: lines(tmp_path / "hung"), "first step")
        ranks = {environment(pid)["RANK"]: pid for pid in children(children(run.pid)[0])}
        os.kill(ranks["1"], signal.SIGSTOP)
        run.send_signal(signal.SIGTERM)
        with pytest.raises(subprocess.TimeoutExpired):
            run.wait(2)
        run.send_signal(signal.SIGTERM)
        assert run.wait(60) == 130
        assert not any(Path(f"/proc/{pid}").exists() for pid in ranks.values())
    finally:
        for pid in ranks.values():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        run.kill()
        run.wait()


@pytest.mark.parametrize(("rank", "local_rank"), [("0", "0"), ("2", "0"), ("3", "1")])
def test_each_machine_says_what_ended_its_processes(
    written: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    rank: str,
    local_rank: str,
) -> None:
    """A configuration that one of two machines cannot read is told there, once, with its name.

    Its first process says so; the exit code is 2 on each.
    """
    places = {"RANK": rank, "LOCAL_RANK": local_rank, "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2"}
    for name, value in places.items():
        monkeypatch.setenv(name, value)
    assert main([str(written("bad")), "optimizer.lrr=1"]) == 2
    where = {"0": "", "2": f"{socket.gethostname()}: "}.get(rank)
    said = capsys.readouterr().err
    if where is None:
        assert said == ""
        return
    first, second = said.splitlines()
    assert first.startswith(f"{where}{written('bad')}")
    assert second == "  optimizer.lrr: unknown key; did you mean 'lr'?"


@pytest.mark.parametrize("local_rank", ["0", "3"])
def test_too_few_gpus_end_every_process(
    configure: Callable[..., TrainConfig], monkeypatch: pytest.MonkeyPatch, local_rank: str
) -> None:
    """Those that would have a GPU are told too that others lack one: nobody waits for them."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setattr("torch.cuda.set_device", lambda _: None)
    monkeypatch.setenv("LOCAL_RANK", local_rank)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    with pytest.raises(UsageError, match=r"processes: 4, but this machine has 2 CUDA devices"):
        choose_device(configure(device="cuda"))


def test_gpus_that_are_not_there_are_named(written: Callable[..., Path]) -> None:
    """`processes: gpu` on a machine without one is refused before torchrun starts."""
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(UsageError, match=r"processes: gpu, but torch .* sees no GPU\. Set"):
        launch(written("gpu"), ("processes=gpu",))


@pytest.mark.e2e
def test_a_missing_lock_leaves_no_output(
    written: Callable[..., Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A lock that is not there is one message of two processes, and no output folder; exit 1."""
    missing = tmp_path / "none.lock.json"
    assert launch(written("nothing"), (f"lock={missing}", "processes=2")) == 1
    (said,) = capfd.readouterr().err.splitlines()
    assert said.startswith(f"{missing}: no such lock")
    assert not (tmp_path / "nothing").exists()


@pytest.mark.e2e
def test_losing_the_launcher_saves_and_ends(
    long_run: tuple[subprocess.Popen[bytes], Path, Path],
) -> None:
    """When `dolmix train` itself is killed, its processes write a checkpoint and end."""
    run, path, output = long_run
    run.kill()
    run.wait()
    wait_for(lambda: complete(output / "checkpoints"), "checkpoint")
    wait_for(lambda: launch(path, ("max_steps=1",)) == 0, "end of the first run")
    assert lines(output)[-1]["step"] == read_meta(complete(output / "checkpoints")[-1]).step < 280


def test_a_second_run_into_the_same_output_is_refused(
    configure: Callable[..., TrainConfig],
) -> None:
    """While one run writes to an output, another one gets an error that names the folder."""
    config = configure("shared")
    with join_world(config) as world:
        with (
            claimed(config.output, world),
            pytest.raises(UsageError, match=f"another run is training into .*{config.output.name}"),
            claimed(config.output, world),
        ):
            pass
        with claimed(config.output, world):
            """The claim ends with its holder."""


def test_an_output_that_cannot_be_claimed_is_explained(
    configure: Callable[..., TrainConfig], monkeypatch: pytest.MonkeyPatch, lock: Path
) -> None:
    """A file system without locks, and a path below a file, are refused with the reason."""

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    config = configure("unlocked")
    with join_world(config) as world:
        with (
            pytest.raises(UsageError, match=r"lock.json.* cannot be written: Not a directory"),
            claimed(lock / "out", world),
        ):
            pass
        monkeypatch.setattr("fcntl.flock", refuse)
        with (
            pytest.raises(UsageError, match=r"unlocked cannot be claimed: .*No locks available"),
            claimed(config.output, world),
        ):
            pass


def test_torch_stays_out_of_the_command() -> None:
    """`dolmix train` needs no torch to say that torch is missing and how to install it."""
    code = (
        "import sys, importlib.util as u; real = u.find_spec;"
        "u.find_spec = lambda name, *a: None if name == 'torch' else real(name, *a);"
        "from dolmix.cli.train import train; from dolmix.errors import UsageError\n"
        "try: train('x.yaml')\n"
        "except UsageError as e: print(e, 'torch' in sys.modules, 'trainer' in sys.modules)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert "pip install 'dolmix[train]'" in result.stdout
    assert result.stdout.strip().endswith("False False")
