"""Checkpoints: complete or absent, and nothing in them runs."""

import os
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch.distributed.checkpoint.api import CheckpointException

from dolmix.errors import LockError
from trainer.checkpoint import complete, load, prune, read_meta
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
    with join_world(configure()), pytest.raises(CheckpointException, match="system: not read"):
        load(tmp_path, {"model.x": torch.zeros(2)})
    assert not (tmp_path / "ran").exists()


def test_only_complete_checkpoints_count(tmp_path: Path) -> None:
    """Folders without meta.json, hidden attempts and other names are not checkpoints."""
    for name in ("step-000010", "step-1000000", ".step-000030.ab.part", "step-000020", "step-x"):
        (tmp_path / name).mkdir()
        if name != "step-000020":
            (tmp_path / name / "meta.json").write_text("{}")
    assert [path.name for path in complete(tmp_path)] == ["step-000010", "step-1000000"]
    prune(tmp_path, keep=1)
    assert [path.name for path in complete(tmp_path)] == ["step-1000000"]


@pytest.mark.parametrize("text", [None, "{"])
def test_a_damaged_checkpoint_is_named(tmp_path: Path, text: str | None) -> None:
    """A folder without a readable meta.json is refused by name."""
    if text is not None:
        (tmp_path / "meta.json").write_text(text)
    with pytest.raises(LockError, match=tmp_path.name):
        read_meta(tmp_path)
