"""Differences between two orders, and the first step that shows them."""

import mix_stores
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dolmix.mix import Lock, LockSource, LockStage, OrderSpec
from dolmix.order import Order, diff_locks, diff_orders, first_differing_step

SUPPLY = {"a": 30, "b": 50}


def walked(a: OrderSpec, b: OrderSpec) -> int | None:
    """First differing step by walking through both runs, row by row."""
    left, right = Order(a), Order(b)
    for step in range(1, max(left.num_steps, right.num_steps) + 1):
        if step > min(left.num_steps, right.num_steps):
            return step
        if _rows(left, step) != _rows(right, step):
            return step
    return None


def _rows(order: Order, step: int) -> list[tuple[str, str, int, int]]:
    places = order.batch(step)
    pins = [(s, order.spec.sources[s].content_hash) for s in order.sources]
    columns = (places.source.tolist(), places.epoch.tolist(), places.instance.tolist())
    return [(*pins[s], e, i) for s, e, i in zip(*columns, strict=True)]


@st.composite
def variants(draw: st.DrawFn) -> OrderSpec:
    """Orders of one or two stages that often share a prefix with each other."""
    scale = draw(st.sampled_from([1, 2, 3]))
    main = {"a": 16 * scale, "b": 32 * scale}
    tail = draw(st.sampled_from([{"a": 12, "b": 12}, {"a": 6, "b": 18}, {"a": 0, "b": 24}]))
    stages = [("main", "fresh", main), ("tail", draw(st.sampled_from(["fresh", "reuse"])), tail)]
    supply = dict(SUPPLY) | ({"c": 5} if draw(st.booleans()) else {})
    phases = draw(
        st.sampled_from([[(1, 4)], [(1, 4), (5, 8)], [(1, 4), (5, 4)], [(1, 4), (13, 12)]])
    )
    return mix_stores.order_spec(
        supply,
        stages[: draw(st.integers(1, 2))],
        block=draw(st.sampled_from([5, 8])),
        phases=phases,
    )


@given(variants(), variants())
@settings(deadline=None, max_examples=150)
def test_first_differing_step_is_what_a_walk_finds(a: OrderSpec, b: OrderSpec) -> None:
    """Skipping what is equal by construction finds the same step as comparing every row."""
    assert first_differing_step(Order(a), Order(b)) == walked(a, b)


def test_a_common_prefix_is_skipped_not_walked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two runs of 10^8 instances that part in the second stage compare a handful of batches."""
    supply, main = {"a": 10**8, "b": 10**8}, {"a": 4 * 10**7, "b": 6 * 10**7}
    specs = [
        mix_stores.order_spec(
            supply, [("main", "fresh", main), ("tail", "fresh", tail)], phases=[(1, 1000)]
        )
        for tail in ({"a": 500_000, "b": 500_000}, {"a": 400_000, "b": 600_000})
    ]
    orders = [Order(spec) for spec in specs]
    drawn = []
    batch = Order.batch
    monkeypatch.setattr(Order, "batch", lambda self, step: drawn.append(step) or batch(self, step))
    assert first_differing_step(*orders) == 100_001
    assert len(drawn) <= 4


def lock_of(spec: OrderSpec) -> Lock:
    """Put a lock around an order, over stores that nobody opens."""
    return Lock(
        name="x",
        order=spec,
        order_hash=spec.hash,
        sources={
            s: LockSource(path=s, version=1, tokens=1, documents=1, epochs=()) for s in spec.sources
        },
        stages={stage.name: LockStage(asked_tokens=1) for stage in spec.stages},
        mix="",
    )


def test_differences_are_told_by_path() -> None:
    """Settings, sources and quotas that differ are told with both values, and nothing else."""
    a = mix_stores.order_spec(SUPPLY, [("main", "fresh", {"a": 10, "b": 20})], block=8)
    b = mix_stores.order_spec(
        SUPPLY | {"c": 9}, [("main", "fresh", {"a": 5, "b": 20, "c": 5})], block=8, seed=5
    )
    found = diff_locks(lock_of(a), lock_of(b))
    assert found["settings"] == {"seed": [1234, 5]}
    assert list(found["sources"]) == ["c"]
    assert found["sources"]["c"][0] is None
    assert found["stages"] == {"main": {"quotas": {"a": [10, 5], "c": [None, 5]}}}
    assert not found["same_order"]
    same = diff_locks(lock_of(a), lock_of(a))
    assert same == {
        "same_order": True,
        "settings": {},
        "sources": {},
        "stages": {},
        "first_differing_step": None,
    }


@given(variants(), variants())
@settings(deadline=None, max_examples=60)
def test_the_places_where_orders_part_are_told(a: OrderSpec, b: OrderSpec) -> None:
    """Of the first differing step every place with another instance is listed, and no other."""
    told = diff_orders(lock_of(a), lock_of(b))
    step = told["first_differing_step"]
    assert step == walked(a, b)
    if step is None:
        assert (told["step_stages"], told["places"]) == (None, [])
        return
    sides: list[list[dict[str, object] | None]] = []
    for spec, stage in zip((a, b), told["step_stages"], strict=True):
        order = Order(spec)
        inside = step <= order.num_steps
        assert stage == (order.stage_of(step) if inside else None)
        sides.append([*map(_named, _rows(order, step))] if inside else [])
    size = max(map(len, sides))
    padded = [side + [None] * (size - len(side)) for side in sides]
    pairs = [list(pair) for pair in zip(*padded, strict=True)]
    expected = [{"place": n, "of": pair} for n, pair in enumerate(pairs) if pair[0] != pair[1]]
    assert told["places"] == expected


def test_places_of_another_store_are_told() -> None:
    """Where a source has other content or other windows, its places part although numbers agree."""
    a = mix_stores.order_spec(SUPPLY, [("main", "fresh", {"a": 10, "b": 20})], phases=[(1, 30)])
    pin = a.sources["a"].model_copy(update={"content_hash": "e" * 64})
    swapped = a.model_copy(update={"sources": {**a.sources, "a": pin}})
    told = diff_orders(lock_of(a), lock_of(swapped))
    drawn = [place for place, row in enumerate(_rows(Order(a), 1)) if row[0] == "a"]
    assert [place["place"] for place in told["places"]] == drawn
    assert all(left == right for left, right in (place["of"] for place in told["places"]))
    longer = a.model_copy(update={"sequence_length": 256})
    assert len(diff_orders(lock_of(a), lock_of(longer))["places"]) == 30


def _named(row: tuple[str, str, int, int]) -> dict[str, object]:
    return {"source": row[0], "epoch": row[2], "instance": row[3]}
