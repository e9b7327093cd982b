"""How fast orders are computed, how small locks are, and how good the permutations are.

    python scripts/bench_order.py [--json FILE] [--repeats 5]

One core, one process, the least CPU time of several runs. The peers are minimal versions of our own
(tests/order_peers.py), written from their descriptions, beside numpy's PCG64 shuffle.
"""

import argparse
import json
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import bench_table  # puts the repository on the path
import numpy as np
import order_peers as peers
import order_statistics as stats
from bench_table import Row

from dolmix.mix import (
    BatchPhase,
    Lock,
    LockSource,
    LockStage,
    OrderSource,
    OrderSpec,
    OrderStage,
    Window,
)
from dolmix.order import Order, open_order
from dolmix.order.windowed import WindowedPermutation
from dolmix.permute import Permutation

SIZES = (10**5, 10**7, 10**9, 10**12)
SAMPLE = 2_000_000
PRIME = 10_000_019
PEERS: dict[str, Callable[[int, int], Any]] = {
    "LCG": peers.Lcg,
    "Grain Simon-4": peers.GrainSimon,
    "Levanter Feistel-5": peers.LevanterFeistel,
}


def seconds(repeats: int, run: Callable[..., object], *values: Any) -> float:
    """Give the least CPU time of several runs of `run(*values)`."""
    best = float("inf")
    for _ in range(repeats):
        start = time.process_time()
        run(*values)
        best = min(best, time.process_time() - start)
    return best


def row(name: str, value: float, unit: str, peer: str = "", peer_value: float | None = None) -> Row:
    """Make one row; values in a rate or a score, where more is better, have a ratio."""
    ratio = None if not peer_value else round(value / peer_value, 2)
    told = None if peer_value is None else round(peer_value, 3)
    return {
        "name": name,
        "value": round(value, 3),
        "unit": unit,
        "peer": peer or None,
        "peer_value": told,
        "ratio": ratio,
    }


def ours(seed: int, n: int) -> Permutation:
    """Return dolmix's permutation of a source's first epoch."""
    return Permutation((seed, "source", "web", 0), n)


