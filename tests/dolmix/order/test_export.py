"""The order as Parquet, and OLMo's own index file, read back."""

from pathlib import Path

import mix_stores
import numpy as np
import pyarrow.parquet as pq
import pytest

from dolmix.errors import OrderError
from dolmix.mix import Ledger, read_lock, resolve_file
from dolmix.order import (
    Order,
    export,
    export_olmo_indices,
    export_order,
    open_order,
    parse_steps,
    step_documents,
)

OLMO_MIX = """\
name: olmo
seed: 6198
sequence_length: 16
order: olmo
batch_size: 8
sources:
  web: {store: stores/web@1, max_epochs: 2}
  code: {store: stores/code@1, max_epochs: 2}
stages:
  - {name: main, tokens: 2_000}
"""


@pytest.mark.parametrize("steps", [None, "24:28", "35"])
@pytest.mark.parametrize("chunk", [7, 1 << 16])
def test_what_is_read_back_is_the_order(
    lock_file: Path, monkeypatch: pytest.MonkeyPatch, steps: str | None, chunk: int
) -> None:
    """Rows of every kind, in any window and any row groups, are those that `show` lists."""
    monkeypatch.setattr(export, "CHUNK", chunk)
    order, lock = open_order(lock_file), read_lock(lock_file)
    places, pieces, documents = [], [], []
    for step in parse_steps(steps, order.num_steps):
        for row in step_documents(lock_file, step):
            told = row.model_dump(exclude={"documents"})
            place = {"step": step, "stage": order.stage_of(step), **told}
            places.append(place)
            for run in row.documents:
                held = run.model_dump(include={"document", "start", "stop", "document_start"})
                named = run.model_dump(include={"id", "url", "path", "record"})
                pieces.append(place | held)
                documents.append(place | held | named)
    expected = {"instances": places, "pieces": pieces, "documents": documents}
    for rows, listed in expected.items():
        path = lock_file.parent / "out" / f"{rows}.parquet"
        written = export_order(lock_file, path, steps=steps, rows=rows)
        table = pq.read_table(path)
        assert table.to_pylist() == listed
        assert (written.rows, written.instances) == (len(listed), len(places))
        told = {k.decode(): v.decode() for k, v in table.schema.metadata.items()}
        assert told["dolmix.order_hash"] == lock.order_hash
        assert [p.name for p in path.parent.iterdir() if p.name.startswith(".")] == []


def test_equal_exports_are_equal_bytes(lock_file: Path) -> None:
    """The same window of the same order gives the same file, and replaces what was there."""
    path = lock_file.parent / "order.parquet"
    export_order(lock_file, path, steps="1:5")
    first = path.read_bytes()
    export_order(lock_file, path, steps="1:6")
    assert path.read_bytes() != first
    export_order(lock_file, path, steps="1:5")
    assert path.read_bytes() == first


def test_instances_are_exported_without_any_store(lock_file: Path) -> None:
    """Rows of instances follow from the lock alone; pieces need the stores, and say so."""
    for store in (lock_file.parent / "stores").iterdir():
        store.rename(store.with_name(f"gone-{store.name}"))
    path = lock_file.parent / "order.parquet"
    assert export_order(lock_file, path, rows="instances").rows == 140
    with pytest.raises(Exception, match="is no store"):
        export_order(lock_file, lock_file.parent / "pieces.parquet")
    assert not (lock_file.parent / "pieces.parquet").exists()


def test_an_export_along_a_ledger_names_it(lock_file: Path) -> None:
    """Rows are those of the changed order, and the file tells whose ledger changed it."""
    lock, path = read_lock(lock_file), lock_file.parent / "order.parquet"
    ledger = Ledger(lock.order)
    rest = lock.order.stages[0].instances - 3 * lock.order.block
    ledger.append("main", 3, {"web": rest - 20, "code": 20, "docs": 0}, inputs={})
    ledger.write(lock_file.parent / "ledger.jsonl")
    export_order(lock, path, rows="instances", ledger=lock_file.parent / "ledger.jsonl")
    table = pq.read_table(path)
    places = Order(lock.order, ledger.records).places(0, 140)
    assert table.column("instance").to_pylist() == places.instance.tolist()
    assert table.schema.metadata[b"dolmix.ledger_hash"].decode() == ledger.hash
    export_order(lock, path, rows="instances")
    assert b"dolmix.ledger_hash" not in pq.read_schema(path).metadata


@pytest.fixture
def olmo_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Lock of an `order: olmo` over two sources of 58 and 30 instances."""
    monkeypatch.chdir(tmp_path)
    mix_stores.write_small_mix(tmp_path)
    (tmp_path / "olmo.yaml").write_text(OLMO_MIX)
    resolve_file(tmp_path / "olmo.yaml").write(tmp_path / "olmo.lock.json")
    return tmp_path / "olmo.lock.json"


@pytest.mark.parametrize("epoch", [0, 1])
def test_olmos_indices_are_those_that_its_loader_makes(olmo_lock: Path, epoch: int) -> None:
    """The file is OLMo's: numpy's PCG64 shuffle of all instance numbers, u32 without a header."""
    path = olmo_lock.parent / "global_indices.npy"
    written = export_olmo_indices(olmo_lock, path, epoch=epoch)
    lock = read_lock(olmo_lock)
    supply = {s: lock.order.sources[s].num_instances for s in ("code", "web")}
    numbers = np.arange(sum(supply.values()), dtype=np.uint32)
    np.random.Generator(np.random.PCG64(seed=6198 + epoch)).shuffle(numbers)
    read = np.memmap(path, mode="r", dtype=np.uint32)
    assert np.array_equal(read, numbers)
    order, per_epoch = open_order(lock), len(numbers) // 8 * 8
    places = order.places(epoch * per_epoch, min((epoch + 1) * per_epoch, order.num_instances))
    starts = np.array([0, supply["code"]])
    assert np.array_equal(starts[places.source] + places.instance, read[: len(places)])
    assert (written.rows, written.instances) == (len(numbers), len(places))
    first, last = written.first_step, written.last_step
    assert order.schedule.offset(first - 1) == epoch * per_epoch
    assert order.schedule.offset(last) == places.k[-1] + 1


def test_olmos_indices_are_refused_for_other_orders(lock_file: Path, olmo_lock: Path) -> None:
    """Another order has other instances, so its numbers would name other tokens to OLMo."""
    path = olmo_lock.parent / "global_indices.npy"
    with pytest.raises(OrderError, match="order: olmo"):
        export_olmo_indices(lock_file, path)
    with pytest.raises(OrderError, match="before epoch 9"):
        export_olmo_indices(olmo_lock, path, epoch=9)
    assert not path.exists()
