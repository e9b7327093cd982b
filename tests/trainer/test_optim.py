"""Schedule and optimiser: OLMoE's published values."""

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given

from dolmix.config import load
from trainer.config import OptimizerConfig, TrainConfig
from trainer.optim import Cosine, adamw, set_lr

BATCH = 1024 * 4096


def olmoe() -> Cosine:
    """Build the schedule of configs/train/olmoe-1b-7b.yaml."""
    config = load(TrainConfig, "configs/train/olmoe-1b-7b.yaml")
    schedule, peak = config.schedule, config.optimizer.lr
    assert schedule.total is not None
    assert schedule.total.tokens is not None
    assert schedule.warmup.tokens is not None
    return Cosine(
        peak=peak,
        warmup_from=peak * schedule.warmup_from_frac,
        final=peak * schedule.final_frac,
        warmup=schedule.warmup.tokens,
        total=schedule.total.tokens,
    )


@pytest.mark.parametrize(
    ("step", "lr"),
    [
        (1, 4.0144e-5),
        (1250, 2.2e-4),
        (2500, 4e-4),
        (100_000, 3.940659e-4),
        (600_000, 2.187148e-4),
        (1_192_093, 4e-5),
        (1_223_842, 4e-5),
    ],
)
def test_olmoe_learning_rates(step: int, lr: float) -> None:
    """Warm-up from a tenth of the peak, then the cosine; a step counts its own batch's tokens."""
    assert olmoe().lr(step * BATCH) == pytest.approx(lr, abs=5e-11)


@given(st.integers(0, 2_000_000))
def test_rate_stays_between_final_and_peak(step: int) -> None:
    """The rate never leaves [final, peak], beyond the end of the schedule included."""
    schedule = olmoe()
    assert schedule.final <= schedule.lr(step * BATCH) <= schedule.peak


def test_no_warmup_starts_at_the_peak() -> None:
    """Without warm-up the first step is on the cosine."""
    schedule = Cosine(peak=1.0, warmup_from=0.1, final=0.0, warmup=0, total=100)
    assert schedule.lr(0) == 1.0
    assert schedule.lr(50) == pytest.approx(0.5)


def test_every_parameter_decays() -> None:
    """With a zero gradient one update multiplies by 1 - lr * decay, for vectors as for matrices."""
    parameters = [torch.nn.Parameter(torch.ones(shape)) for shape in ((4,), (2, 3))]
    optimizer = adamw(parameters, OptimizerConfig(lr=1.0, weight_decay=0.1))
    set_lr(optimizer, 0.5)
    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for parameter in parameters:
        torch.testing.assert_close(parameter.detach(), torch.full_like(parameter, 0.95))
