"""Instances that only repeat themselves cost nothing, and nothing else changes."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from dolmix.order import Batches, repeats
from trainer.config import TrainConfig
from trainer.data import Data
from trainer.loop import Training
from trainer.metrics import Layout
from trainer.model import Model, initial_value
from trainer.parallel import join_world

Configure = Callable[..., TrainConfig]


def metrics(config: TrainConfig) -> list[dict[str, Any]]:
    """Read a run's metrics."""
    lines = (config.output / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


@pytest.fixture
def training(configure: Configure, repeating_lock: Path) -> Iterator[Training]:
    """Give a run without router losses, before its first step."""
    off = {"load_balance": 0.0, "router_z": 0.0}
    config = configure(lock=str(repeating_lock), loss=off, microbatch=3)
    with join_world(config) as world, Data(config, rank=0, world=1) as data:
        yield Training(config, data, world)


def test_masked_rows_add_nothing_to_gradients(training: Training) -> None:
    """Gradients are those of the other rows alone, divided by the tokens of all rows, as in OLMo.

    Checked against plain autograd over the other rows.
    """
    batches = (training.data.batch(step) for step in range(1, 13))
    batch = next(b for b in batches if 0 < b.masked.sum() < len(b.masked))
    sums = training.step.gradients(training._send(batch))
    config = training.config
    model = Model(config.model)
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.copy_(initial_value(name, p.shape, seed=config.seed, std=config.model.init_std))
    rows = torch.from_numpy(batch.tokens[~batch.masked])
    logits, _ = model(rows[:, :-1])
    ce = cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten(), reduction="sum")
    (ce / batch.tokens[:, 1:].size).backward()
    expected = {name: p.grad for name, p in model.named_parameters()}
    for name, p in training.model.named_parameters():
        grad: Any = p.grad
        torch.testing.assert_close(grad.full_tensor(), expected[name], atol=1e-7, rtol=1e-4)
    line = training.layout.unpack(sums, 1)
    assert line["ce"] == pytest.approx(ce.item() / rows[:, 1:].numel(), rel=1e-5)
    assert line["loss"] == pytest.approx(ce.item() / batch.tokens[:, 1:].size, rel=1e-5)


def test_masked_rows_are_counted_and_batches_stay(
    configure: Configure, train: Callable[..., bool], repeating_lock: Path
) -> None:
    """Each step logs how many of its rows repeat; places and proof are those without the mask."""
    masked = configure("masked", lock=str(repeating_lock))
    plain = configure("plain", lock=str(repeating_lock), mask_repeats=False)
    train(masked)
    train(plain)
    with Batches(repeating_lock) as batches:
        expected = [int(repeats(batches.tokens(step)[:, :-1]).sum()) for step in range(1, 13)]
    assert any(expected)
    assert [line["masked"] for line in metrics(masked)] == expected
    assert [line["masked"] for line in metrics(plain)] == [0] * 12
    assert [m["chain"] for m in metrics(masked)] == [m["chain"] for m in metrics(plain)]
    assert [m["lr"] for m in metrics(masked)] == [m["lr"] for m in metrics(plain)]


def test_only_inputs_are_judged(configure: Configure, repeating_lock: Path) -> None:
    """A row whose last label alone completes the 32nd repeat is not masked."""
    with Data(configure(lock=str(repeating_lock)), rank=0, world=1) as data:
        size = len(data.batch(1).masked)
        rows = np.arange(size * 49, dtype=np.uint32).reshape(size, 49)
        rows[0, 17:] = 1
        rows[1, 16:48] = 1

        def read(_: object, out: np.ndarray, at: np.ndarray) -> None:
            out[at] = rows[at]

        for instances in data._batches.instances:
            instances.read = read  # type: ignore[method-assign, assignment]
        assert data.batch(1).masked.tolist() == [False, True] + [False] * (size - 2)


def test_a_batch_of_masked_rows_has_no_cross_entropy() -> None:
    """Where all rows are masked, ce is null and no source has a loss; the loss is a number."""
    layout = Layout(("a", "b"), layers=0, experts=4, load_balance=0.01, router_z=0.001)
    sums = layout.pack(
        torch.tensor([0, 1]), torch.tensor([True, True]), torch.zeros(2), torch.zeros((1, 4)), []
    )
    line = layout.unpack(sums, 1)
    assert (line["ce"], line["source_loss"], line["masked"], line["loss"]) == (None, {}, 2, 0.0)


def test_accumulation_is_invariant_with_uneven_masks(
    configure: Configure, train: Callable[..., bool], repeating_lock: Path
) -> None:
    """One microbatch of 8 and four of 2 give the same gradients though masks fall unevenly."""
    off = {"load_balance": 0.0, "router_z": 0.0}
    found = []
    for size in (8, 2):
        config = configure(f"by-{size}", lock=str(repeating_lock), loss=off, microbatch=size)
        with join_world(config) as world, Data(config, rank=0, world=1) as data:
            training = Training(config, data, world)
            batch = next(b for b in map(data.batch, range(1, 13)) if 0 < b.masked.sum() < 8)
            training.step.gradients(training._send(batch))
            grads: list[Any] = [p.grad for p in training.model.parameters()]
            found.append([g.full_tensor() for g in grads])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, atol=1e-7, rtol=1e-4)


def test_labels_that_do_not_count_cost_nothing(training: Training) -> None:
    """Leaving labels out removes their losses alone; the divisor stays the row's length."""
    batch = training.data.batch(1)
    counted = np.ones(batch.tokens[:, 1:].shape, np.bool_)
    counted[:, 5:9] = False
    rows = training._send(replace(batch, labels=counted, masked=np.zeros_like(batch.masked)))
    line = training.layout.unpack(training.step.gradients(rows), 1)
    tokens = torch.from_numpy(batch.tokens)
    with torch.no_grad():
        logits, _ = training.model(tokens[:, :-1])
    ce = cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten(), reduction="none")
    expected = ce.view(counted.shape)[torch.from_numpy(counted)].sum().item() / counted.size
    assert line["ce"] == pytest.approx(expected, rel=1e-5)
