"""What a lock says: tokens, epochs and shares, per source and per stage, as data and as a tree."""

from collections.abc import Iterator
from typing import Any

from dolmix.mix.lock import Lock, OrderStage


def describe(lock: Lock) -> dict[str, Any]:
    """Describe a lock in JSON types; shares and epochs are floats for reading, not for deciding.

    `tokens` counts inputs, L an instance. Sources are in name order, stages in training order.
    """
    order = lock.order
    length = order.sequence_length
    return {
        "name": lock.name,
        "tokens": order.num_instances * length,
        "instances": order.num_instances,
        "sequence_length": length,
        "steps": order.num_steps,
        "order_hash": lock.order_hash,
        "stages": _stages(lock),
        "sources": {name: _source(lock, name) for name in sorted(order.sources)},
    }


def tree(described: dict[str, Any]) -> Iterator[str]:
    """Yield what `describe` gave as lines: totals, one line a source, one a stage."""
    yield (
        f"{described['name']}   {_short(described['tokens'])} tokens   "
        f"{described['instances']:,} instances of {described['sequence_length']:,}   "
        f"{described['steps']:,} steps   order {described['order_hash'][:7]}"
    )
    yield from _source_lines(described["sources"])
    for stage in described["stages"]:
        left = stage["left_over_tokens"]
        yield (
            f"{stage['name']}: steps {stage['first_step']:,} to {stage['last_step']:,}, "
            f"{stage['tokens']:,} tokens, {stage['order']}"
            + (f"; {left:,} tokens left over, as steps are whole" if left else "")
        )


def _source_lines(sources: dict[str, Any]) -> Iterator[str]:
    rows = [
        [
            f"{name}@{source['version']}",
            _short(source["tokens"]),
            f"{source['epochs']:.2f} epochs of {_short(source['store_tokens'])}",
            *(f"{stage} {share['share']:.1%}" for stage, share in source["stages"].items()),
        ]
        for name, source in sources.items()
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for n, row in enumerate(rows):
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        yield f"{'└─' if n == len(rows) - 1 else '├─'} {'   '.join(cells)}".rstrip()


def _short(tokens: int) -> str:
    """Write tokens as a person says them: 950, 12.3K, 4.5M, 100.0B."""
    for size, unit in ((10**12, "T"), (10**9, "B"), (10**6, "M"), (10**3, "K")):
        if tokens >= max(size, 10**4):
            return f"{tokens / size:.1f}{unit}"
    return f"{tokens:,}"


def _stages(lock: Lock) -> list[dict[str, Any]]:
    schedule, done, rows = lock.order.schedule, 0, []
    for stage in lock.order.stages:
        tokens = stage.instances * lock.order.sequence_length
        first, done = schedule.step_of(done), done + stage.instances
        rows.append(
            {
                "name": stage.name,
                "order": stage.order,
                "tokens": tokens,
                "instances": stage.instances,
                "first_step": first,
                "last_step": schedule.step_of(done) - 1,
                "left_over_tokens": lock.stages[stage.name].asked_tokens - tokens,
            }
        )
    return rows


def _source(lock: Lock, name: str) -> dict[str, Any]:
    pin, entry = lock.order.sources[name], lock.sources[name]
    instances = sum(stage.quotas[name] for stage in lock.order.stages)
    return {
        "version": entry.version,
        "path": entry.path,
        "content_hash": pin.content_hash,
        "store_tokens": entry.tokens,
        "store_documents": entry.documents,
        "store_instances": pin.num_instances,
        "tokens": instances * lock.order.sequence_length,
        "instances": instances,
        "epochs": instances / pin.num_instances,
        "stages": {
            stage.name: _share(stage, lock, name, n) for n, stage in enumerate(lock.order.stages)
        },
    }


def _share(stage: OrderStage, lock: Lock, name: str, number: int) -> dict[str, Any]:
    quota = stage.quotas[name]
    return {
        "tokens": quota * lock.order.sequence_length,
        "instances": quota,
        "share": quota / stage.instances,
        "epochs": lock.sources[name].epochs[number],
    }
