"""Compiled blocks train as uncompiled ones do."""

import json
from collections.abc import Callable

import pytest
import torch

from trainer.config import TrainConfig


@pytest.mark.filterwarnings("default")  # torch's compiler warns of its own code
def test_compiled_blocks_train_alike(
    configure: Callable[..., TrainConfig],
    train: Callable[..., bool],
    small_model: dict[str, object],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Three steps of a sharded model give the same losses, compiled or not, within rounding.

    The compiler traces forward and backward in full and stops short of making machine code, which
    takes over a minute on a CPU.
    """
    real = torch.compile
    monkeypatch.setattr(torch, "compile", lambda f, **o: real(f, backend="aot_eager", **o))
    model = small_model | {"layers": 1, "expert_backend": "triton"}
    plain = configure("plain", max_steps=3, model=model)
    compiled = configure("compiled", max_steps=3, model=model, parallel={"compile": True})
    train(plain)
    train(compiled)
    lines = [
        [json.loads(x) for x in (c.output / "metrics.jsonl").read_text().splitlines()]
        for c in (plain, compiled)
    ]
    for a, b in zip(*lines, strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-5)
        assert a["grad_norm"] == pytest.approx(b["grad_norm"], rel=1e-4)
