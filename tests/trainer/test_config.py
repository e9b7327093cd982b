"""Training files: shipped ones load, wrong ones are explained."""

from pathlib import Path
from typing import Any

import pytest

from dolmix.config import load, parse
from dolmix.errors import ConfigError
from trainer.config import TrainConfig
from trainer.model import count_parameters
from trainer.parallel import _threads_each


@pytest.mark.parametrize("path", sorted(Path("configs/train").glob("*.yaml")), ids=str)
def test_every_shipped_file_loads(path: Path) -> None:
    """Each file in configs/train is valid."""
    assert load(TrainConfig, path).lock


def test_quickstart_is_small() -> None:
    """The quickstart's model has one to three million parameters, 8 experts and 4,096 ids."""
    model = load(TrainConfig, "configs/train/quickstart.yaml").model
    assert (model.vocab, model.experts, model.top_k) == (4096, 8, 2)
    assert 1e6 < count_parameters(model)[0] < 3e6


def test_all_problems_are_reported_at_once(small_model: dict[str, Any]) -> None:
    """Shape, unknown key and span mistakes come in one error, each with its path."""
    raw = {
        "lock": "a",
        "output": "b",
        "model": small_model | {"top_k": 9},
        "optimizer": {"lr": 1e-3, "momentum": 0.9},
        "schedule": {"warmup": {"tokens": 5, "steps": 5}},
    }
    with pytest.raises(ConfigError) as caught:
        parse(TrainConfig, raw, origin="x.yaml")
    assert {p.path: p.message for p in caught.value.problems} == {
        "model": "top_k 9 is more than the 4 experts",
        "optimizer.momentum": "unknown key",
        "schedule.warmup": "give exactly one of tokens and steps",
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"heads": 3}, "d_model 16 over heads 3 must be an even whole number"),
        ({"d_ff": 10}, "d_ff 10: a multiple of 8 is needed"),
        ({"kv_heads": 3}, "kv_heads 3 must divide heads 2"),
        ({"dense_layers": [0, 2]}, r"dense_layers \[2\]: the 2 layers are 0 to 1"),
    ],
)
def test_impossible_shapes_are_explained(
    small_model: dict[str, Any], changes: dict[str, Any], message: str
) -> None:
    """A model that cannot exist is refused with its numbers."""
    raw = {"lock": "a", "output": "b", "model": small_model | changes, "optimizer": {"lr": 1}}
    with pytest.raises(ConfigError, match=message):
        parse(TrainConfig, raw, origin="x.yaml")


def test_threads_follow_the_cores_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a process may run on one core of many, it takes one thread, and never none."""
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {3})
    monkeypatch.setattr("os.cpu_count", lambda: 64)
    assert _threads_each() == 1
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(6)))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert _threads_each() == 3
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "8")
    assert _threads_each() == 1
