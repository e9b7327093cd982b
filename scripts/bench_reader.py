"""Random instance reads, warm, beside other trainers' readers on the same tokens.

    python scripts/bench_reader.py [--full] [--readers FOLDER]

Writes one store of documents (200 million tokens; a billion with --full) and the same tokens in the
formats of OLMo-core, Megatron, MosaicML streaming and litdata, then reads instances of 4,096 tokens
in one random order with each, in this process, files in the page cache. A figure is the best of
five runs of CPU time. A peer is its own installed package where that imports; `--readers` names the
folder that scripts/setup_readers.sh fills. Where it does not, a few lines that follow its
documented access pattern stand in, and the table says `pattern`. Also: opening a store of 10,000
shards, making a pack, computing the repeat flags.
"""

import argparse
import contextlib
import importlib.machinery
import importlib.metadata
import logging
import sys
import tempfile
import time
import types
import warnings
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import bench_table  # puts the repository on the path
import numpy as np
import pyarrow as pa
from bench_table import Row
from numpy.typing import NDArray

from dolmix import __version__
from dolmix.order.repeats import make_repeat_mask
from dolmix.shards import Store, StoreWriter, TokenizerPin, make_pack, open_instances, open_store
from dolmix.shards.interop import export_store

LENGTH = 4096
BATCH = 256
EOS = 0
VOCAB = 50_280
SECONDS = 2.0
"""CPU time that one run of a reader may take; slow peers read fewer instances."""


class Reader(NamedTuple):
    """Something to measure."""

    name: str
    kind: str
    """Version of the package, or `pattern` for a stand-in."""
    read: Callable[[NDArray[np.int64]], None]
    """Read instances by number, one after the other or in batches."""
    tokens: int
    """Tokens of one instance."""


