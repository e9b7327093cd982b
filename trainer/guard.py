"""Updates that are left out: decided on the device, alike on every rank, without waiting for it.

An update is left out if its loss or gradient norm is no finite number, or lies more than
`spike_sigma` standard deviations above the mean of the `window` steps before it. That is the rule
of OLMo-core's `SkipStepOptimizer` (there two-sided), with its numbers. As there, a spike enters the
window: a level that stays is taken for the new one after a few steps. Every stage begins with an
empty window, since its mix is another. Loss and norm are sums over all ranks, so all decide alike.
"""

from collections.abc import Iterable

import torch
from torch import Tensor

from dolmix.config import Schema
from dolmix.errors import DolmixError
from trainer.config import FaultsConfig


class SkippedError(DolmixError):
    """More updates were left out than the configuration allows."""


class GuardState(Schema):
    """What a checkpoint keeps of the steps before it."""

    losses: tuple[float, ...] = ()
    """Loss of the last steps of the stage, earliest first."""
    norms: tuple[float, ...] = ()
    """Their gradient norms."""
    num_skipped: int = 0
    """Updates left out since the run began."""
    skipped: tuple[int, ...] = ()
    """Steps whose update was left out, of the last `window` steps."""


class Guard:
    """Remembers the last steps and says which update to leave out."""

    def __init__(self, config: FaultsConfig, device: torch.device) -> None:
        self.config = config
        self._seen_2W = torch.full((2, config.window), torch.nan, dtype=torch.float64).to(device)

    def judge(self, loss: Tensor, norm: Tensor) -> Tensor:
        """Whether to leave an update out, () bool on the device, and remember loss and norm."""
        now_2 = torch.stack([loss.double(), norm.double()])
        finite = now_2.isfinite().all()
        skip = ~finite
        if self.config.spike_sigma is not None:
            skip = skip | self._is_spike(now_2, self.config.spike_sigma)
        moved_2W = torch.cat([self._seen_2W[:, 1:], now_2[:, None]], dim=1)
        self._seen_2W = torch.where(finite, moved_2W, self._seen_2W)
        return skip

    def _is_spike(self, now_2: Tensor, sigma: float) -> Tensor:
        known_2W = ~self._seen_2W.isnan()
        count_2 = known_2W.sum(1)
        mean_2 = torch.where(known_2W, self._seen_2W, 0.0).sum(1) / count_2
        off_2W = torch.where(known_2W, self._seen_2W - mean_2[:, None], 0.0)
        std_2 = (off_2W.square().sum(1) / (count_2 - 1)).sqrt()
        enough_2 = count_2 >= max(2, self.config.window // 2)
        return (enough_2 & (now_2 > mean_2 + sigma * std_2)).any()

    def begin_stage(self) -> None:
        """Forget the steps before."""
        self._seen_2W = torch.full_like(self._seen_2W, torch.nan)

    def remember(self, state: GuardState) -> None:
        """Go on from what a checkpoint kept."""
        self.begin_stage()
        last = min(len(state.losses), self.config.window)
        if last:
            seen_2N = torch.tensor([state.losses[-last:], state.norms[-last:]], dtype=torch.float64)
            self._seen_2W[:, -last:] = seen_2N.to(self._seen_2W.device)

    def state(self, skips: "Skips") -> GuardState:
        """Give what a checkpoint has to keep; waits for the device."""
        losses, norms = self._seen_2W.cpu()
        known = ~losses.isnan()
        return GuardState(
            losses=tuple(losses[known].tolist()),
            norms=tuple(norms[known].tolist()),
            num_skipped=skips.total,
            skipped=tuple(skips.recent),
        )


class Skips:
    """Counts on the host the updates that were left out."""

    def __init__(self, config: FaultsConfig, state: GuardState) -> None:
        self.config = config
        self.total = state.num_skipped
        self.recent = list(state.skipped)

    def note(self, step: int, skipped: Iterable[int]) -> None:
        """Take the steps up to `step` that were left out since the last call."""
        for one in skipped:
            self.total += 1
            self.recent.append(one)
        self.recent = [one for one in self.recent if one > step - self.config.window]

    @property
    def too_many(self) -> bool:
        """Whether the run should stop."""
        return len(self.recent) > self.config.max_skipped
