"""AdamW and the learning-rate schedule, as OLMoE trained.

The rate of a step is a pure function of the tokens seen, its own batch included, so resuming needs
no scheduler state.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import nn
from torch.optim import AdamW

from trainer.config import OptimizerConfig


@dataclass(frozen=True)
class Cosine:
    """Linear from `warmup_from` to `peak` at `warmup` tokens, then cosine to `final` at `total`."""

    peak: float
    warmup_from: float
    final: float
    warmup: int
    total: int

    def lr(self, tokens: int) -> float:
        """Learning rate of the step that ends at `tokens`."""
        if tokens < self.warmup:
            return self.warmup_from + (self.peak - self.warmup_from) * tokens / self.warmup
        if tokens >= self.total:
            return self.final
        done = (tokens - self.warmup) / (self.total - self.warmup)
        return self.final + (self.peak - self.final) * (1 + math.cos(math.pi * done)) / 2


def adamw(parameters: Iterable[nn.Parameter], config: OptimizerConfig) -> AdamW:
    """One group: OLMoE decays every parameter. The rate is set before each step."""
    return AdamW(
        parameters,
        lr=config.lr,
        betas=config.betas,
        eps=config.eps,
        weight_decay=config.weight_decay,
        fused=True,
    )


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set the learning rate of the next step."""
    for group in optimizer.param_groups:
        group["lr"] = lr
