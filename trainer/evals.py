"""What a model is measured on besides its training loss: held-out stores, and questions.

Held-out stores give the mean loss of a source in nats a token and bits a byte; questions the
likelihood of their answers (`trainer.choices`). The model is left as it was: its mode, gradients
and random numbers. Instances and answers are cut into the same microbatches for any number of
ranks, dealt out, and their sums added in float64: the results differ by rounding alone.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.distributed.fsdp import FSDPModule

from dolmix.shards.instances import Instances
from trainer.attention import Documents
from trainer.choices import log_likelihoods, scores
from trainer.config import EvaluationConfig, TrainConfig
from trainer.cross_entropy import IGNORED
from trainer.data import document_starts
from trainer.held_out import bits_per_byte
from trainer.model import Losses, Model
from trainer.parallel import World
from trainer.questions import Task

Tell = Callable[[str], None]
"""Is told what is measured now, again and again."""


def evaluate(
    model: Model,
    held_out: Mapping[str, Instances],
    tasks: Mapping[str, Task],
    config: TrainConfig,
    world: World,
    *,
    on_progress: Tell = lambda _: None,
) -> dict[str, float]:
    """Measure everything; `<measure>/<source or task>`, as docs/formats.md names them.

    Every rank calls this and gets the same numbers.
    """
    losses = source_losses(model, held_out, config, world, on_progress=on_progress)
    found: dict[str, float] = {}
    for source, loss in losses.items():
        found[f"loss/{source}"] = loss
        bits = bits_per_byte(loss, held_out[source].store)
        found |= {} if bits is None else {f"bpb/{source}": bits}
    for name, task in tasks.items():
        with measuring(model):
            likelihoods = log_likelihoods(
                model, task, config, world, on_progress=partial(on_progress, name)
            )
        measured = scores(task, likelihoods).items()
        found |= {f"{measure}/{name}": value for measure, value in measured}
    return found


def is_evaluated(config: EvaluationConfig, step: int, last: int) -> bool:
    """Whether to measure after a step of a run that ends with step `last`."""
    if config.every_steps is None or not (config.stores or config.tasks):
        return False
    return step == last or step % config.every_steps == 0


def source_losses(
    model: Model,
    held_out: Mapping[str, Instances],
    config: TrainConfig,
    world: World,
    *,
    on_progress: Tell = lambda _: None,
) -> dict[str, float]:
    """Mean cross-entropy of each source's held-out instances, in nats a token.

    The first instances of each, as many as `evaluation.tokens` fill, are shared out over the ranks;
    every rank calls this and gets the same numbers. `on_progress` is told each source.
    """
    sums = torch.zeros((len(held_out), 2), dtype=torch.float64, device=world.device)
    with measuring(model):
        for number, (source, instances) in enumerate(held_out.items()):
            for part in _parts(instances, config, world):
                on_progress(source)
                sums[number] += _evaluate(model, instances, part, config, world)
    totals = world.sum(sums).cpu().tolist()
    return {
        source: loss / tokens if tokens else math.nan
        for source, (loss, tokens) in zip(held_out, totals, strict=True)
    }


@contextmanager
def measuring(model: Model) -> Iterator[None]:
    """Compute without gradients, in evaluation mode, and as written: nothing is compiled for it.

    Afterwards weights are sharded as before: those that no backward pass lets go would be taken for
    others by the optimiser's state and by checkpoints.
    """
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad(), torch.compiler.set_stance("force_eager"):
            yield
    finally:
        model.train(was_training)
        for module in model.modules():
            if isinstance(module, FSDPModule):
                module.reshard()


def _parts(instances: Instances, config: TrainConfig, world: World) -> Iterator[NDArray[np.int64]]:
    """Microbatches of a rank: instance numbers, -1 for rows that only make all ranks do alike."""
    wanted = -(-config.evaluation.tokens // instances.sequence_length)
    count, size = min(wanted, len(instances)), config.microbatch
    num_parts = -(-count // size)
    for start in range(0, num_parts, world.size):
        first = (start + world.rank) * size
        numbers = np.arange(first, min(first + size, count))
        yield numbers if len(numbers) else np.full(1, -1)


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
