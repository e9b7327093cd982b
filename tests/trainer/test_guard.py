"""Updates that are left out: the rule in plain Python, the optimiser untouched, the run stopped."""

import json
import math
import statistics
from collections.abc import Callable

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings

from trainer.checkpoint import complete
from trainer.config import FaultsConfig, OptimizerConfig, TrainConfig
from trainer.guard import Guard, GuardState, SkippedError, Skips
from trainer.optim import AdamW, _left_out
from trainer.step import Step

CPU = torch.device("cpu")


def naive_judge(seen: list[tuple[float, float]], now: tuple[float, float], window: int) -> bool:
    """Say by the rule, in plain Python, whether to leave `now` out; `seen` holds finite steps."""
    if not all(map(math.isfinite, now)):
        return True
    last = seen[-window:]
    if len(last) < max(2, window // 2):
        return False
    columns = zip(*last, strict=True)
    return any(
        value > statistics.fmean(column) + 3.0 * statistics.stdev(column)
        for value, column in zip(now, columns, strict=True)
    )


values = st.one_of(
    st.floats(0.5, 4.0, width=16), st.sampled_from([math.nan, math.inf, 50.0, 3.0, 3.0])
)


@settings(max_examples=60, deadline=None)
@given(steps=st.lists(st.tuples(values, values), max_size=30), window=st.integers(2, 12))
def test_the_rule_is_that_of_the_definition(steps: list[tuple[float, float]], window: int) -> None:
    """What is left out is what mean, standard deviation and window say, for any losses and norms.

    A checkpoint anywhere in between changes nothing.
    """
    config = FaultsConfig(window=window, spike_sigma=3.0)
    guard, seen = Guard(config, CPU), list[tuple[float, float]]()
    for number, now in enumerate(steps):
        if number == len(steps) // 2:
            state = guard.state(Skips(config, GuardState()))
            guard = Guard(config, CPU)
            guard.remember(GuardState.model_validate_json(state.model_dump_json()))
        loss, norm = (torch.tensor(value, dtype=torch.float64) for value in now)
        assert bool(guard.judge(loss, norm)) == naive_judge(seen, now, window)
        if all(map(math.isfinite, now)):
            seen.append(now)


def test_a_level_that_stays_is_accepted_and_a_stage_begins_anew() -> None:
    """After a jump that lasts only a few updates are left out; none are at a stage's beginning."""
    config = FaultsConfig(window=128)
    one = torch.ones(())
    for forget in (False, True):
        guard, skipped = Guard(config, CPU), 0
        for step in range(200):
            if forget and step == 128:
                guard.begin_stage()
            level = (2.0 if step < 128 else 4.0) + 0.01 * (step % 2)
            skipped += int(guard.judge(torch.tensor(level), one + 0.01 * (step % 3)))
        assert skipped == (0 if forget else 4)


@pytest.mark.parametrize("clip", [None, 1.0])
@pytest.mark.parametrize("bad", [math.nan, math.inf, 1e30])
def test_an_update_left_out_changes_nothing(clip: float | None, bad: float) -> None:
    """Weights and moments stay bit for bit; the next update is that of its step's number."""
    drawn = torch.randn(40, generator=torch.Generator().manual_seed(1))
    weights = [torch.nn.Parameter(drawn.clone()) for _ in range(2)]
    with_bad, without = (
        AdamW([w], OptimizerConfig(lr=0.1, clip=clip, weight_decay=0.5)) for w in weights
    )
    for number in range(4):
        gradient = torch.sin(drawn * (number + 1))
        for weight, optimizer in zip(weights, (with_bad, without), strict=True):
            if number == 2:
                kept = weight.detach().clone()
                if optimizer is with_bad:
                    weight.grad = gradient * bad
                    _, skipped = optimizer.update(0.1, lambda norm: ~(norm < 1e20))
                    assert bool(skipped)
                else:
                    optimizer.state[weight]["step"] += 1
                assert torch.equal(weight, kept)
                continue
            weight.grad = gradient.clone()
            optimizer.update(0.1, lambda norm: ~(norm < 1e20))
    assert torch.equal(weights[0], weights[1])
    assert int(with_bad.state[weights[0]]["step"]) == 4


def test_scalars_that_leave_an_update_out_are_neutral() -> None:
    """The kernel's formulas with them give the same weight and moments, whatever they were."""
    factor, keep, beta1, beta2, eps, rate, root = _left_out(torch.rand(7) + 0.1).tolist()
    p, m, v, g = 1.7, -0.3, 0.2, 0.0  # a gradient with factor 0 is not read
    assert factor == 0
    m2, v2 = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g * g
    assert (m2, v2) == (m, v)
    assert p * keep - rate * m2 / (math.sqrt(v2) * root + eps) == p


def test_too_many_updates_left_out_stop_the_run(
    configure: Callable[..., TrainConfig],
    train: Callable[..., bool],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Three bad steps of twelve are one too many for `max_skipped: 2`; the first is named.

    The checkpoint before stays; the run goes on from it as often as it is started.
    """
    gradients, done = Step.gradients, [0]

    def spoiled(self: Step, rows: object) -> torch.Tensor:
        sums = gradients(self, rows)  # type: ignore[arg-type]
        done[0] += 1
        sums[2] *= math.nan if done[0] in (4, 6, 7) else 1.0
        return sums

    monkeypatch.setattr(Step, "gradients", spoiled)
    config = configure(
        log_every=1, faults={"max_skipped": 2}, checkpoint={"every_steps": 5, "keep": {"every": 2}}
    )
    with pytest.raises(SkippedError, match="step 7: update left out, loss nan") as error:
        train(config)
    assert f"dolmix order show {config.lock} --step 4" in str(error.value)
    lines = [json.loads(x) for x in (config.output / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if line["skipped"]] == [4, 6, 7]
    names = [path.name for path in complete(config.output / "checkpoints")]
    assert names == ["step-000002", "step-000004", "step-000005", "step-000006"]
    assert train(config)
