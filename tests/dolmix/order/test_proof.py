"""Logged chains, computed again from the stores: of honest runs, forged logs, changed stores."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from commands import ROOT, command, environment

from dolmix.errors import DataError, LockError, OrderError, UsageError
from dolmix.mix import Ledger, read_lock, resolve_file
from dolmix.order import (
    CHAIN_START,
    Batches,
    Order,
    chain,
    find_document,
    lock_of,
    row_digests,
    step_reached,
    verify_log,
)

Line = dict[str, Any]


def chains_of(lock_file: Path, order: Order | None = None) -> list[bytes]:
    """chain_0 to the last, row by row in this thread."""
    links = [CHAIN_START]
    with Batches(lock_file) as batches:
        batches.order = order or batches.order
        for step in range(1, batches.num_steps + 1):
            links.append(chain(links[-1], row_digests(batches.tokens(step))))
    return links


def write_log(path: Path, links: list[bytes], every: int = 1) -> Path:
    """Write a metrics file as the trainer does, with a chain every few steps."""
    lines: list[Line] = [{"step": n, "loss": 1.5} for n in range(1, len(links))]
    for line in lines:
        if line["step"] % every == 0:
            line["chain"] = links[line["step"]].hex()
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def rewrite(log: Path, change: Callable[[list[Line]], Any]) -> None:
    """Change the lines of a metrics file."""
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    change(lines)
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.mark.parametrize("every", [1, 3, 35])
@pytest.mark.parametrize("threads", [1, 3])
def test_an_honest_log_is_proven(lock_file: Path, every: int, threads: int) -> None:
    """Every logged chain is computed again, whatever the number of readers and of chains."""
    log = write_log(lock_file.parent / "out" / "metrics.jsonl", chains_of(lock_file), every)
    for given in (log, log.parent):
        proof = verify_log(lock_file, given, threads=threads)
        assert proof.ok
        assert (proof.first_step, proof.last_step) == (1, 35 // every * every)
        assert proof.chains == 35 // every


@pytest.mark.parametrize("setting", ["packing=bestfit", "window={chunk: 4, chunks: 3}"])
def test_other_packings_and_draws_are_proven_too(lock_file: Path, setting: str) -> None:
    """A proof is over tokens as they were read, padding included, whatever laid them out."""
    other = lock_file.with_name("other.lock.json")
    resolve_file(lock_file.with_name("small.yaml"), [setting]).write(other)
    links = chains_of(other)
    assert links != chains_of(lock_file)
    log = write_log(lock_file.parent / "metrics.jsonl", links, 5)
    assert verify_log(other, log, threads=4).ok
    assert not verify_log(lock_file, log).ok


@pytest.mark.parametrize("steps", ["10:20", "11:", ":12", "12"])
def test_a_proof_goes_on_from_a_logged_chain(lock_file: Path, steps: str) -> None:
    """A window starts at the last chain before it: rows of earlier steps are not read."""
    log = write_log(lock_file.parent / "metrics.jsonl", chains_of(lock_file), 3)
    proof = verify_log(lock_file, log, steps=steps)
    assert proof.ok
    first, last = {"10:20": (10, 18), "11:": (10, 33), ":12": (1, 9), "12": (10, 12)}[steps]
    assert (proof.first_step, proof.last_step) == (first, last)
    assert proof.chains == (last - first + 1) // 3
    rewrite(log, lambda lines: lines[2].update(chain="00" * 16))
    assert verify_log(lock_file, log, steps="10:").ok


@pytest.mark.parametrize("step", [1, 18, 35])
def test_a_forged_chain_is_named(lock_file: Path, step: int) -> None:
    """The first chain that is not the stores' is told, with both values."""
    links = chains_of(lock_file)
    log = write_log(lock_file.parent / "metrics.jsonl", links)
    rewrite(log, lambda lines: lines[step - 1].update(chain="ab" * 16))
    proof = verify_log(lock_file, log)
    assert not proof.ok
    assert proof.disagreement is not None
    assert (proof.disagreement.after_step, proof.disagreement.step) == (step - 1, step)
    assert proof.disagreement.logged == "ab" * 16
    assert proof.disagreement.computed == links[step].hex()
    assert proof.chains == step - 1


