"""What differs between two locked mixes, and the first step whose batch differs.

The first differing step is found without walking through the run: instances that both orders draw
alike by construction (same names, seeds, stores, and counts at the edges of a block) are skipped,
and batches are compared only from there on.
"""

from collections.abc import Iterator
from itertools import zip_longest
from typing import Any

import numpy as np

from dolmix.mix import Lock, OrderSpec
from dolmix.order.interleave import StageOrder
from dolmix.order.lookup import Order, open_order


def diff_locks(a: Lock, b: Lock) -> dict[str, Any]:
    """Compare two locks in JSON types; a value that differs is `[of a, of b]`, None where absent.

    `settings`                seed, sequence_length, block, batch_size, versions
    `sources`                 content_hash, num_instances
    `stages`                  instances, order, quotas by source
    `first_differing_step`    None where all steps hold the same rows
    """
    return diff_specs(a.order, b.order)


def diff_specs(a: OrderSpec, b: OrderSpec) -> dict[str, Any]:
    """Compare two orders as `diff_locks` compares those of two locks."""
    left, right = a.model_dump(mode="json"), b.model_dump(mode="json")
    nested = {"sources", "stages"}
    stages = [{s.pop("name"): s for s in order["stages"]} for order in (left, right)]
    return {
        "same_order": a.hash == b.hash,
        "settings": _changes(
            {k: v for k, v in left.items() if k not in nested},
            {k: v for k, v in right.items() if k not in nested},
        ),
        "sources": _changes(left["sources"], right["sources"]),
        "stages": _changes(*stages),
        "first_differing_step": first_differing_step(Order(a), Order(b)),
    }


def difference_lines(found: dict[str, Any]) -> Iterator[str]:
    """Yield what `diff_locks` or `diff_specs` gave as lines, one a difference."""
    if found["same_order"]:
        yield "same order"
        return
    for part in ("settings", "sources", "stages"):
        prefix = () if part == "settings" else (part,)
        for path, (before, after) in _leaves(found[part], prefix):
            yield f"{'.'.join(path)}: {_said(before)} -> {_said(after)}"
    step = found["first_differing_step"]
    yield "every step holds the same rows" if step is None else f"first differing step: {step:,}"


def _leaves(node: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], list[Any]]]:
    if isinstance(node, dict):
        for key, below in node.items():
            yield from _leaves(below, (*path, key))
    else:
        yield path, node


def _said(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_said(below)}" for key, below in value.items()) or "none"
    if isinstance(value, list):
        return " then ".join(_said(item) for item in value)
    return "absent" if value is None else f"{value:,}" if isinstance(value, int) else str(value)


def diff_orders(a: Lock, b: Lock) -> dict[str, Any]:
    """Compare two orders as `diff_locks` does, and show the places where they part.

    `step_stages`   stages of the first differing step, `[of a, of b]`; None beyond an order's end
    `places`        its places that hold other rows: `{place, of: [of a, of b]}`, each `{source,
                    epoch, instance}` or None; equal where their stores alone differ
    """
    found = diff_locks(a, b)
    step = found["first_differing_step"]
    if step is None:
        return found | {"step_stages": None, "places": []}
    orders = [open_order(a), open_order(b)]
    stages = [order.stage_of(step) if step <= order.num_steps else None for order in orders]
    pairs = zip_longest(*(_drawn(order, step) for order in orders), fillvalue=(None, None))
    parted = [
        {"place": n, "of": [left, right]}
        for n, ((left, one), (right, other)) in enumerate(pairs)
        if (left, one) != (right, other)
    ]
    return found | {"step_stages": stages, "places": parted}


def _drawn(order: Order, step: int) -> Iterator[tuple[dict[str, Any], object]]:
    """Yield what each place of a step draws, and what its tokens are cut from."""
    if step > order.num_steps:
        return
    places = order.batch(step)
    tokens = [(_cut_by(order.spec), known) for known in _sources(order, places.source)]
    columns = (places.source.tolist(), places.epoch.tolist(), places.instance.tolist(), tokens)
    for source, epoch, instance, identity in zip(*columns, strict=True):
        yield {"source": order.sources[source], "epoch": epoch, "instance": instance}, identity


