"""Whole small runs in one process: exact resume, refusals, proofs, metrics, stopping."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dolmix.errors import ConfigError, LockError, UsageError
from dolmix.mix import read_lock
from dolmix.order import CHAIN_START, Batches, chain, diff_locks, difference_lines, row_digests
from trainer.checkpoint import complete, read_meta
from trainer.config import TrainConfig
from trainer.data import Data
from trainer.loop import NonFiniteError, Training
from trainer.parallel import join_world
from trainer.speed import CLOCKED

Configure = Callable[..., TrainConfig]
Train = Callable[..., bool]


def metrics(output: Path) -> list[dict[str, Any]]:
    """Read a run's metrics without what depends on the clock."""
    lines = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        for name in CLOCKED:
            line.pop(name, None)
    return lines


def weights(config: TrainConfig) -> dict[str, torch.Tensor]:
    """Load the weights of a run's latest checkpoint."""
    with join_world(config) as world, Data(config, rank=0, world=1) as data:
        model = Training(config, data, world).model
        return {name: p.full_tensor().detach().clone() for name, p in model.named_parameters()}


def test_resume_is_exact(configure: Configure, train: Train) -> None:
    """Six steps, a checkpoint, and six more give bit for bit the metrics and weights of twelve."""
    whole, halves = configure("whole"), configure("halves")
    assert train(whole)
    assert train(configure("halves", max_steps=6))
    assert train(halves)
    assert metrics(whole.output) == metrics(halves.output)
    assert [line["step"] for line in metrics(halves.output)] == list(range(1, 13))
    first, second = weights(whole), weights(halves)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_metrics_after_a_kill_have_no_step_twice(configure: Configure, train: Train) -> None:
    """Lines written after the last checkpoint, a torn one included, are cut off on resume."""
    config = configure(checkpoint={"every_steps": 5})
    assert not train(config, stop_before=7)
    kept = metrics(config.output)
    with (config.output / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"step": 7}) + "\n" + '{"step": 8, "lo')
    assert train(config)
    lines = metrics(config.output)
    assert lines[:6] == kept
    assert [line["step"] for line in lines] == list(range(1, 13))


def test_proof_is_that_of_the_order(configure: Configure, train: Train, lock: Path) -> None:
    """The chain logged at each step equals the one recomputed from lock and stores."""
    config = configure(chain_every=2)
    train(config)
    expected, value = [], CHAIN_START
    with Batches(lock) as batches:
        for step in range(1, 13):
            value = chain(value, row_digests(batches.tokens(step)))
            expected.append(value.hex() if step % 2 == 0 else None)
    assert [line.get("chain") for line in metrics(config.output)] == expected
    meta = read_meta(complete(config.output / "checkpoints")[-1])
    assert (meta.step, meta.tokens, meta.chain) == (12, 12 * 8 * 12, expected[-1])


def test_loss_starts_at_log_vocabulary_and_falls(configure: Configure, train: Train) -> None:
    """Before any update the loss is near ln V; on data that counts upwards it falls by a third."""
    config = configure(optimizer={"lr": 2e-2}, schedule={"total": {"steps": 24}})
    train(config)
    losses = [line["ce"] for line in metrics(config.output)]
    assert losses[0] == pytest.approx(np.log(64), rel=0.02)
    assert losses[-1] < losses[0] * 0.8


def test_metrics_are_means_over_the_batch(configure: Configure, train: Train, lock: Path) -> None:
    """Sources' losses, weighted by their rows, make ce; loss adds the router losses; lr is set."""
    config = configure()
    train(config)
    with Batches(lock) as batches:
        for line in metrics(config.output):
            rows = np.bincount(batches.places(line["step"]).source, minlength=2)
            parts = zip(batches.order.sources, rows, strict=True)
            mean = sum(line["source_loss"].get(name, 0) * n for name, n in parts) / rows.sum()
            assert line["ce"] == pytest.approx(mean, rel=1e-9)
            expected = line["ce"] + 0.01 * line["lbl"] + 0.001 * line["z"]
            assert line["loss"] == pytest.approx(expected, rel=1e-12)
            assert 1 <= line["balance"] <= 4
            assert line["tokens"] == line["step"] * 8 * 12
            assert 3e-4 <= line["lr"] <= 3e-3


