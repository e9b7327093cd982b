"""Batches from a lock: the same for any number of ranks, and refused where they do not fit."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dolmix.errors import ConfigError, DolmixError, LockError, OrderError
from dolmix.order import Batches, row_digests
from trainer.config import Span, TrainConfig
from trainer.data import Data, open_data
from trainer.fits import tokens_in

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
        assert tokens_in(Span(steps=3), data.lock.order) == data.tokens_through(3) == 3 * 8 * 12
        assert tokens_in(Span(tokens=77), data.lock.order) == 77
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
        (
            "schedule.warmup: 480 tokens, but the schedule ends after 479 (schedule.total): "
            "shorten the warm-up"
        ),
        "model.vocab: 60, but the stores' tokenizer has ids up to 60: 61 or more is needed",
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


class _TwoRanks:
    """The world as the first of two ranks sees it, whose other one found some problem."""

    rank, size = 0, 2

    def __init__(self, other: str) -> None:
        self.other = other

    def gather_texts(self, mine: str) -> list[str]:
        """Give both ranks' problems."""
        return [mine, self.other]


@pytest.mark.parametrize("here", [True, False], ids=["here", "there"])
def test_a_file_that_one_machine_lacks_is_named_on_all(
    configure: Configure, tmp_path: Path, *, here: bool
) -> None:
    """A tokenizer that only one rank misses is that rank's message on both; both get an answer."""
    evaluation = {"every_steps": 2, "tasks": {"t": "q"}, "tokenizer": {"path": "none.json"}}
    config = configure(**({"evaluation": evaluation} if here else {}))
    world: Any = _TwoRanks("" if here else "none.json is missing there")
    with pytest.raises(DolmixError, match=r"none\.json") as caught:
        open_data(config, world)
    assert type(caught.value) is DolmixError


def test_what_all_ranks_find_alike_keeps_its_kind(configure: Configure) -> None:
    """A wrong setting is a ConfigError, with its exit code, on every rank."""
    config = configure(max_steps=13)
    with pytest.raises(ConfigError) as alone:
        Data(config, rank=0, world=2)
    world: Any = _TwoRanks(str(alone.value))
    with pytest.raises(ConfigError, match="13, but the lock has 12 steps"):
        open_data(config, world)
