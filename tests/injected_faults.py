"""Faults that a training process is given before it starts (see `zygote`)."""

import os
from typing import Any

import torch


def nan_in_rank_1() -> None:
    """Rank 1 has a gradient that is no number at steps 3 and 5."""
    _change_gradients(1, {3: torch.nan, 5: torch.nan})


def spike_in_rank_1() -> None:
    """Rank 1's gradients are a thousand times too large at step 9."""
    _change_gradients(1, {9: 1000.0})


def _change_gradients(rank: int, factors: dict[int, float]) -> None:
    """Multiply the gradients of some of a rank's steps before they leave it."""
    from trainer.loop import Training
    from trainer.model import Losses, Model

    now = [0]
    update, forward = Training._update, Model.forward

    def noted(self: Any, step: int, *rest: Any) -> None:
        now[0] = step
        update(self, step, *rest)

    def changed(self: Any, *arguments: Any, **options: Any) -> Any:
        losses = forward(self, *arguments, **options)
        if os.environ["RANK"] != str(rank) or not isinstance(losses, Losses):
            return losses
        return losses._replace(total=losses.total * factors.get(now[0], 1.0))

    Training._update = noted  # type: ignore[method-assign]
    Model.forward = changed  # type: ignore[method-assign]