@pytest.mark.parametrize("every", [1, 4])
def test_a_changed_store_is_named_by_the_first_step_that_drew_it(
    lock_file: Path, every: int
) -> None:
    """One token of one document changed: the first step that trained it is the one that differs."""
    log = write_log(lock_file.parent / "metrics.jsonl", chains_of(lock_file), every)
    (document,) = find_document(lock_file, "web-9")
    offset = document.sightings[0].document_start
    drawn = [
        seen.step
        for seen in document.sightings
        if seen.document_start <= offset < seen.document_start + seen.stop - seen.start
    ]
    shards = sorted((lock_file.parent / "stores" / "web@1" / "shards").glob("*.tok"))
    with Batches(lock_file) as batches:
        web = batches.stores[batches.order.source_index("web")]
        position = web.document_span(document.document)[0] + offset
    for shard in shards:
        tokens = np.fromfile(shard, "<u2")
        if position < tokens.size:
            tokens[position] = 1 + tokens[position] % 999
            tokens.tofile(shard)
            break
        position -= tokens.size
    wrong = verify_log(lock_file, log).disagreement
    assert wrong is not None
    assert wrong.after_step < min(drawn) <= wrong.step
    assert wrong.step - wrong.after_step == every


def test_a_run_with_a_ledger_is_proven_by_it(lock_file: Path) -> None:
    """The ledger in the run's folder is followed; without it the changed steps would differ."""
    lock = read_lock(lock_file)
    ledger = Ledger(lock.order)
    rest = lock.order.stages[0].instances - 3 * lock.order.block
    ledger.append("main", 3, {"web": rest - 20, "code": 20, "docs": 0}, inputs={})
    links = chains_of(lock_file, Order(lock.order, ledger.records))
    log = write_log(lock_file.parent / "out" / "metrics.jsonl", links)
    wrong = verify_log(lock_file, log).disagreement
    assert wrong is not None
    assert wrong.step == 7  # block 3 begins with instance 24, the first of step 7
    ledger.write(log.parent / "elsewhere.jsonl")
    assert verify_log(lock_file, log, ledger=log.parent / "elsewhere.jsonl").ok
    ledger.write(log.parent / "ledger.jsonl")
    assert verify_log(lock_file, log).ok
    with pytest.raises(UsageError, match="no such ledger"):
        verify_log(lock_file, log, ledger=log.parent / "gone.jsonl")


def write_checkpoint(run: Path, step: int, chain_hex: str, order_hash: str, lock: str) -> Path:
    """Write what a checkpoint tells about itself."""
    folder = run / "checkpoints" / f"step-{step:06d}"
    folder.mkdir(parents=True)
    meta = {"step": step, "order_hash": order_hash, "chain": chain_hex, "config": {"lock": lock}}
    (folder / "meta.json").write_text(json.dumps(meta))
    return folder


def test_a_checkpoint_is_a_log_of_one_chain(lock_file: Path) -> None:
    """Its chain proves all steps up to it; it names its lock, and another order is refused."""
    links, lock = chains_of(lock_file), read_lock(lock_file)
    run = lock_file.parent / "out"
    early = write_checkpoint(run, 8, links[8].hex(), lock.order_hash, "old.lock.json")
    late = write_checkpoint(run, 20, links[20].hex(), lock.order_hash, str(lock_file))
    proof = verify_log(lock_file, late)
    assert proof.ok
    assert (proof.last_step, proof.chains) == (20, 1)
    assert lock_of(run) == lock_of(late) == lock_file
    with pytest.raises(UsageError, match="--lock"):
        lock_of(early)
    log = write_log(run / "metrics.jsonl", links)
    assert lock_of(log) == lock_file
    write_checkpoint(run, 30, links[30].hex(), "0" * 64, str(lock_file))
    with pytest.raises(LockError, match=f"run   {'0' * 64}"):
        verify_log(lock_file, log)


