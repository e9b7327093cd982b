"""How likely a model finds the answers of a task, and how often it likes the right one best.

Answers are computed longest first, in batches that hold as many ids, padding included, as a
microbatch of training does. Padding stands on the right, where causal attention does not see it.
Logits are made only where an answer's token is predicted.
"""

import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainer.config import TrainConfig
from trainer.cross_entropy import IGNORED
from trainer.model import Losses, Model
from trainer.parallel import World
from trainer.questions import Task

Floats = NDArray[np.float64]
WIDTH = 8
"""Rows are padded to a multiple of so many ids, and what is predicted of a batch to one of so many
tokens: products of other numbers of rows differ in their last bit with the number of threads."""


def log_likelihoods(
    model: Model,
    task: Task,
    config: TrainConfig,
    world: World,
    *,
    on_progress: Callable[[], None] = lambda: None,
) -> Floats:
    """Sum of log-probabilities of each answer's tokens after its context, (R,) float64, in nats.

    Every rank calls this with the model as it is to be used (see `trainer.evals.measuring`), and
    gets the same numbers. `on_progress` is called before each batch.
    """
    sums = torch.zeros(len(task.tokens), dtype=torch.float64, device=world.device)
    batches = [*_batches(task, config.microbatch * task.window)]
    for start in range(0, len(batches), world.size):
        on_progress()
        place = start + world.rank
        # A rank without a batch of its own computes one too, since all gather weights together.
        losses_B = _losses(model, task, batches[min(place, len(batches) - 1)], config, world)
        if place < len(batches):
            sums[world.send(batches[place])] = -losses_B
    totals: Floats = world.sum(sums).cpu().numpy()
    return totals


def _batches(task: Task, most: int) -> Iterator[NDArray[np.int64]]:
    """Cut the answers, longest first, into batches of at most `most` ids, or of one answer."""
    lengths = np.array([len(tokens) - 1 for tokens in task.tokens])
    ordered = np.argsort(-lengths, kind="stable")
    start = 0
    while start < len(ordered):
        rows = max(1, most // _padded(int(lengths[ordered[start]])))
        yield ordered[start : start + rows]
        start += rows


def _padded(length: int) -> int:
    """Round up to a multiple of `WIDTH`."""
    return -(-length // WIDTH) * WIDTH


def _losses(
    model: Model, task: Task, numbers: NDArray[np.int64], config: TrainConfig, world: World
) -> Tensor:
    """Sum the losses of each answer's tokens, (B,) float64 on the device."""
    width, counts = _padded(max(len(task.tokens[n]) - 1 for n in numbers)), task.lengths[numbers]
    inputs = np.zeros((len(numbers), width), np.int64)
    labels = np.full(_padded(counts.sum()), IGNORED, np.int64)
    places = np.zeros_like(labels)
    stops = counts.cumsum()
    for row, (number, stop) in enumerate(zip(numbers, stops, strict=True)):
        tokens, length = task.tokens[number], task.lengths[number]
        end = len(tokens) - 1
        inputs[row, :end] = tokens[:-1]
        labels[stop - length : stop] = tokens[-length:]
        places[stop - length : stop] = row * width + np.arange(end - length, end)
    losses = model(
        world.send(inputs),
        world.send(labels),
        places_P=world.send(places),
        chunk=config.parallel.loss_chunk,
    )
    assert isinstance(losses, Losses)
    parts = losses.by_token.double().tensor_split(stops.tolist())
    return torch.stack([part.sum() for part in parts[:-1]])


def scores(task: Task, likelihoods: Floats) -> dict[str, float]:
    """Accuracies with their standard errors, chance, questions, bits a byte of the right answers.

    likelihoods (R,) as `log_likelihoods` gives them. `acc` takes the answer with the largest sum,
    `acc_norm` that with the largest sum a character (Gao et al., lm-evaluation-harness; OLMES:
    acc_per_char), `acc_bytes` a byte, `acc_token` a token; the first one where several are equal. A
    standard error is sqrt(p (1 - p) / (n - 1)). `answer_bpb` is the mean over questions of
    -likelihood / (bytes · ln 2) of the right answer, as OLMo's bpb. A task without a choice has
    that alone.
    """
    found: dict[str, float] = {}
    lengths = {
        "acc": np.ones_like(task.bytes),
        "acc_norm": task.characters,
        "acc_bytes": task.bytes,
        "acc_token": task.lengths,
    }
    for name, divisors in lengths.items() if task.has_choice else ():
        accuracy = float((_best(task, likelihoods / divisors) == task.gold).mean())
        error = math.sqrt(accuracy * (1 - accuracy) / max(task.num_questions - 1, 1))
        found |= {name: accuracy, f"{name}_stderr": error}
    if task.has_choice:
        found["chance"] = task.chance
    bits = -likelihoods[task.gold] / (task.bytes[task.gold] * math.log(2))
    return found | {"answer_bpb": float(bits.mean()), "questions": task.num_questions}


def _best(task: Task, values: Floats) -> NDArray[np.int64]:
    """Choose the number of the answer with the largest value of each question, (Q,)."""
    ranges = zip(task.first[:-1], task.first[1:], strict=True)
    return np.array([start + np.argmax(values[start:stop]) for start, stop in ranges])