def first_differing_step(a: Order, b: Order) -> int | None:
    """First step whose rows differ between two orders: other tokens, another place, or no step.

    Rows are the same if source, store content, epoch and instance are. None if all steps agree.
    """
    if _cut_by(a.spec) != _cut_by(b.spec):
        return 1
    resized = _first_resized_step(a, b)
    last = min(a.num_steps, b.num_steps, resized - 1)
    start = a.schedule.step_of(_common_start(a, b))
    for step in range(min(start, last + 1), last + 1):
        if not _same_batch(a, b, step):
            return step
    return None if last == a.num_steps == b.num_steps else last + 1


def _cut_by(spec: OrderSpec) -> tuple[object, ...]:
    """Return what cuts stores into rows."""
    return spec.sequence_length, spec.packing, spec.versions.mix == "olmo"


def _first_resized_step(a: Order, b: Order) -> int:
    """First step that takes another number of instances; one beyond both orders if none does."""
    for step in sorted({*a.schedule.changes(), *b.schedule.changes()}):
        if a.schedule.size(step) != b.schedule.size(step):
            return step
    return max(a.num_steps, b.num_steps) + 1


def _same_batch(a: Order, b: Order, step: int) -> bool:
    left, right = a.batch(step), b.batch(step)
    same = np.array_equal(left.epoch, right.epoch) and np.array_equal(left.instance, right.instance)
    return same and _sources(a, left.source) == _sources(b, right.source)


def _sources(order: Order, source: np.ndarray[Any, Any]) -> list[tuple[str, str]]:
    pins = order.spec.sources
    known = [(name, f"{pins[name].content_hash} {pins[name].pack}") for name in order.sources]
    return [known[s] for s in source.tolist()]


def _common_start(a: Order, b: Order) -> int:
    """Return a number of leading instances that both orders draw alike, by construction."""
    if _drawn_by(a.spec) != _drawn_by(b.spec) or a.records or b.records:
        return 0
    done = 0
    for n, (left, right) in enumerate(zip(a.spec.stages, b.spec.stages, strict=False)):
        if not _same_draws(a.spec, b.spec, n):
            return done
        if (left.instances, left.quotas) != (right.instances, right.quotas):
            if a.spec.versions.mix == "olmo":
                return done
            return done + _common_blocks(StageOrder(a.spec, n), StageOrder(b.spec, n), a.spec.block)
        done += left.instances
    return done


def _drawn_by(spec: OrderSpec) -> tuple[object, ...]:
    """Return everything besides stages and sources that decides what is drawn where."""
    batch = spec.batch_size if spec.versions.mix == "olmo" else None
    return spec.versions, spec.seed, spec.block, spec.window, batch


def _same_draws(a: OrderSpec, b: OrderSpec, n: int) -> bool:
    """Whether the n-th stages have the same name and kind and draw from the same stores."""
    left, right = a.stages[n], b.stages[n]
    drawn = [{s: a.sources[s] for s, quota in left.quotas.items() if quota}]
    drawn.append({s: b.sources[s] for s, quota in right.quotas.items() if quota})
    return (left.name, left.order) == (right.name, right.order) and drawn[0] == drawn[1]


def _common_blocks(a: StageOrder, b: StageOrder, size: int) -> int:
    """Leading instances in whole blocks that hold the same counts of the same sources."""
    shared = min(a.size, b.size) // size
    for number in range(shared + 1):
        if a.named_counts(number * size) != b.named_counts(number * size):
            return (number - 1) * size
    return shared * size


def _changes(a: Any, b: Any) -> Any:
    """Nested differences of two JSON values: equal parts are left out, others become [a, b]."""
    if isinstance(a, dict) and isinstance(b, dict):
        keys = sorted(a.keys() | b.keys())
        return {k: _changes(a.get(k), b.get(k)) for k in keys if a.get(k) != b.get(k)}
    return [a, b]