def test_accumulation_keeps_the_cross_entropy(configure: Configure, train: Train) -> None:
    """One microbatch of 8 and four of 2 train alike when no router loss depends on the cut."""
    off = {"load_balance": 0.0, "router_z": 0.0}
    one, four = configure("one", microbatch=8, loss=off), configure("four", loss=off)
    train(one)
    train(four)
    for a, b in zip(metrics(one.output), metrics(four.output), strict=True):
        assert a["ce"] == pytest.approx(b["ce"], rel=1e-4)
        assert a["chain"] == b["chain"]


def test_backends_train_alike(
    configure: Configure, train: Train, small_model: dict[str, Any]
) -> None:
    """The loop and grouped_mm give the same losses within rounding."""
    loop = configure("loop", model=small_model | {"expert_backend": "loop"})
    grouped = configure("grouped")
    train(loop)
    train(grouped)
    for a, b in zip(metrics(loop.output), metrics(grouped.output), strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-4)


def test_dense_tied_models_train_too(
    configure: Configure, train: Train, small_model: dict[str, Any]
) -> None:
    """Without experts, with tied embeddings and grouped-query attention, resume is as exact."""
    model = small_model | {"dense_layers": [0, 1], "tie_embeddings": True, "kv_heads": 1}
    whole = configure("whole", model=model)
    train(whole)
    train(configure("halves", model=model, max_steps=5))
    train(configure("halves", model=model))
    first, second = metrics(whole.output), metrics(whole.output.with_name("halves"))
    assert first == second
    assert all((line["lbl"], line["z"], line["balance"]) == (0, 0, 1) for line in first)


def test_stop_leaves_a_checkpoint(configure: Configure, train: Train) -> None:
    """Asked to stop before step 4, a run ends after step 3 with a checkpoint of it, and goes on."""
    config = configure()
    assert not train(config, stop_before=4)
    assert read_meta(complete(config.output / "checkpoints")[-1]).step == 3
    assert train(config)
    assert metrics(config.output)[-1]["step"] == 12


def test_only_the_last_checkpoints_are_kept(configure: Configure, train: Train) -> None:
    """Of checkpoints at 3, 6, 9, 12, `keep: {recent: 2}` leaves two, and nothing hidden."""
    config = configure(checkpoint={"every_steps": 3, "keep": {"recent": 2}})
    train(config)
    folder = config.output / "checkpoints"
    assert [path.name for path in complete(folder)] == ["step-000009", "step-000012"]
    assert sorted(path.name for path in folder.iterdir()) == ["step-000009", "step-000012"]


def test_another_order_is_refused(
    configure: Configure, train: Train, lock: Path, relock: Callable[..., Path]
) -> None:
    """A checkpoint does not continue on another lock: both order hashes, and what differs."""
    train(configure(max_steps=2))
    other = relock(lock.parent, seed=6)
    with pytest.raises(LockError) as caught:
        train(configure(lock=str(other)))
    for path in (lock, other):
        assert json.loads(path.read_text())["order_hash"] in str(caught.value)
    told = [*difference_lines(diff_locks(read_lock(lock), read_lock(other)))]
    assert "seed: 5 -> 6" in told
    assert all(f"  {line}\n" in str(caught.value) for line in told)


def test_another_model_is_refused(
    configure: Configure, train: Train, small_model: dict[str, Any]
) -> None:
    """A checkpoint of another shape is refused, naming each setting that differs."""
    train(configure(max_steps=2))
    with pytest.raises(ConfigError) as caught:
        train(configure(model=small_model | {"d_ff": 16, "layers": 3}))
    assert [p.path for p in caught.value.problems] == ["model.layers", "model.d_ff"]