def permutations(repeats: int) -> Iterator[Row]:
    """Measure indices a second, forwards and back, at sizes of 10^5 to 10^12, beside the peers."""
    for n in SIZES:
        x = np.arange(min(n, SAMPLE), dtype=np.uint64)
        order, rate = ours(1, n), x.size / 1e6
        forward = rate / seconds(repeats, order.forward, x)
        back = rate / seconds(repeats, order.inverse, x)
        unit = "M indices/s"
        for name, make in PEERS.items():
            peer = make(1, n)
            speed = rate / seconds(max(1, repeats // 2), peer.forward, x)
            yield row(f"permutation forward, N={n:.0e}", forward, unit, name, speed)
        yield row(f"permutation inverse, N={n:.0e}", back, unit)
        windowed = WindowedPermutation((1, "source", "web", 0), n, Window(chunk=1024, chunks=64))
        speed = rate / seconds(repeats, windowed.forward, x)
        yield row(f"windowed permutation forward, N={n:.0e}", speed, unit)
    n = SIZES[1]
    x = np.arange(n, dtype=np.uint64)
    built = n / 1e6 / seconds(max(1, repeats // 2), peers.NumpyShuffle, 1, n)
    forward = n / 1e6 / seconds(max(1, repeats // 2), ours(1, n).forward, x)
    yield row(f"a whole epoch of N={n:.0e}", forward, "M indices/s", "numpy PCG64", built)
    yield row("held for N=1e+12", held(10**12), "bytes")
    yield row("held for N=65536", held(65_536), "bytes")


def held(n: int) -> int:
    """Bytes that a permutation of n places holds once it was used."""
    tracemalloc.start()
    order = ours(1, n)
    order.at(n // 2)
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return size


def spec_of(total: int, sources: int, batch: int = 1024) -> OrderSpec:
    """Return an order of about `total` instances of sources of different sizes and weights."""
    supply = {f"src{s:03d}": total // sources + 97 * s for s in range(sources)}
    ranks = {name: s % 7 + 1 for s, name in enumerate(supply)}
    main = {s: total * 3 // 5 * ranks[s] // sum(ranks.values()) for s in supply}
    anneal = dict.fromkeys(supply, total // 10 // sources)
    stages = []
    for name, quotas in (("main", main), ("anneal", anneal)):
        first = next(iter(quotas))
        quotas[first] += -sum(quotas.values()) % batch
        stages.append(
            OrderStage(
                name=name,
                instances=sum(quotas.values()),
                order="fresh" if name == "main" else "reuse",
                quotas=quotas,
            )
        )
    return OrderSpec(
        seed=1234,
        sequence_length=4096,
        block=1024,
        batch_size=(BatchPhase(from_step=1, instances=batch),),
        sources={
            s: OrderSource(content_hash=s.encode().hex().ljust(64, "a"), num_instances=n)
            for s, n in supply.items()
        },
        stages=tuple(stages),
    )


def orders(repeats: int) -> Iterator[Row]:
    """Instances a second of whole orders with 20 sources: in long runs, and batch by batch."""
    for total in SIZES:
        order = Order(spec_of(total, 20))
        count = min(order.num_instances, 1_000_000)
        start = (order.num_instances - count) // 2
        long = count / 1e6 / seconds(repeats, order.places, start, start + count)
        yield row(f"order forward, 20 sources, {total:.0e} instances", long, "M instances/s")
        steps = range(1, min(order.num_steps, 60) + 1)
        spent = seconds(repeats, _batches, order, steps)
        rate = len(steps) * 1024 / 1e6 / spent
        yield row(f"batches of 1024, 20 sources, {total:.0e} instances", rate, "M instances/s")


def _batches(order: Order, steps: range) -> None:
    for step in steps:
        order.batch(step)


def _find(order: Order, asked: list[tuple[str, int]]) -> None:
    for name, instance in asked:
        order.find(name, instance)
        order.find(name, instance + 1)


def inverses(repeats: int) -> Iterator[Row]:
    """Milliseconds from a document of two instances to its steps, for 100 sources, nothing warm."""
    for total in SIZES:
        spec = spec_of(total, 100)
        order = Order(spec)
        names = list(spec.sources)
        asked = [(names[37 * n % 100], 31 * n % (total // 100 - 1)) for n in range(200)]

        spent = seconds(repeats, _find, order, asked) / len(asked)
        yield row(f"document to steps, 100 sources, {total:.0e} instances", spent * 1e3, "ms")


def lock_of(sources: int, folder: Path) -> Lock:
    """Return the lock of a mix of so many sources, with the mix file that a person would write.

    Two stages; stores in a folder beside the lock's file in `folder`.
    """
    spec = spec_of(10**9, sources)
    weights = ", ".join(f"{s}: 0.{n % 90 + 10}" for n, s in enumerate(spec.sources))
    listed = "".join(f"  {s}: {{store: stores/{s}@1}}\n" for s in spec.sources)
    text = (
        "name: bench\nseed: 1234\nsequence_length: 4096\nbatch_size: 1024\n"
        f"sources:\n{listed}stages:\n"
        f"  - {{name: main, tokens: 2_400_000_000_000, weights: &mix {{{weights}}}}}\n"
        "  - {name: anneal, tokens: 400_000_000_000, order: reuse, weights: *mix}\n"
    )
    return Lock(
        name="bench",
        order=spec,
        order_hash=spec.hash,
        sources={
            s: LockSource(
                path=str(folder / f"stores/{s}@1"),
                version=1,
                tokens=pin.num_instances * 4096 + 77,
                documents=pin.num_instances * 3,
                epochs=tuple(
                    round(stage.quotas[s] / pin.num_instances, 4) for stage in spec.stages
                ),
            )
            for s, pin in spec.sources.items()
        },
        stages={stage.name: LockStage(asked_tokens=10**12) for stage in spec.stages},
        mix=text,
    )


def locks(repeats: int) -> Iterator[Row]:
    """Bytes of a lock, and milliseconds from the file to an order that answers."""
    for sources in (1, 20, 100):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "bench.lock.json"
            lock_of(sources, Path(folder)).write(path)
            size, limit = path.stat().st_size, 4096 + 300 * sources
            yield row(f"lock of {sources} sources, of {limit} bytes allowed", size, "bytes")
            text = len(json.dumps(lock_of(sources, Path(folder)).mix))
            yield row(f"the same without the mix file's text ({text} bytes)", size - text, "bytes")

            ready = 1e3 * seconds(repeats * 4, _first_batch, path)
            yield row(f"order ready, {sources} sources", ready, "ms")


def _first_batch(path: Path) -> None:
    open_order(path).batch(1)


def table(repeats: int) -> Iterator[Row]:
    """Score each bijection at N = 10,000,019, mean of four keys, beside the control."""
    del repeats
    control = _means(peers.NumpyShuffle)
    methods = {"dolmix GF-12": ours, **PEERS, "numpy PCG64": peers.NumpyShuffle}
    for method, make in methods.items():
        for name, value in _means(make).items():
            low, high = stats.BANDS[name]
            verdict = "passes" if low <= value <= high else "fails"
            ideal = "ideal 0.5" if name == "parity flips" else "ideal 1"
            found = row(f"{method} {verdict} {name} ({low} to {high})", value, ideal)
            yield found | {"peer": "numpy PCG64", "peer_value": round(control[name], 3)}
    name = "permutations of 5"
    five = stats.permutations_of_five(lambda key: ours(key, 5).forward(range(5)).tolist())
    verdict = "passes" if five < stats.BANDS[name][1] else "fails"
    yield row(f"dolmix sort {verdict} {name} (0.0 to {stats.BANDS[name][1]})", five, "ideal 1")


def _means(make: Callable[[int, int], Any]) -> dict[str, float]:
    runs = [stats.measured(make(key, PRIME).forward, PRIME) for key in range(1, 5)]
    return {name: float(np.mean([run[name] for run in runs])) for name in runs[0]}


PARTS = {
    "permutations": permutations,
    "orders": orders,
    "inverses": inverses,
    "locks": locks,
    "table": table,
}


def main() -> None:
    """Measure, print, and write the rows where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="also write the rows here, as a list")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--part", choices=PARTS, action="append", help="measure this part only")
    args = parser.parse_args()
    found = (row for part in args.part or PARTS for row in PARTS[part](args.repeats))
    bench_table.write(list(bench_table.printed(found)), args.json)


if __name__ == "__main__":
    main()