def main() -> None:
    """Write the data, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--full", action="store_true", help="a billion tokens")
    parser.add_argument("--readers", default=".venvs/readers", help="folder of peers' packages")
    parser.add_argument("--json", type=Path, help="also write the rows here, as a list")
    given = parser.parse_args()
    sys.path.append(given.readers)
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory(dir=".") as folder:
        root = Path(folder)
        store = write_store(root, 1_000_000_000 if given.full else 200_000_000)
        print(f"{store.num_tokens:,} tokens, {store.num_documents:,} documents, one core\n")
        numbers = np.random.default_rng(1).permutation(len(open_instances(store, LENGTH)))
        rows = chain(read_rows(root, store, numbers), once(root, store))
        bench_table.write(list(bench_table.printed(rows)), given.json)


def read_rows(root: Path, store: Store, numbers: NDArray[np.int64]) -> Iterator[Row]:
    """Measure reads a second of every reader; peers stand beside our batches as they are stored."""
    ours: float | None = None
    for reader in readers(root, store):
        rate = reads_per_second(reader, numbers)
        ours = ours or rate
        found: Row = {"name": f"{reader.name}, {reader.kind}", "value": rate, "unit": "reads/s"}
        if reader.kind == __version__:
            yield found | {"peer": None, "peer_value": None, "ratio": None}
        else:
            peer = found["name"]
            named = {"name": f"instances, beside {peer}", "value": ours, "unit": "reads/s"}
            yield named | {"peer": peer, "peer_value": rate, "ratio": ours / rate}


def readers(root: Path, store: Store) -> Iterator[Reader]:
    """Yield all readers; a peer that cannot even be stood in for is said and left out."""
    yield from ours(store)
    for peer in (olmo, megatron, streaming, litdata, datatrove):
        try:
            yield peer(root, store)
        except Exception as error:  # noqa: BLE001 - whatever a peer raises, the others are measured
            print(f"{peer.__name__:<38} left out: {type(error).__name__}: {error}")


def reads_per_second(reader: Reader, numbers: NDArray[np.int64]) -> float:
    """Instances a second of CPU time, best of five runs after one that warms up."""
    size, best = 64, 0.0
    reader.read(numbers[:size])
    while size < len(numbers):
        began = time.process_time()
        reader.read(numbers[:size])
        if time.process_time() - began > SECONDS / 8:
            break
        size = min(2 * size, len(numbers))
    for _ in range(5):
        began = time.process_time()
        reader.read(numbers[:size])
        best = max(best, size / (time.process_time() - began))
    return best


# --- readers --------------------------------------------------------------------------------------


def ours(store: Store) -> Iterator[Reader]:
    """Ours into one buffer, in the store's type and in the trainer's; one by one; and packed."""
    instances = open_instances(store, LENGTH)
    make_pack(store, sequence_length=LENGTH, packing="bestfit")
    packed = open_instances(store, LENGTH, "bestfit")
    narrow, wide = (np.empty((BATCH, LENGTH + 1), kind) for kind in (store.dtype, np.uint32))

    def batched(source: Any, out: NDArray[Any]) -> Callable[[NDArray[np.int64]], None]:
        def read(numbers: NDArray[np.int64]) -> None:
            for first in range(0, len(numbers), BATCH):
                some = numbers[first : first + BATCH] % len(source)
                source.read(some, out[: len(some)])

        return read

    def singly(numbers: NDArray[np.int64]) -> None:
        for number in numbers.tolist():
            narrow[0] = instances.tokens(number)

    yield Reader("dolmix, batches of u16", __version__, batched(instances, narrow), LENGTH + 1)
    yield Reader("dolmix, batches of u32", __version__, batched(instances, wide), LENGTH + 1)
    yield Reader("dolmix, one by one", __version__, singly, LENGTH + 1)
    yield Reader("dolmix, bestfit, batches of u32", __version__, batched(packed, wide), LENGTH + 1)


def olmo(root: Path, store: Store) -> Reader:
    """OLMo-core's NumpyFSLDataset on the exported `.npy`."""
    export_store(store, root / "olmo", "olmo")
    file = root / "olmo" / "bench.npy"
    try:
        from olmo_core.data.numpy_dataset import NumpyFSLDataset

        data = NumpyFSLDataset(
            file,
            sequence_length=LENGTH,
            pad_token_id=EOS,
            eos_token_id=EOS,
            vocab_size=VOCAB,
            dtype=np.uint16,
            include_instance_metadata=False,
        )
        data.prepare()
        return Reader("OLMo-core NumpyFSLDataset", version("ai2-olmo-core"), each(data), LENGTH)
    except ImportError:
        mapped = np.memmap(file, np.uint16, mode="r")

        def read(numbers: NDArray[np.int64]) -> None:
            for number in numbers.tolist():
                start = number * LENGTH
                np.array(mapped[start : start + LENGTH], np.int64)

        return Reader("OLMo (memmap slice to int64)", "pattern", read, LENGTH)


def megatron(root: Path, store: Store) -> Reader:
    """Megatron's indexed dataset, read as its GPT dataset does: pieces of documents, joined."""
    export_store(store, root / "megatron", "megatron")
    prefix = root / "megatron" / "00000"
    ends = store.ends.astype(np.int64)
    starts = np.arange(len(open_instances(store, LENGTH)) + 1) * LENGTH
    document = np.searchsorted(ends, starts, side="right")
    offset = starts - np.concatenate([[0], ends])[document]
    try:
        from megatron.core.datasets.indexed_dataset import IndexedDataset

        get, kind = IndexedDataset(str(prefix), mmap=True).get, version("megatron-core")
    except ImportError:
        get, kind = indexed(prefix, ends), "pattern"

    def read(numbers: NDArray[np.int64]) -> None:
        for number in numbers.tolist():
            first, last = document[number], document[number + 1]
            low, high = offset[number], offset[number + 1]
            if first == last:
                np.array(get(first, offset=low, length=high - low + 1), np.int64)
                continue
            pieces = [get(first, offset=low)]
            pieces += [get(middle) for middle in range(first + 1, last)]
            pieces.append(get(last, length=high + 1))
            np.concatenate(pieces).astype(np.int64)

    return Reader("Megatron IndexedDataset, GPT samples", kind, read, LENGTH + 1)


