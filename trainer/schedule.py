"""The learning rate of a step: a pure function of the tokens seen, its own batch included.

So resuming needs no scheduler state. Values of OLMoE's recipe at named steps are tested.
"""

import math
from dataclasses import dataclass
from typing import Literal

Curve = Literal["cosine", "linear", "wsd", "constant"]


@dataclass(frozen=True)
class Schedule:
    """From `warmup_from` linearly to `peak` at `warmup`, then a curve to `final` at `total`."""

    curve: Curve
    peak: float
    warmup_from: float
    final: float
    warmup: int
    total: int
    decay: int = 0
    """Tokens of the falling part of `wsd`."""

    def lr(self, tokens: int) -> float:
        """Learning rate of the step that ends at `tokens`."""
        if tokens < self.warmup:
            return self.warmup_from + (self.peak - self.warmup_from) * tokens / self.warmup
        if self.curve == "constant":
            return self.peak
        if tokens >= self.total:
            return self.final
        return self.final + (self.peak - self.final) * self._left(tokens)

    def _left(self, tokens: int) -> float:
        """Share of the way from final to peak that is left, in [0, 1]."""
        if self.curve == "wsd":
            return min(1.0, (self.total - tokens) / self.decay) if self.decay else 1.0
        done = (tokens - self.warmup) / (self.total - self.warmup)
        return 1 - done if self.curve == "linear" else (1 + math.cos(math.pi * done)) / 2
