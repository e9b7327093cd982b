"""One update against plain autograd and AdamW written out."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy

from dolmix.order import Batches
from trainer.config import TrainConfig
from trainer.data import Data
from trainer.loop import Training
from trainer.model import Model, initial_value
from trainer.parallel import join_world


def test_updates_equal_the_written_out_ones(
    configure: Callable[..., TrainConfig], train: Callable[..., bool]
) -> None:
    """Two updates: loss over uneven microbatches, clipping, schedule and AdamW, from definitions.

    eps is large, so that the size of a gradient shows in the weights: Adam hides any factor.
    """
    config = configure(
        max_steps=2,
        microbatch=3,
        loss={"load_balance": 0.5, "router_z": 0.3},
        optimizer={"lr": 0.02, "eps": 0.01, "clip": 0.4, "weight_decay": 0.5},
        schedule={"warmup": {"steps": 4}},
    )
    train(config)
    lines = [json.loads(x) for x in (config.output / "metrics.jsonl").read_text().splitlines()]
    model = Model(config.model)
    weights = dict(model.named_parameters())
    with torch.no_grad():
        for name, p in weights.items():
            p.copy_(initial_value(name, p.shape, seed=config.seed, std=config.model.init_std))
    m, v = ({name: torch.zeros_like(p) for name, p in weights.items()} for _ in range(2))
    with Batches(config.lock) as batches:
        rows = {step: torch.from_numpy(batches.tokens(step).astype("i8")) for step in (1, 2)}
    for step, line in enumerate(lines, 1):
        model.zero_grad()
        for part in rows[step].split(3):
            written_out_loss(model, part, config, num_rows=8, num_parts=3).backward()
        gradients = {name: p.grad for name, p in weights.items() if p.grad is not None}
        norm = torch.sqrt(torch.stack([g.square().sum() for g in gradients.values()]).sum())
        assert norm > 0.4
        assert line["grad_norm"] == pytest.approx(norm.item(), rel=1e-5)
        lr = 0.02 * (0.1 + 0.9 * step / 4)
        assert line["lr"] == pytest.approx(lr)
        with torch.no_grad():
            for name, p in weights.items():
                g = gradients[name] * 0.4 / (norm + 1e-6)
                m[name] = 0.9 * m[name] + 0.1 * g
                v[name] = 0.95 * v[name] + 0.05 * g * g
                first, second = m[name] / (1 - 0.9**step), v[name] / (1 - 0.95**step)
                p.copy_(p * (1 - lr * 0.5) - lr * first / (second.sqrt() + 0.01))
    with join_world(config) as world, Data(config, rank=0, world=1) as data:
        for name, p in Training(config, data, world).model.named_parameters():
            whole: Any = p
            torch.testing.assert_close(whole.full_tensor(), weights[name], atol=2e-6, rtol=1e-4)


def written_out_loss(
    model: Model, part: torch.Tensor, config: TrainConfig, *, num_rows: int, num_parts: int
) -> torch.Tensor:
    """Loss of one microbatch: its share of the batch's cross-entropy, and of the router losses."""
    logits, routings = model(part[:, :-1])
    ce = cross_entropy(logits.flatten(0, 1), part[:, 1:].flatten(), reduction="sum")
    visits = sum(r.counts.sum() for r in routings)
    experts = config.model.experts
    balance = torch.stack([(r.counts * r.mean_probs).sum() for r in routings]).sum()
    z = torch.stack([r.mean_square for r in routings]).mean() / config.model.top_k
    router = 0.5 * balance * experts / visits + 0.3 * z
    loss: torch.Tensor = ce / (num_rows * (part.shape[1] - 1)) + router / num_parts
    return loss
