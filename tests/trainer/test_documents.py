"""Documents kept apart: packed together they compute what each computes alone."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from trainer.attention import Documents
from trainer.config import ModelConfig, TrainConfig
from trainer.data import Data
from trainer.model import Losses, Model, initial_value

TINY: dict[str, Any] = {
    "vocab": 40, "d_model": 24, "layers": 2, "heads": 4, "experts": 6, "top_k": 2, "d_ff": 16,
}  # fmt: skip
LENGTHS = ((5, 1, 6), (12,), (3, 9))


def build(**changes: Any) -> Model:
    """Build a model with large weights."""
    model = Model(ModelConfig(**(TINY | changes)))
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.copy_(initial_value(name, p.shape, seed=4, std=0.3))
    return model


def packed() -> tuple[torch.Tensor, Documents]:
    """Draw three rows of 12 tokens, cut into documents of LENGTHS."""
    tokens = torch.randint(0, 40, (3, 12), generator=torch.Generator().manual_seed(2))
    ids = [[n for n, size in enumerate(row) for _ in range(size)] for row in LENGTHS]
    return tokens, Documents(
        torch.tensor(ids, dtype=torch.int32), torch.zeros(64, dtype=torch.int32)
    )


@pytest.mark.parametrize("changes", [{}, {"kv_heads": 2}], ids=str)
def test_packed_documents_equal_documents_alone(changes: dict[str, Any]) -> None:
    """Every document's logits are those of a row of its own, though its positions are others."""
    model = build(**changes)
    tokens, documents = packed()
    with torch.no_grad():
        found, _ = model(tokens, documents=documents)
        together, _ = model(tokens)
        for row, sizes in enumerate(LENGTHS):
            start = 0
            for size in sizes:
                alone, _ = model(tokens[row : row + 1, start : start + size])
                torch.testing.assert_close(
                    found[row, start : start + size], alone[0], atol=2e-5, rtol=1e-5
                )
                start += size
    assert not torch.allclose(found[0, 6:], together[0, 6:], atol=1e-2)
    torch.testing.assert_close(found[1], together[1], atol=2e-5, rtol=1e-5)


def test_gradients_stay_within_their_document() -> None:
    """A loss on one document alone has the gradients of that document trained alone."""
    model = build()
    tokens, documents = packed()
    found = []
    for inputs, kept, where in (
        (tokens, slice(6, 12), documents),
        (tokens[:1, 6:], slice(0, 6), None),
    ):
        model.zero_grad()
        labels = torch.full_like(inputs, -100)
        labels[0, kept] = 7
        losses = model(inputs, labels, documents=where)
        assert isinstance(losses, Losses)
        losses.total.backward()
        found.append([p.grad for p in model.parameters() if p.grad is not None])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


def test_starts_follow_the_end_of_each_document(configure: Callable[..., TrainConfig]) -> None:
    """A document starts a row or stands after an eos; flat starts are padded with all positions."""
    with Data(configure(documents="apart", microbatch=3), rank=0, world=1) as data:
        batch = data.batch(2)
    assert batch.documents is not None
    assert [len(d.ids) for d in batch.documents] == [3, 3, 2]
    inputs = batch.tokens[:3, :-1]
    part = batch.documents[0]
    flat = [
        row * 12 + t for row in range(3) for t in range(12) if t == 0 or inputs[row, t - 1] == 0
    ]
    assert part.starts[: len(flat)].tolist() == flat
    assert (part.starts[len(flat) :] == 36).all()
    assert part.starts[-1] == 36
    assert np.bincount(part.ids[0]).sum() == 12
    assert (np.diff(part.ids, axis=1) == (inputs[:, :-1] == 0)).all()


def test_training_with_documents_apart(
    configure: Callable[..., TrainConfig], train: Callable[..., bool]
) -> None:
    """The same batches train to other losses than together: the setting reaches the model."""
    lines = []
    for name in ("together", "apart"):
        config = configure(name, documents=name, max_steps=3)
        train(config)
        text = (config.output / "metrics.jsonl").read_text()
        lines.append([json.loads(line) for line in text.splitlines()])
    assert [a["chain"] for a in lines[0]] == [b["chain"] for b in lines[1]]
    assert all(a["ce"] != b["ce"] for a, b in zip(*lines, strict=True))
