"""Schedule and optimiser: OLMoE's published values, curves at their corners, one update."""

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given

from dolmix.config import load
from trainer.config import OptimizerConfig, TrainConfig
from trainer.optim import AdamW
from trainer.schedule import Curve, Schedule

BATCH = 1024 * 4096


def of_file(name: str) -> Schedule:
    """Build the schedule of a file in configs/train whose spans are given in tokens."""
    config = load(TrainConfig, f"configs/train/{name}.yaml")
    schedule, peak = config.schedule, config.optimizer.lr
    assert schedule.total is not None
    assert schedule.total.tokens is not None
    warmup = schedule.warmup.tokens or 0
    return Schedule(
        curve=schedule.type,
        peak=peak,
        warmup_from=peak * schedule.warmup_from_frac,
        final=peak * schedule.final_frac,
        warmup=warmup,
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
    assert of_file("olmoe-1b-7b").lr(step * BATCH) == pytest.approx(lr, abs=5e-11)


@pytest.mark.parametrize(
    ("step", "lr"), [(0, 4e-5), (1, 4e-5 * 23841 / 23842), (11921, 2e-5), (23842, 0), (23843, 0)]
)
def test_anneal_is_a_straight_line_to_zero(step: int, lr: float) -> None:
    """The anneal starts at the end of the cosine, without warm-up, and ends at 0 after 100 B."""
    assert of_file("olmoe-1b-7b-anneal").lr(step * BATCH) == pytest.approx(lr, abs=1e-15)


@given(st.integers(0, 2_000_000))
def test_rate_stays_between_final_and_peak(step: int) -> None:
    """The rate never leaves [final, peak], beyond the end of the schedule included."""
    schedule = of_file("olmoe-1b-7b")
    assert schedule.final <= schedule.lr(step * BATCH) <= schedule.peak


@pytest.mark.parametrize(
    ("curve", "decay", "values"),
    [
        ("cosine", 0, (1.0, 0.775, 0.55, 0.325, 0.1)),
        ("linear", 0, (1.0, 0.7, 0.55, 0.4, 0.1)),
        ("wsd", 40, (1.0, 1.0, 1.0, 0.775, 0.1)),
        ("wsd", 0, (1.0, 1.0, 1.0, 1.0, 0.1)),
        ("constant", 0, (1.0, 1.0, 1.0, 1.0, 1.0)),
    ],
)
def test_curves_after_the_warmup(curve: Curve, decay: int, values: tuple[float, ...]) -> None:
    """Each curve at the warm-up's end, a third, the middle, two thirds and the end, to 1e-7."""
    schedule = Schedule(
        curve=curve, peak=1.0, warmup_from=0.2, final=0.1, warmup=10, total=100, decay=decay
    )
    assert schedule.lr(0) == 0.2
    assert schedule.lr(5) == pytest.approx(0.6)
    at = (10, 40, 55, 70, 100)
    assert [schedule.lr(t) for t in at] == pytest.approx(values, abs=1e-7)
    assert schedule.lr(1000) == values[-1]


def test_no_warmup_starts_at_the_peak() -> None:
    """Without warm-up the first step is on the cosine."""
    schedule = Schedule(curve="cosine", peak=1.0, warmup_from=0.1, final=0.0, warmup=0, total=100)
    assert schedule.lr(0) == 1.0
    assert schedule.lr(50) == pytest.approx(0.5)


def test_every_parameter_decays() -> None:
    """With a zero gradient one update multiplies by 1 - lr * decay, for vectors as for matrices."""
    parameters = [torch.nn.Parameter(torch.ones(shape)) for shape in ((4,), (2, 3))]
    optimizer = AdamW(parameters, OptimizerConfig(lr=1.0, weight_decay=0.1))
    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter)
    assert optimizer.update(0.5)[0].item() == 0
    for parameter in parameters:
        torch.testing.assert_close(parameter.detach(), torch.full_like(parameter, 0.95))


@pytest.mark.parametrize(("clip", "factor"), [(1.0, 0.2), (None, 1.0), (9.0, 1.0)])
def test_clipping_is_by_the_norm_of_all(clip: float | None, factor: float) -> None:
    """Gradients 3 and 4 have norm 5; only a larger norm than `clip` is scaled down to it."""
    parameters = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
    optimizer = AdamW(parameters, OptimizerConfig(lr=1.0, clip=clip, eps=1.0, weight_decay=0))
    for parameter, grad in zip(parameters, (3.0, 4.0), strict=True):
        parameter.grad = torch.tensor([grad])
    assert optimizer.update(1.0)[0].item() == pytest.approx(5)
    found = [p.item() for p in parameters]
    # First step of Adam: bias-corrected moments are g and g², so the update is g / (|g| + eps).
    expected = [-g * factor / (g * factor + 1) for g in (3, 4)]
    assert found == pytest.approx(expected, rel=1e-5)
    assert all(p.grad is None for p in parameters)
