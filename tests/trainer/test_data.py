"""Batches from a lock: the same for any number of ranks, and refused where they do not fit."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dolmix.errors import ConfigError, LockError, OrderError
from dolmix.order import Batches, row_digests
from trainer.config import Span, TrainConfig
from trainer.data import Data

Configure = Callable[..., TrainConfig]


@pytest.mark.parametrize("world", [1, 2, 4, 8])
def test_ranks_share_the_same_batch(configure: Configure, lock: Path, world: int) -> None:
    """Rows, sources and digests of all ranks, interleaved, are the order's batch in place order."""
    with Batches(lock) as whole:
        rows, places = whole.tokens(3), whole.places(3)
    for rank in range(world):
        with Data(configure(), rank=rank, world=world) as data:
            batch = data.batch(3)
        np.testing.assert_array_equal(batch.tokens, rows[rank::world])
        np.testing.assert_array_equal(batch.sources, places.source[rank::world])
        np.testing.assert_array_equal(batch.digests, row_digests(rows)[rank::world])


def test_spans_follow_the_batch_schedule(configure: Configure) -> None:
    """A span in steps is the tokens of those steps; a span in tokens is itself."""
    with Data(configure(), rank=0, world=1) as data:
        assert data.tokens_in(Span(steps=3)) == data.tokens_through(3) == 3 * 8 * 12
        assert data.tokens_in(Span(tokens=77)) == 77
        assert data.tokens_through(0) == 0
        assert data.num_steps == 12


def test_misfits_are_reported_together(configure: Configure, small_model: dict[str, Any]) -> None:
    """Too many steps, too few ids and too long a warm-up are one error with all numbers."""
    config = configure(
        max_steps=13,
        model=small_model | {"vocab": 60},
        schedule={"warmup": {"steps": 5}, "total": {"tokens": 479}},
    )
    with pytest.raises(ConfigError) as caught:
        Data(config, rank=0, world=1)
    assert [str(problem) for problem in caught.value.problems] == [
        "max_steps: 13, but the lock has 12 steps",
        "model.vocab: 60, but the stores' tokenizer has ids up to 60: 61 or more is needed",
        (
            "schedule.warmup: 480 tokens, but the schedule ends after 479 (schedule.total): "
            "shorten the warm-up"
        ),
    ]


def test_ranks_must_divide_every_batch(configure: Configure) -> None:
    """Three ranks on batches of 8 are refused before the first step, with both numbers."""
    with pytest.raises(OrderError, match="3 processes cannot share a batch of 8 instances"):
        Data(configure(), rank=0, world=3)


def test_another_store_is_refused(configure: Configure, lock: Path, rewrite_store: Any) -> None:
    """A store whose content is not the locked one is refused."""
    config = configure()
    rewrite_store(lock.parent, "web")
    with pytest.raises(LockError, match="source 'web'"):
        Data(config, rank=0, world=1)