def test_changed_settings_are_said_on_resume(
    configure: Configure, train: Train, caplog: pytest.LogCaptureFixture
) -> None:
    """A run that goes on with other settings warns of each with both values, and of no others."""
    train(configure(max_steps=2))
    train(configure(max_steps=4, log_every=1))
    assert "changed since" not in caplog.text
    train(configure(seed=3, loss={"router_z": 0.5}, schedule={"warmup": {"tokens": 9}}))
    warnings = [r.getMessage() for r in caplog.records if r.name == "trainer.loop"]
    assert warnings == [
        f"changed since that checkpoint: {change}"
        for change in (
            "seed 3, was 0",
            "loss.router_z 0.5, was 0.001",
            "schedule.warmup.tokens 9, was None",
            "schedule.warmup.steps None, was 0",
        )
    ]


def test_resume_never_refuses_an_output_in_use(configure: Configure, train: Train) -> None:
    """`resume: never` does not train over existing checkpoints."""
    train(configure(max_steps=2))
    with pytest.raises(UsageError, match="resume: never"):
        train(configure(max_steps=4, resume="never"))


def test_start_from_a_named_checkpoint(configure: Configure, train: Train) -> None:
    """`resume: FOLDER` starts an empty output from that checkpoint and its step."""
    first = configure("first", max_steps=4)
    train(first)
    checkpoint = complete(first.output / "checkpoints")[-1]
    second = configure("second", resume=str(checkpoint))
    train(second)
    assert [line["step"] for line in metrics(second.output)] == list(range(5, 13))


def test_ruined_weights_stop_the_run(configure: Configure, train: Train) -> None:
    """A learning rate that overflows the weights stops the run where a checkpoint is due.

    None is written, the metrics stay valid JSON, and the command names the first step with a loss
    that is no number.
    """
    config = configure(optimizer={"lr": 1e39}, checkpoint={"every_steps": 4}, log_every=3)
    with pytest.raises(
        NonFiniteError, match=r"after step 4, .* not finite; no checkpoint"
    ) as error:
        train(config)
    text = (config.output / "metrics.jsonl").read_text()
    lines = [json.loads(line, parse_constant=pytest.fail) for line in text.splitlines()]
    assert [line["skipped"] for line in lines] == [False, True, True, True]
    assert [line["loss"] is None for line in lines] == [False, True, True, True]
    assert f"dolmix order show {config.lock} --step 2" in str(error.value)
    assert complete(config.output / "checkpoints") == []


@pytest.mark.parametrize(
    "parallel",
    [{"recompute": "blocks"}, {"recompute": "experts"}, {"comm": "step"}, {"loss_chunk": 5}],
    ids=str,
)
def test_how_memory_is_spent_changes_nothing(
    configure: Configure, train: Train, small_model: dict[str, Any], parallel: dict[str, Any]
) -> None:
    """Computing again, gathering once a step and small chunks of logits keep losses and norms."""
    model = small_model | {"expert_backend": "triton"}
    plain = configure("plain", model=model, max_steps=3)
    other = configure("other", model=model, max_steps=3, parallel=parallel)
    train(plain)
    train(other)
    for a, b in zip(metrics(plain.output), metrics(other.output), strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-6)
        assert a["grad_norm"] == pytest.approx(b["grad_norm"], rel=1e-5)


@pytest.mark.parametrize("convention", ["hf", "global"])
def test_other_conventions_are_minimised_and_logged(
    configure: Configure, train: Train, convention: str
) -> None:
    """The loss that is trained holds the convention's balance; both published ones are logged."""
    config = configure(loss={"convention": convention, "load_balance": 0.5}, max_steps=3)
    train(config)
    for line in metrics(config.output):
        expected = line["ce"] + 0.5 * line["lbl"] + 0.001 * line["z"]
        assert line["loss"] == pytest.approx(expected, rel=1e-12)
        assert line["lbl_hf"] == pytest.approx(2 * line["lbl_olmoe"], rel=0.2)
        same = line["lbl_hf"] if convention == "hf" else line["lbl_olmoe"]
        assert line["lbl"] == pytest.approx(same, rel=0.2)
