"""Checkpoints: complete or absent, and nothing in them runs."""

import errno
import json
import os
import pickle
import shutil
import subprocess
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path
from unittest.mock import Mock

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings

from dolmix.config import parse
from dolmix.errors import LockError
from trainer import tensor_files
from trainer.checkpoint import complete, is_due, kept, prune, read_meta, remove_leftovers
from trainer.config import CheckpointConfig, KeepConfig, TrainConfig
from trainer.parallel import join_world
from trainer.speed import CLOCKED
from trainer.tensor_files import CheckpointError, load

ONE = CheckpointConfig(keep=KeepConfig(recent=1))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Give a function that mounts a disk of so many bytes; skip where that may not be."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(size: int) -> Path:
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"a small disk cannot be mounted here: {done.stderr.strip()}")
        return folder

    if shutil.which("mount") is None:
        pytest.skip("there is no mount")
    yield mount
    subprocess.run(["umount", str(folder)], capture_output=True, check=False)


class Hostile:
    """Pickles as a call of os.system."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch ran",)


def test_an_index_with_foreign_names_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, configure: Callable[..., TrainConfig]
) -> None:
    """A checkpoint's index that names anything but index classes is refused before it can act."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".metadata").write_bytes(pickle.dumps(Hostile()))
    with join_world(configure()), pytest.raises(LockError, match="system: not read"):
        load(tmp_path, {"model.x": torch.zeros(2)})
    assert not (tmp_path / "ran").exists()


def test_an_index_may_name_members_of_enumerations_alone() -> None:
    """Older Pythons pickle a member as an attribute of its class; no other attribute is given."""
    assert tensor_files._member(StrEnum("Kind", ["A"]), "A") == "a"
    for kind, name in ((dict, "clear"), (StrEnum("Kind", ["A"]), "__class__"), ("text", "upper")):
        with pytest.raises((pickle.UnpicklingError, KeyError)):
            tensor_files._member(kind, name)


def test_only_complete_checkpoints_count(tmp_path: Path) -> None:
    """Folders without meta.json, hidden attempts and other names are not checkpoints."""
    for name in ("step-000010", "step-1000000", ".step-000030.ab.part", "step-000020", "step-x"):
        (tmp_path / name).mkdir()
        if name != "step-000020":
            (tmp_path / name / "meta.json").write_text("{}")
    assert [path.name for path in complete(tmp_path)] == ["step-000010", "step-1000000"]
    prune(tmp_path, ONE)
    assert [path.name for path in complete(tmp_path)] == ["step-1000000"]


def test_leftovers_are_removed_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hidden attempts and checkpoints without meta.json go; other files and folders stay.

    A removal that is killed half way leaves no checkpoint that looks whole.
    """
    for name in ("step-000010", "step-000020", "step-000030", "step-x", ".mine.part"):
        (tmp_path / name).mkdir()
        if name != "step-000030":
            (tmp_path / name / "meta.json").write_text("{}")
    with monkeypatch.context() as patch:
        patch.setattr("shutil.rmtree", Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            prune(tmp_path, ONE)
    assert [path.name for path in complete(tmp_path)] == ["step-000020"]
    assert len(list(tmp_path.iterdir())) == 5
    remove_leftovers(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"step-000020", "step-x", ".mine.part"}


@pytest.mark.parametrize("damage", ["no index", "no tensors", "index", "tensors"])
def test_damage_is_explained(
    configure: Callable[..., TrainConfig], train: Callable[..., bool], damage: str
) -> None:
    """A checkpoint with a file missing or cut is refused by name, with what to do."""
    config = configure(max_steps=1)
    train(config)
    path = complete(config.output / "checkpoints")[-1]
    file = next(path.glob(".metadata" if "index" in damage else "*.distcp"))
    if damage.startswith("no "):
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(LockError, match=f"{path.name} cannot be read .*remove that folder"):
        train(config)


def test_a_full_disk_is_explained(
    configure: Callable[..., TrainConfig],
    train: Callable[..., bool],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Tensors that cannot be written end the run with what and why; nothing is left behind."""
    config = configure(max_steps=1)
    full = OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr("torch.save", Mock(side_effect=full))
    with pytest.raises(LockError, match=r"step-000001 cannot be written .*No space left"):
        train(config)
    assert list((config.output / "checkpoints").iterdir()) == []


def test_a_checkpoint_without_later_settings_still_fits(
    configure: Callable[..., TrainConfig], train: Callable[..., bool]
) -> None:
    """Settings that a checkpoint's meta.json does not name had their defaults: no refusal."""
    train(configure(max_steps=1))
    file = complete(configure().output / "checkpoints")[-1] / "meta.json"
    meta = json.loads(file.read_text())
    for name in ("tie_embeddings", "rope_theta"):
        del meta["config"]["model"][name]
    del meta["config"]["mask_repeats"]
    file.write_text(json.dumps(meta))
    assert train(configure(max_steps=2))


