"""Labels that do not count, padding and firsts of packed pieces, add nothing to the gradients."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy

from dolmix.mix import load_mix, resolve
from trainer.config import TrainConfig
from trainer.data import Data
from trainer.loop import Training
from trainer.model import Model, initial_value
from trainer.parallel import join_world

Configure = Callable[..., TrainConfig]


@pytest.fixture
def padded_lock(lock: Path) -> Path:
    """Resolve the small mix with a document, or a piece of one, in each row."""
    mix = next(lock.parent.glob("mix-*.yaml"))
    path = lock.with_name("padded.lock.json")
    overrides = ["packing=pad"]
    resolved = resolve(load_mix(mix, overrides), mix.read_text(), lock.parent, overrides=overrides)
    resolved.write(path)
    return path


def test_labels_that_do_not_count_add_nothing_to_gradients(
    configure: Configure, padded_lock: Path
) -> None:
    """Gradients are those of plain autograd over the labels that count alone."""
    config = configure(
        lock=str(padded_lock), loss={"load_balance": 0.0, "router_z": 0.0}, microbatch=3
    )
    with join_world(config) as world, Data(config, rank=0, world=1) as data:
        batch = data.batch(1)
        assert batch.labels is not None
        assert 0 < batch.labels.sum() < batch.labels.size
        training = Training(config, data, world)
        training.step.gradients(training._send(batch))
        model = Model(config.model)
        with torch.no_grad():
            for name, p in model.named_parameters():
                p.copy_(initial_value(name, p.shape, seed=config.seed, std=config.model.init_std))
        rows, counted = torch.from_numpy(batch.tokens), torch.from_numpy(batch.labels)
        logits, _ = model(rows[:, :-1])
        ce = cross_entropy(logits[counted], rows[:, 1:][counted], reduction="sum")
        (ce / counted.numel()).backward()
        expected = {name: p.grad for name, p in model.named_parameters()}
        for name, p in training.model.named_parameters():
            grad: Any = p.grad
            torch.testing.assert_close(grad.full_tensor(), expected[name], atol=1e-7, rtol=1e-4)


def test_where_all_labels_count_none_are_sent(configure: Configure, lock: Path) -> None:
    """Under `concat` without loss masks a batch has no mask of labels."""
    with Data(configure(lock=str(lock)), rank=0, world=1) as data:
        assert data.batch(1).labels is None


def test_documents_apart_follow_the_pieces(configure: Configure, padded_lock: Path) -> None:
    """Padding is one more document; each row begins one, whatever its tokens are."""
    config = configure(lock=str(padded_lock), documents="apart", microbatch=4)
    with Data(config, rank=0, world=1) as data:
        batch, rows = data.batch(1), data._batches.rows(1)
    assert batch.documents is not None
    for number, part in enumerate(batch.documents):
        begins = rows.boundaries(4 * number, 4 * number + 4)[:-1].tolist()
        flat = part.ids.reshape(-1)
        changes = [
            n for n in range(flat.size) if n % part.ids.shape[1] == 0 or flat[n] != flat[n - 1]
        ]
        assert changes == begins
        assert part.starts[: len(begins)].tolist() == begins
        assert set(part.starts[len(begins) :].tolist()) <= {flat.size}
