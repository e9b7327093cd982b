"""Small real stores, mixes and orders for the tests of mix, order and command line."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from naive_order import MASK, finalise

from dolmix.mix import BatchPhase, OrderSource, OrderSpec, OrderStage
from dolmix.shards import Manifest, StoreWriter, TokenizerPin

EOS = 0
LARGEST_ID = 999


def pin(digest: str = "ab" * 32) -> TokenizerPin:
    """Pin a tokenizer of 1,000 ids whose EOS is 0."""
    return TokenizerPin(
        digest=digest, largest_id=LARGEST_ID, eos="<eos>", eos_id=EOS, unk_id=None, specials={}
    )


def write_store(
    folder: Path,
    source: str,
    lengths: Sequence[int],
    *,
    version: int = 1,
    digest: str = "ab" * 32,
    shard_tokens: int = 500,
    columns: Mapping[str, pa.Array] | None = None,
) -> Manifest:
    """Commit `folder/source@version`: documents of these lengths, tokens drawn from the name.

    Document n has the id `source-n` and comes from record n of `source.jsonl`; `columns` are kept.
    """
    seed = int.from_bytes(source.encode(), "little") + version
    drawn = [1 + finalise((seed << 20) + n & MASK) % LARGEST_ID for n in range(sum(lengths))]
    tokens = np.array(drawn, np.uint16)
    tokens[np.cumsum(lengths) - 1] = EOS
    count = len(lengths)
    rows = pa.table(
        {
            "id": pa.array([f"{source}-{n}" for n in range(count)], pa.string()),
            "url": pa.array([f"https://example.org/{n}" for n in range(count)], pa.string()),
            "path": pa.array([f"{source}.jsonl"] * count, pa.string()),
            "record": pa.array(range(count), pa.int64()),
            **(columns or {}),
        }
    )
    with StoreWriter(
        folder / f"{source}@{version}",
        source=source,
        version=version,
        tokenizer=pin(digest),
        special_in_text="plain",
        parents=[],
        shard_tokens=shard_tokens,
    ) as writer:
        writer.append(tokens, np.array(lengths, np.int64), rows, 5 * int(sum(lengths)))
        return writer.commit()


def lengths_of(count: int, mean: int, seed: int = 0) -> list[int]:
    """`count` document lengths from 1 to 2 * mean - 1; the same with every version of numpy."""
    return [1 + finalise((seed << 20) + n) % (2 * mean - 1) for n in range(count)]


def order_spec(
    supply: Mapping[str, int],
    stages: Sequence[tuple[str, str, Mapping[str, int]]],
    *,
    block: int = 256,
    seed: int = 1234,
    phases: Sequence[tuple[int, int]] = ((1, 1),),
) -> OrderSpec:
    """Build an order without stores: stages are (name, order, quotas), phases (from_step, size)."""
    return OrderSpec(
        seed=seed,
        sequence_length=128,
        block=block,
        batch_size=tuple(BatchPhase(from_step=f, instances=n) for f, n in phases),
        sources={
            s: OrderSource(content_hash=s.encode().hex().zfill(64), num_instances=n)
            for s, n in supply.items()
        },
        stages=tuple(
            OrderStage(
                name=name,
                instances=sum(quotas.values()),
                order="reuse" if order == "reuse" else "fresh",
                quotas=dict.fromkeys(supply, 0) | dict(quotas),
            )
            for name, order, quotas in stages
        ),
    )


MIX = """\
name: small
seed: 7
sequence_length: 16
block: 8
batch_size: 4
sources:
  web: {store: stores/web@1, max_epochs: 4}
  code: {store: stores/code@1, max_epochs: 4}
  docs: {store: stores/docs@1, max_epochs: 4}
stages:
  - {name: main, tokens: 1_600, weights: {web: 0.7, code: 0.2, docs: 0.1}}
  - name: anneal
    tokens: 700
    weights: {web: 1, code: {tokens: 160}, docs: {epochs: 0.5}}
    order: reuse
"""


def write_small_mix(folder: Path) -> Path:
    """Write three stores and a mix file over them into `folder`; return the mix file.

    Its store paths start from `folder`, which must be the working directory when it resolves.
    """
    write_store(folder / "stores", "web", lengths_of(40, 24, seed=1))
    write_store(folder / "stores", "code", lengths_of(12, 40, seed=2))
    write_store(folder / "stores", "docs", lengths_of(9, 30, seed=3))
    path = folder / "small.yaml"
    path.write_text(MIX, encoding="utf-8")
    return path