def test_checkpoints_that_are_due_and_kept() -> None:
    """Every n-th, early ones at powers of two, and thinned out later; the recent ones always."""
    config = CheckpointConfig(every_steps=10, keep=KeepConfig(recent=2, log_spaced=True, every=60))
    due = [step for step in range(1, 200) if is_due(config, step)]
    assert due == [1, 2, 4, 8, *range(10, 200, 10)]
    assert sorted(kept(config, due)) == [1, 2, 4, 8, 10, 20, 40, 60, 80, 120, 160, 180, 190]
    last_only = CheckpointConfig()
    assert not any(is_due(last_only, step) for step in range(1, 100))
    assert kept(last_only, [3, 9, 5]) == {5, 9}


@settings(max_examples=60, deadline=None)
@given(
    every=st.none() | st.integers(1, 12),
    recent=st.integers(1, 4),
    spaced=st.booleans(),
    publish=st.none() | st.integers(1, 30),
)
def test_removing_as_one_goes_keeps_what_is_to_be_kept(
    every: int | None, recent: int, spaced: bool, publish: int | None
) -> None:
    """What stays after each checkpoint is what the policy would choose of all that were written."""
    keep = KeepConfig(recent=recent, log_spaced=spaced, every=publish)
    config = CheckpointConfig(every_steps=every, keep=keep)
    written, there = list[int](), set[int]()
    for step in range(1, 100):
        if is_due(config, step):
            written.append(step)
            there = kept(config, there | {step})
            assert there == kept(config, written)
    assert all(step in there for step in written if publish and step % publish == 0)


@pytest.mark.parametrize("damage", ["no index", "no tensors", "index", "tensors", "meta"])
def test_a_damaged_checkpoint_is_passed_over_and_said(
    configure: Callable[..., TrainConfig],
    train: Callable[..., bool],
    caplog: pytest.LogCaptureFixture,
    damage: str,
) -> None:
    """With a whole one before it, a damaged checkpoint is set aside, which is said.

    The run goes on as if it had never been.
    """
    caplog.set_level("INFO", logger="trainer")
    config = configure(max_steps=5, checkpoint={"every_steps": 2})
    train(config)
    path = complete(config.output / "checkpoints")[-1]
    pattern = {"index": ".metadata", "tensors": "*.distcp", "meta": "meta.json"}
    file = next(path.glob(pattern[damage.removeprefix("no ")]))
    if damage.startswith("no "):
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:-9])
    assert train(configure(max_steps=6))
    said = " ".join(record.getMessage() for record in caplog.records)
    assert f"checkpoint {path} cannot be read" in said
    assert f"resumed from {path.with_name('step-000004')}" in said
    (aside,) = (config.output / "damaged").iterdir()
    assert aside.name.startswith("step-000005")
    train(configure("whole", max_steps=6))
    first, second = (
        [
            json.loads(line) | dict.fromkeys(CLOCKED)
            for line in (output / "metrics.jsonl").read_text().splitlines()
        ]
        for output in (config.output, config.output.with_name("whole"))
    )
    assert first == second


def test_a_full_disk_ends_the_run_and_loses_nothing(
    configure: Callable[..., TrainConfig],
    train: Callable[..., bool],
    small_disk: Callable[[int], Path],
) -> None:
    """Where a second checkpoint has no room the run says so; the first is whole and goes on."""
    train(configure(max_steps=1))
    first = complete(configure().output / "checkpoints")[-1]
    size = sum(file.stat().st_size for file in first.iterdir())
    disk = small_disk(2 * size - 20_000)
    given = configure().model_dump(mode="json") | {
        "output": str(disk / "out"),
        "checkpoint": {"every_steps": 1},
    }
    with pytest.raises(CheckpointError, match=r"step-000002 cannot be written .*[Nn]o space left"):
        train(parse(TrainConfig, given, origin="test"))
    assert [path.name for path in complete(disk / "out" / "checkpoints")] == ["step-000001"]
    assert not [*(disk / "out" / "checkpoints").glob(".*")]
    subprocess.run(["mount", "-o", "remount,size=9M", str(disk)], check=True)
    assert train(parse(TrainConfig, given, origin="test"))


@pytest.mark.parametrize("text", [None, "{"])
def test_a_damaged_checkpoint_is_named(tmp_path: Path, text: str | None) -> None:
    """A folder without a readable meta.json is refused by name."""
    if text is not None:
        (tmp_path / "meta.json").write_text(text)
    with pytest.raises(LockError, match=tmp_path.name):
        read_meta(tmp_path)
