"""What a model is measured on besides its training loss: held-out stores, source by source."""

from collections.abc import Callable, Iterator, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dolmix.shards.instances import Instances
from trainer.attention import Documents
from trainer.config import TrainConfig
from trainer.cross_entropy import IGNORED
from trainer.data import document_starts
from trainer.model import Losses, Model
from trainer.parallel import World


@torch.no_grad()
def source_losses(
    model: Model,
    held_out: Mapping[str, Instances],
    config: TrainConfig,
    world: World,
    *,
    on_progress: Callable[[str], None] = lambda _: None,
) -> dict[str, float]:
    """Mean cross-entropy of each source's held-out instances, in nats a token.

    The first `evaluation.instances` of each are shared out over the ranks; every rank calls this,
    gets the same numbers, and leaves the model as it was. `on_progress` is told each source.
    """
    was_training = model.training
    model.eval()
    try:
        sums = torch.zeros((len(held_out), 2), dtype=torch.float64, device=world.device)
        for number, (source, instances) in enumerate(held_out.items()):
            on_progress(source)
            for part in _parts(instances, config, world):
                sums[number] += _evaluate(model, instances, part, config, world)
        totals = world.sum(sums).cpu().tolist()
    finally:
        model.train(was_training)
    return {source: loss / tokens for source, (loss, tokens) in zip(held_out, totals, strict=True)}


def _parts(instances: Instances, config: TrainConfig, world: World) -> Iterator[NDArray[np.int64]]:
    """Microbatches of a rank: instance numbers, -1 for rows that only make all ranks do alike."""
    count, size = min(config.evaluation.instances, len(instances)), config.microbatch
    each = -(-count // world.size)
    numbers = np.full((world.size * each,), -1)
    numbers[:count] = np.arange(count)
    mine = numbers[world.rank :: world.size]
    return (mine[start : start + size] for start in range(0, each, size))


def _evaluate(
    model: Model,
    instances: Instances,
    numbers: NDArray[np.int64],
    config: TrainConfig,
    world: World,
) -> Tensor:
    """Sum the losses of some instances and count their tokens, (2,) float64 on the device."""
    known = np.maximum(numbers, 0)
    tokens = np.empty((len(numbers), instances.sequence_length + 1), np.uint32)
    instances.read(known, tokens)
    counted = instances.labels(known)
    counted = np.ones_like(tokens[:, 1:], np.bool_) if counted is None else counted
    counted = counted & (numbers >= 0)[:, None]
    inputs = world.send(tokens.astype(np.int64))
    labels = inputs[:, 1:].masked_fill(~world.send(counted), IGNORED)
    losses = model(
        inputs[:, :-1],
        labels,
        documents=_documents(instances, known, world) if config.documents == "apart" else None,
        chunk=config.parallel.loss_chunk,
    )
    assert isinstance(losses, Losses)
    return torch.stack([losses.by_token.double().sum(), (labels != IGNORED).double().sum()])


def _documents(instances: Instances, numbers: NDArray[np.int64], world: World) -> Documents:
    length = instances.sequence_length
    rows, at = instances.starts(numbers)
    begins = (rows * length + at)[at < length]
    found = document_starts(np.append(begins, len(numbers) * length).astype(np.int32), length)
    return Documents(world.send(found.ids), world.send(found.starts))
