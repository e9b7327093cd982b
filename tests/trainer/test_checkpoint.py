"""Checkpoints: complete or absent, and nothing in them runs."""

import errno
import json
import os
import pickle
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch

from dolmix.errors import LockError
from trainer import checkpoint
from trainer.checkpoint import complete, load, prune, read_meta, remove_leftovers
from trainer.config import TrainConfig
from trainer.parallel import join_world


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
    assert checkpoint._member(StrEnum("Kind", ["A"]), "A") == "a"
    for kind, name in ((dict, "clear"), (StrEnum("Kind", ["A"]), "__class__"), ("text", "upper")):
        with pytest.raises((pickle.UnpicklingError, KeyError)):
            checkpoint._member(kind, name)


def test_only_complete_checkpoints_count(tmp_path: Path) -> None:
    """Folders without meta.json, hidden attempts and other names are not checkpoints."""
    for name in ("step-000010", "step-1000000", ".step-000030.ab.part", "step-000020", "step-x"):
        (tmp_path / name).mkdir()
        if name != "step-000020":
            (tmp_path / name / "meta.json").write_text("{}")
    assert [path.name for path in complete(tmp_path)] == ["step-000010", "step-1000000"]
    prune(tmp_path, keep=1)
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
            prune(tmp_path, keep=1)
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


@pytest.mark.parametrize("text", [None, "{"])
def test_a_damaged_checkpoint_is_named(tmp_path: Path, text: str | None) -> None:
    """A folder without a readable meta.json is refused by name."""
    if text is not None:
        (tmp_path / "meta.json").write_text(text)
    with pytest.raises(LockError, match=tmp_path.name):
        read_meta(tmp_path)
