"""Weights that change: by the rule, in the ledger, and never again once they stand there."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from dolmix.errors import ConfigError, LedgerError, MixError
from dolmix.mix import Ledger, LedgerRecord, read_lock
from dolmix.mix.updates import code_rule, new_quotas, paper_rule, room_left
from dolmix.order import verify_log
from dolmix.shards import open_store
from dolmix.shards.packs import open_instances
from trainer.checkpoint import complete, read_meta
from trainer.config import TrainConfig
from trainer.data import Data
from trainer.evals import source_losses
from trainer.loop import Training
from trainer.parallel import join_world
from trainer.speed import CLOCKED

Configure = Callable[..., TrainConfig]
Train = Callable[..., bool]
REFERENCES = {"code": 3.9, "web": 4.3}


@pytest.fixture
def dynamic(
    configure: Configure, tmp_path: Path, stores: Callable[..., Path]
) -> Callable[..., TrainConfig]:
    """Build a run of 12 steps whose weights change every 4, on held-out stores."""
    folder = tmp_path / "held-out"
    folder.mkdir()
    paths = {name: str(stores(folder, name, 9 * 12, 70 + n)) for n, name in enumerate(REFERENCES)}

    def build(output: str = "out", **changes: Any) -> TrainConfig:
        settings = {
            "optimizer": {"lr": 2e-2},
            "evaluation": {"stores": paths, "tokens": 7 * 12},
            "dynamic": {"every_steps": 4, "references": REFERENCES},
        }
        return configure(output, **(settings | changes))

    return build


def records(config: TrainConfig) -> tuple[LedgerRecord, ...]:
    """Read a run's ledger."""
    return Ledger.read(config.output / "ledger.jsonl", read_lock(config.lock).order).records


def metrics(config: TrainConfig) -> list[dict[str, Any]]:
    """Read a run's metrics without what depends on the clock."""
    text = (config.output / "metrics.jsonl").read_text()
    return [json.loads(line) | dict.fromkeys(CLOCKED) for line in text.splitlines()]


@pytest.mark.parametrize("rule", ["code", "paper"])
def test_recorded_weights_are_the_rule_on_recorded_losses(
    dynamic: Configure, train: Train, rule: str
) -> None:
    """Each record's weights and quotas follow from what it holds, from the lock on; so do batches.

    The weights of the first are the lock's shares; of each later one, those of the one before.
    """
    settings = {"every_steps": 4, "references": REFERENCES, "rule": rule}
    config = dynamic(dynamic=settings)
    assert train(config)
    lock, made = read_lock(config.lock), records(config)
    assert [(r.stage, r.from_block, r.inputs["step"]) for r in made] == [
        ("main", 2, 4),
        ("main", 4, 8),
    ]
    stage = lock.order.stages[0]
    weights = {name: quota / stage.instances for name, quota in stage.quotas.items()}
    ledger = Ledger(lock.order)
    for record in made:
        held = {
            key: {name: float(text) for name, text in record.inputs[key].items()}
            for key in ("weights", "losses", "references", "new_weights")
        }
        assert held["weights"] == weights
        assert held["references"] == REFERENCES
        apply = code_rule if rule == "code" else paper_rule
        weights = apply(weights, held["losses"], REFERENCES)
        assert held["new_weights"] == weights
        room = room_left(lock, ledger, record.stage, record.from_block)
        rest = ledger.rest(record.stage, record.from_block)
        assert dict(record.quotas) == new_quotas(weights, rest, room=room)
        ledger.append(record.stage, record.from_block, record.quotas, inputs=record.inputs)
    proof = verify_log(lock, config.output)
    assert (proof.ok, proof.chains) == (True, 12)
    assert not verify_log(lock, config.output / "metrics.jsonl", ledger=empty(config)).ok
    assert read_meta(complete(config.output / "checkpoints")[-1]).ledger_hash == made[-1].hash


def empty(config: TrainConfig) -> Path:
    """Write a ledger without records."""
    path = config.output / "empty.jsonl"
    path.write_bytes(b"")
    return path