def test_the_step_reached_is_told_by_numbers_runs_logs_and_checkpoints(lock_file: Path) -> None:
    """What a run has done is its last whole line, or its checkpoint's step; a torn line is none."""
    links = chains_of(lock_file)
    log = write_log(lock_file.parent / "out" / "metrics.jsonl", links[:13], 5)
    with log.open("a") as lines:
        lines.write('{"step": 13, "chain": "77')
    assert verify_log(lock_file, log, steps=":11").chains == 2
    checkpoint = write_checkpoint(log.parent, 10, links[10].hex(), "0" * 64, "x")
    told = [step_reached(str(w)) for w in (7, log, log.parent, checkpoint)]
    assert told == [7, 12, 12, 10]
    with pytest.raises(UsageError, match="neither a step"):
        step_reached(str(lock_file.parent / "nothing"))


def drop_chains(lines: list[Line]) -> None:
    """Take every chain out."""
    for line in lines:
        line.pop("chain", None)


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        (lambda lines: lines.append(dict(lines[4])), DataError, "step 5 comes after step 35"),
        (lambda lines: lines[3].update(chain="xyz"), DataError, "32 hex digits"),
        (lambda lines: lines[3].update(chain="g" * 32), DataError, "not hexadecimal"),
        (lambda lines: lines[3].pop("step"), DataError, "line 4 is no line"),
        (drop_chains, DataError, "chain_every"),
        (lambda lines: lines[34].update(step=36), OrderError, "ends with step 35"),
    ],
)
def test_logs_that_are_none_are_refused(
    lock_file: Path, change: Callable[[list[Line]], Any], error: type[Exception], said: str
) -> None:
    """Damaged lines, steps out of order and logs of other locks are told apart and refused."""
    log = write_log(lock_file.parent / "metrics.jsonl", chains_of(lock_file))
    rewrite(log, change)
    with pytest.raises(error, match=said):
        verify_log(lock_file, log)


def test_windows_without_a_chain_are_refused(lock_file: Path) -> None:
    """Where no chain was logged within the steps, nothing can be proven."""
    log = write_log(lock_file.parent / "metrics.jsonl", chains_of(lock_file), 10)
    with pytest.raises(OrderError, match="no chain within the steps 11 to 19"):
        verify_log(lock_file, log, steps="11:20")


@pytest.mark.e2e
def test_a_real_training_run_is_proven(lock_file: Path) -> None:
    """What the trainer logs, trained on one process, `order verify` finds in the stores again."""
    pytest.importorskip("torch", reason="needs the extra `train`")
    model = {"vocab": 1000, "d_model": 16, "layers": 1, "heads": 2, "experts": 2, "top_k": 1}
    raw = {
        "lock": str(lock_file), "output": str(lock_file.parent / "out"), "seed": 3, "threads": 1,
        "microbatch": 4, "model": model | {"d_ff": 16}, "optimizer": {"lr": 1e-3},
    }  # fmt: skip
    config = lock_file.parent / "train.yaml"
    config.write_text(yaml.safe_dump(raw))

    def dolmix(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command(*arguments), capture_output=True, text=True, env=environment(), cwd=ROOT,
            check=False,
        )  # fmt: skip

    done = dolmix("train", config)
    assert done.returncode == 0, done.stderr
    told = dolmix("order", "verify", lock_file.parent / "out", "--json")
    assert told.returncode == 0, told.stderr
    proof = json.loads(told.stdout)
    assert (proof["ok"], proof["first_step"], proof["last_step"]) == (True, 1, 35)
    assert proof["chains"] > 0