def indexed(prefix: Path, ends: NDArray[np.int64]) -> Callable[..., NDArray[Any]]:
    """Read parts of documents by pointer and length, as the description of `.idx` says."""
    tokens = memoryview(np.memmap(prefix.with_suffix(".bin"), mode="r"))
    pointers, lengths = np.concatenate([[0], ends[:-1]]) * 2, np.diff(ends, prepend=0)

    def get(number: int, offset: int = 0, length: int | None = None) -> NDArray[Any]:
        pointer, size = pointers[number], lengths[number]
        count = size - offset if length is None else length
        return np.frombuffer(tokens, np.uint16, count=count, offset=pointer + offset * 2)

    return get


def streaming(root: Path, store: Store) -> Reader:
    """MosaicML streaming: a sample of L + 1 tokens an instance, in MDS shards of 64 MB."""
    try:
        with without_torchvision():
            from streaming import LocalDataset, MDSWriter
    except ImportError:
        return mds_pattern(root, store)
    columns = {"tokens": f"ndarray:uint16:{LENGTH + 1}"}
    with MDSWriter(out=str(root / "mds"), columns=columns, size_limit=1 << 26) as out:
        for row in rows_of(store):
            out.write({"tokens": row})
    data = LocalDataset(str(root / "mds"))
    return Reader(
        "MosaicML streaming LocalDataset", version("mosaicml-streaming"), each(data), LENGTH + 1
    )


def mds_pattern(root: Path, store: Store) -> Reader:
    """One MDS-like shard: for each sample open the file, seek to its two offsets, then to it."""
    rows = [row.tobytes() for row in rows_of(store)]
    offsets = 4 * (len(rows) + 2) + np.arange(len(rows) + 1, dtype=np.uint64) * len(rows[0])
    file = root / "shard.mds"
    with file.open("wb") as out:
        out.write(np.uint32(len(rows)).tobytes() + offsets.astype(np.uint32).tobytes())
        out.writelines(rows)

    def read(numbers: NDArray[np.int64]) -> None:
        for number in numbers.tolist():
            with file.open("rb", 0) as opened:
                opened.seek(4 * (number + 1))
                begin, end = np.frombuffer(opened.read(8), np.uint32).tolist()
                opened.seek(begin)
                np.frombuffer(opened.read(end - begin), np.uint16)

    return Reader("MosaicML streaming (MDS shard)", "pattern", read, LENGTH + 1)


def litdata(root: Path, store: Store) -> Reader:
    """Litdata: token chunks of 64 MB, read with its TokensLoader."""
    import torch
    from litdata import StreamingDataset, TokensLoader
    from litdata.streaming.writer import BinaryWriter

    folder = str(root / "litdata")
    writer = BinaryWriter(
        folder, chunk_bytes=1 << 26, item_loader=TokensLoader(block_size=LENGTH + 1)
    )
    for number, row in enumerate(rows_of(store)):
        writer[number] = torch.from_numpy(row)
    writer.done()
    writer.merge()
    data = StreamingDataset(folder, item_loader=TokensLoader(block_size=LENGTH + 1))
    return Reader("litdata StreamingDataset", version("litdata"), each(data), LENGTH + 1)


def datatrove(root: Path, store: Store) -> Reader:
    """Datatrove's folder dataset on the exported `.ds`."""
    from datatrove.utils.dataset import DatatroveFolderDataset

    export_store(store, root / "datatrove", "datatrove")
    data = DatatroveFolderDataset(str(root / "datatrove"), LENGTH)
    return Reader("datatrove DatatroveFolderDataset", version("datatrove"), each(data), LENGTH + 1)


def each(data: Any) -> Callable[[NDArray[np.int64]], None]:
    """Read one by one by subscript; numbers beyond the peer's count wrap around."""
    count = len(data)

    def read(numbers: NDArray[np.int64]) -> None:
        for number in (numbers % count).tolist():
            data[number]

    return read