def test_replay_measures_nothing_and_gives_the_same_run(
    dynamic: Configure, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the ledger of another run, a run trains the same batches to the same losses."""
    first, second = dynamic("first"), dynamic("second")
    assert train(first)
    second.output.mkdir()
    ledger = (first.output / "ledger.jsonl").read_bytes()
    (second.output / "ledger.jsonl").write_bytes(ledger)
    monkeypatch.setattr("trainer.loop.source_losses", pytest.fail)
    assert train(second)
    assert metrics(first) == metrics(second)
    assert (second.output / "ledger.jsonl").read_bytes() == ledger


def test_an_interrupted_run_goes_on_exactly(dynamic: Configure, train: Train) -> None:
    """Stopped after a change, and resumed from before one that stands already: the same run.

    Without `dynamic`, a run that goes on still follows the ledger that there is.
    """
    whole, parts = dynamic("whole"), dynamic("parts", checkpoint={"every_steps": 3})
    assert train(whole)
    assert not train(parts, stop_before=6)
    assert train(dynamic("parts", max_steps=9))
    for path in complete(parts.output / "checkpoints")[1:]:
        path.rename(parts.output / path.name)
    assert train(dynamic("parts", dynamic=None))
    assert metrics(whole) == metrics(parts)
    assert records(whole) == records(parts)


def test_a_ledger_that_is_not_the_runs_own_is_refused(dynamic: Configure, train: Train) -> None:
    """A checkpoint whose record the ledger lacks is not gone on from."""
    config = dynamic()
    assert train(config)
    (config.output / "ledger.jsonl").write_bytes(b"")
    with pytest.raises(LedgerError, match="none of this ledger's"):
        train(dynamic(max_steps=12, log_every=1))


def test_a_run_started_from_anothers_checkpoint_takes_its_ledger_along(
    dynamic: Configure, train: Train
) -> None:
    """`resume: FOLDER` brings the records that the checkpoint had seen, and no later ones."""
    first = dynamic("first", checkpoint={"every_steps": 6, "keep": {"recent": 9}})
    assert train(first)
    path = complete(first.output / "checkpoints")[0]
    second = dynamic("second", resume=str(path))
    assert train(second)
    assert metrics(first)[6:] == metrics(second)
    assert records(first) == records(second)


def test_sources_that_may_give_no_more_are_explained(
    dynamic: Configure, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no source has room for the rest of the stage, the run ends with what to do."""
    monkeypatch.setattr("trainer.reweigh.room_left", lambda *_: {"code": 1, "web": 1})
    with pytest.raises(MixError, match=r"weights after step 4: .* Raise max_epochs"):
        train(dynamic())


def test_settings_that_do_not_fit_are_named(dynamic: Configure, lock: Path, train: Train) -> None:
    """Sources without reference or held-out store, unknown ones, and a store that is trained on."""
    stores = {"code": str(lock.parent / "code@1")}
    settings = {"every_steps": 4, "references": {"web": 4.0, "wiki": 4.0}}
    with pytest.raises(ConfigError) as caught:
        train(dynamic(evaluation={"stores": stores}, dynamic=settings))
    assert [problem.path for problem in caught.value.problems] == [
        "dynamic.references",
        "evaluation.stores",
        "dynamic.references",
    ]
    with pytest.raises(ConfigError, match="is a store that is trained on"):
        train(dynamic(evaluation={"stores": stores}, dynamic=None))


@pytest.mark.parametrize("documents", ["together", "apart"])
def test_source_losses_are_mean_cross_entropies(dynamic: Configure, documents: str) -> None:
    """Losses equal those of plain cross-entropy on whole logits, instance by instance.

    7 instances in microbatches of 2 leave a row over; the model is as it was afterwards.
    """
    config = dynamic(documents=documents)
    with join_world(config) as world, Data(config, rank=0, world=1) as data:
        training = Training(config, data, world)
        found = source_losses(training.model, data.held_out, config, world)
        assert training.model.training
        for source, path in config.evaluation.stores.items():
            with open_store(path) as store:
                instances = open_instances(store, 12)
                rows = np.empty((7, 13), np.uint32)
                instances.read(np.arange(7), rows)
                losses = [*plain_losses(training, rows, instances, documents)]
            assert found[source] == pytest.approx(np.mean(losses), rel=1e-6)


def plain_losses(training: Training, rows: Any, instances: Any, documents: str) -> Iterator[float]:
    """Yield the loss of each token, with documents apart each computed alone."""
    for number, row in enumerate(torch.from_numpy(rows.astype("i8"))):
        at = instances.starts(np.array([number]))[1].tolist() if documents == "apart" else [0]
        cuts = [start for start in at if start < 12]
        for start, stop in zip(cuts, [*cuts[1:], 12], strict=True):
            with torch.no_grad():
                logits, _ = training.model(row[None, start:stop])
            labels = row[start + 1 : stop + 1]
            yield from cross_entropy(logits[0], labels, reduction="none").tolist()
