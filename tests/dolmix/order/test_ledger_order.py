"""The order of a run whose weights changed: forward, backward, resumed, on any world size."""

import mix_stores
import naive_order as naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dolmix.errors import LedgerError, OrderError
from dolmix.mix import Ledger, OrderSpec, new_quotas
from dolmix.order import Order

SUPPLY = {"code": 30, "papers": 11, "web": 90}
QUOTAS = [
    ("main", "fresh", {"code": 60, "papers": 20, "web": 160}),
    ("anneal", "reuse", {"code": 20, "papers": 20, "web": 24}),
    ("cool", "fresh", {"code": 10, "papers": 5, "web": 33}),
]


def spec(block: int = 16) -> OrderSpec:
    """Return an order of 240 fresh, 64 reused and 48 fresh instances in steps of 8."""
    return mix_stores.order_spec(SUPPLY, QUOTAS, block=block, phases=[(1, 8)])


def triples(order: Order) -> list[tuple[str, int, int]]:
    """Every (source, epoch, instance) of an order."""
    places = order.places(0, order.num_instances)
    columns = (places.source.tolist(), places.epoch.tolist(), places.instance.tolist())
    return [(order.sources[s], e, i) for s, e, i in zip(*columns, strict=True)]


def trained(changes: int, *, block: int = 16) -> tuple[Ledger, list[tuple[str, int, int]]]:
    """Train with new weights every seventh step: the ledger, and what each step was given."""
    ledger, issued = Ledger(spec(block)), []
    order = Order(spec(block))
    for step in range(1, order.num_steps + 1):
        batch = order.batch(step)
        columns = (batch.source.tolist(), batch.epoch.tolist(), batch.instance.tolist())
        issued += [(order.sources[s], e, i) for s, e, i in zip(*columns, strict=True)]
        due = order.open_block(step)
        if step % 7 == 0 and due is not None and len(ledger) < changes:
            stage, number = due
            size = next(s.instances for s in order.spec.stages if s.name == stage)
            weights = {"code": 1 + step % 3, "papers": 0.5, "web": 10 / step}
            rest = size - number * order.spec.block
            ledger.append(stage, number, new_quotas(weights, rest), inputs={"step": step})
            order = order.with_ledger(ledger)
    return ledger, issued


def test_a_run_with_five_changes_is_a_function_of_lock_and_ledger() -> None:
    """What was issued while the ledger grew is what the whole ledger gives from the start."""
    ledger, issued = trained(5)
    assert len(ledger) == 5
    assert len({record.stage for record in ledger.records}) > 1
    assert triples(Order(spec()).with_ledger(ledger)) == issued
    assert issued != triples(Order(spec()))


def test_an_order_with_a_ledger_matches_its_naive_twin() -> None:
    """Counters walked block by block give the same run."""
    ledger, issued = trained(5)
    stages = [naive.NaiveStage(n, sum(q.values()), kind, q) for n, kind, q in QUOTAS]
    records = [naive.NaiveRecord(r.stage, r.from_block, r.quotas) for r in ledger.records]
    assert naive.run_with_ledger(stages, SUPPLY, records, seed=1234, block=16) == issued


@pytest.mark.parametrize("seen", range(6))
def test_resuming_before_the_tip_replays(seen: int) -> None:
    """From a checkpoint that saw fewer records, the recorded ones are replayed, not recomputed."""
    ledger, issued = trained(5)
    reached = [ledger.order_hash, *(record.hash for record in ledger.records)][seen]
    again = Ledger(spec(), ledger.records)
    while (record := again.after(reached)) is not None:
        wrong = {"code": 0, "papers": 0, "web": 0}
        reached = again.append(
            record.stage, record.from_block, wrong, inputs={}, after=reached
        ).hash
    assert reached == ledger.hash
    assert triples(Order(spec()).with_ledger(again)) == issued


def test_the_world_size_changes_no_batch() -> None:
    """Of any number of ranks, each takes its places of the same batch under the same ledger."""
    ledger, issued = trained(5)
    order = Order(spec()).with_ledger(ledger)
    for world in (1, 2, 4, 8):
        for step in (1, 9, 17, 33, order.num_steps):
            shares = [order.batch(step).of_rank(rank, world) for rank in range(world)]
            rows = np.stack([share.instance for share in shares], axis=1).ravel()
            first = order.schedule.offset(step - 1)
            assert rows.tolist() == [i for _, _, i in issued[first : first + 8]]


@given(st.integers(0, 5), st.sampled_from([1, 5, 16, 64, 300]))
@settings(deadline=None, max_examples=20)
def test_find_is_the_inverse_under_any_ledger(changes: int, block: int) -> None:
    """Every instance is found at exactly the places that draw it."""
    ledger, issued = trained(changes, block=block)
    order = Order(spec(block)).with_ledger(ledger)
    assert triples(order) == issued
    drawn: dict[tuple[str, int], list[tuple[int, int]]] = {}
    for k, (source, epoch, instance) in enumerate(issued):
        drawn.setdefault((source, instance), []).append((k, epoch))
    for source, supply in SUPPLY.items():
        for instance in range(supply):
            found = [(place.k, place.epoch) for place in order.find(source, instance)]
            assert found == drawn.get((source, instance), [])


def test_no_instance_repeats_before_its_epoch_is_over() -> None:
    """Changing weights makes no source skip or repeat: its fresh draws are whole epochs."""
    _, issued = trained(5)
    fresh = issued[:240] + issued[304:]
    for source, supply in SUPPLY.items():
        drawn = [(epoch, instance) for s, epoch, instance in fresh if s == source]
        assert len(set(drawn)) == len(drawn)
        whole, rest = divmod(len(drawn), supply)
        held = [sum(epoch == e for epoch, _ in drawn) for e in range(whole + 1)]
        assert held == [supply] * whole + [rest]


def test_a_change_leaves_issued_blocks_alone() -> None:
    """Places before the block that a record cuts at are what they were."""
    ledger, _ = trained(1)
    (record,) = ledger.records
    before, after = Order(spec()), Order(spec()).with_ledger(ledger)
    cut = record.from_block * 16
    assert triples(before)[:cut] == triples(after)[:cut]
    assert triples(before)[cut:240] != triples(after)[cut:240]


def test_the_first_open_block_is_the_next_that_no_step_touched() -> None:
    """A block counts as issued with its first instance; at the end of a stage none is open."""
    order = Order(spec())
    assert order.open_block(0) == ("main", 0)
    assert order.open_block(1) == ("main", 1)  # 8 of 16 instances
    assert order.open_block(2) == ("main", 1)
    assert order.open_block(29) is None  # 232 of 240: the last block is begun
    assert order.open_block(31) == ("anneal", 1)
    with pytest.raises(OrderError, match="there is no step 45"):
        order.open_block(45)


def test_the_ledger_of_another_order_is_refused() -> None:
    """A ledger belongs to one order hash."""
    with pytest.raises(LedgerError, match="the ledger is of the order"):
        Order(spec(32)).with_ledger(Ledger(spec()))