@contextlib.contextmanager
def without_torchvision() -> Iterator[None]:
    """Let streaming import where torchvision is not: it is for its image datasets alone."""
    try:
        import torchvision  # noqa: F401
    except ImportError:
        names = ("", ".datasets", ".datasets.vision", ".transforms", ".transforms.functional")
        for name in (f"torchvision{part}" for part in names):
            module = types.ModuleType(name)
            module.__spec__ = importlib.machinery.ModuleSpec(name, None)
            module.VisionDataset, module.to_tensor = type("VisionDataset", (), {}), None  # type: ignore[attr-defined]
            sys.modules[name] = module
    yield


def version(package: str) -> str:
    """Version of an installed package."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "installed"


# --- what is read, and what is made once ----------------------------------------------------------


def write_store(root: Path, num_tokens: int) -> Store:
    """Write documents of log-normal lengths, ids falling off as words do, in one shard."""
    rng = np.random.default_rng(7)
    pin = TokenizerPin(
        digest="0" * 64,
        largest_id=VOCAB - 1,
        eos="<eos>",
        eos_id=EOS,
        unk_id=None,
        specials={"<eos>": EOS},
    )
    block = np.minimum(rng.zipf(1.3, 1 << 22), VOCAB - 1).astype(np.uint16)
    with StoreWriter(
        root / "bench@1",
        source="bench",
        version=1,
        tokenizer=pin,
        special_in_text="plain",
        parents=[],
        shard_tokens=1 << 40,
    ) as writer:
        done = documents = 0
        while done < num_tokens:
            lengths = np.clip(rng.lognormal(6.3, 1.1, 8000), 2, 100_000).astype(np.int64)
            tokens = np.resize(np.roll(block, int(rng.integers(block.size))), int(lengths.sum()))
            tokens[np.cumsum(lengths) - 1] = EOS
            writer.append(tokens, lengths, provenance(documents, len(lengths)), tokens.size * 4)
            done, documents = done + tokens.size, documents + len(lengths)
        writer.commit()
    return open_store(root / "bench@1")


def provenance(first: int, count: int) -> pa.Table:
    """Rows of consecutive documents."""
    numbers = range(first, first + count)
    return pa.table(
        {
            "id": pa.array([f"doc-{n}" for n in numbers], pa.string()),
            "url": pa.nulls(count, pa.string()),
            "path": pa.array(["bench.jsonl"] * count, pa.string()),
            "record": pa.array(numbers, pa.int64()),
        }
    )


def rows_of(store: Store) -> Iterator[NDArray[np.uint16]]:
    """Yield the instances, L + 1 tokens each, in order."""
    instances = open_instances(store, LENGTH)
    for number in range(len(instances)):
        yield np.array(instances.tokens(number))


def once(root: Path, store: Store) -> Iterator[Row]:
    """Time what is done once a store, and opening one of many shards."""
    began = time.process_time()
    pack = make_pack(store, sequence_length=LENGTH + 1, packing="bestfit")
    seconds = time.process_time() - began
    made = f"{pack.num_instances:,} instances of {store.num_documents:,} documents"
    yield {"name": f"bestfit pack, {made}", "value": seconds, "unit": "s"}
    began = time.process_time()
    make_repeat_mask(open_instances(store, LENGTH))
    rate = store.num_tokens / (time.process_time() - began)
    yield {"name": "repeat flags", "value": rate / 1e6, "unit": "M tokens/s"}
    with StoreWriter(
        root / "many@1",
        source="many",
        version=1,
        tokenizer=store.manifest.tokenizer,
        special_in_text="plain",
        parents=[],
        shard_tokens=1,
    ) as writer:
        tokens = np.full(10_000, EOS, np.uint16)
        writer.append(tokens, np.ones(10_000, np.int64), provenance(0, 10_000), 0)
        writer.commit()
    times = []
    for _ in range(3):
        began = time.perf_counter()
        open_store(root / "many@1")
        times.append(time.perf_counter() - began)
    yield {"name": "open a store of 10,000 shards, wall", "value": min(times), "unit": "s"}


if __name__ == "__main__":
    main()
