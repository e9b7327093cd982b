"""Exports as the peers' own readers see them: every token, every document, every window."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import store_builder
from peers import absent

from dolmix.order import repeats
from dolmix.shards import Store, open_store
from dolmix.shards.interop import export_store

pytestmark = pytest.mark.conformance

ROOT = Path(__file__).resolve().parents[2]
LENGTH = 64


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> list[Store]:
    """Write a store of three shards in each of the two token types."""
    opened = []
    for largest_id in (300, 70_000):
        folder = tmp_path_factory.mktemp("stores")
        lengths = [1 + (n * 7919) % 190 for n in range(120)]
        documents = store_builder.documents(lengths, largest_id=largest_id)
        documents.tokens[300:700] = np.resize([5, 6, 7], 400)
        documents.tokens[np.cumsum(lengths) - 1] = store_builder.EOS_ID
        pin = store_builder.pin(largest_id=largest_id)
        store_builder.write(folder, documents, tokenizer=pin, shard_tokens=5000)
        opened.append(open_store(folder / "web@1"))
    assert [len(store.manifest.shards) for store in opened] == [3, 3]
    assert [store.dtype.itemsize for store in opened] == [2, 4]
    return opened


def ask(script: str, *arguments: object) -> Any:
    """Run a script with the peers' readers importable; it prints one line of JSON last."""
    folder = Path(os.environ.get("DOLMIX_READERS", ROOT / ".venvs" / "readers"))
    if not folder.is_dir():
        absent(f"no readers of OLMo-core and Megatron in {folder}; run scripts/setup_readers.sh")
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(folder)},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


OLMO = """
import json, sys
import numpy as np
from olmo_core.data.numpy_dataset import InstanceFilterConfig, NumpyFSLDataset
from olmo_core.data.utils import iter_document_indices

found = []
for file, dtype in zip(sys.argv[2:], (np.uint16, np.uint32)):
    data = NumpyFSLDataset(
        file, sequence_length=int(sys.argv[1]), pad_token_id=0, eos_token_id=0, vocab_size=100_000,
        dtype=dtype, generate_doc_lengths=True,
        instance_filter_config=InstanceFilterConfig(repetition_max_count=12),
    )
    data.prepare()
    items = [data[n] for n in range(len(data))]
    found.append({
        "rows": [item["input_ids"].tolist() for item in items],
        "good": [bool(item["instance_mask"]) for item in items],
        "lengths": [[n for n in item["doc_lens"].tolist() if n] for item in items],
        "documents": list(iter_document_indices(file, use_array_if_local=False, dtype=dtype)),
    })
print(json.dumps(found))
"""


def test_olmo_core_reads_the_exports(stores: list[Store], tmp_path: Path) -> None:
    """Its windows are the store's tokens, its documents the store's, its repeats ours."""
    for name, store in zip("ab", stores, strict=True):
        export_store(store, tmp_path / name, "olmo")
    answers = ask(OLMO, LENGTH, tmp_path / "a/web.npy", tmp_path / "b/web.npy")
    for store, found in zip(stores, answers, strict=True):
        tokens = store.tokens(0, store.num_tokens)
        count = store.num_tokens // LENGTH
        rows = tokens[: count * LENGTH].reshape(count, LENGTH)
        assert found["rows"] == rows.tolist()
        flagged = repeats(rows, times=12).tolist()
        assert found["good"] == [not flag for flag in flagged]
        assert 0 < sum(flagged) < count
        spans = [store.document_span(n) for n in range(120)]
        assert found["documents"] == [list(span) for span in spans]
        for n, lengths in enumerate(found["lengths"]):
            low, high = n * LENGTH, (n + 1) * LENGTH
            held = [min(e, high) - max(a, low) for a, e in spans if max(a, low) < min(e, high)]
            assert lengths == held


MEGATRON = """
import json, sys, warnings
warnings.simplefilter("ignore")
from megatron.core.datasets.indexed_dataset import IndexedDataset

found = []
for prefix in sys.argv[1:]:
    data = IndexedDataset(prefix, mmap=True)
    found.append({
        "documents": [data[n].tolist() for n in range(len(data))],
        "index": data.document_indices.tolist(),
        "middle": data.get(1, offset=1, length=2).tolist(),
    })
print(json.dumps(found))
"""


def test_megatron_reads_the_exports(stores: list[Store], tmp_path: Path) -> None:
    """Every sequence is a document of the store, shard by shard, by position within it too."""
    prefixes = []
    for name, store in zip("ab", stores, strict=True):
        files = export_store(store, tmp_path / name, "megatron")
        prefixes += [file.with_suffix("") for file in files if file.suffix == ".idx"]
    found = ask(MEGATRON, *prefixes)
    read = [tokens for shard in found for tokens in shard["documents"]]
    spans = [(store, store.document_span(n)) for store in stores for n in range(120)]
    assert read == [store.tokens(*span).tolist() for store, span in spans]
    for shard in found:
        assert shard["index"] == list(range(len(shard["documents"]) + 1))
        assert shard["middle"] == shard["documents"][1][1:3]


def test_datatrove_reads_the_exports(stores: list[Store], tmp_path: Path) -> None:
    """Its windows are the shards' tokens; positions within documents follow the store's ends."""
    from datatrove.utils.dataset import DatatroveFolderDataset

    for store in stores:
        folder = tmp_path / store.dtype.name
        export_store(store, folder, "datatrove")
        size = store.dtype.itemsize
        data = DatatroveFolderDataset(str(folder), LENGTH, token_size=size, return_positions=True)
        windows = [window for shard in range(3) for window in datatrove_windows(store, shard)]
        assert len(data) == len(windows)
        for n, (tokens, positions) in enumerate(windows):
            item = data[n]
            assert item["input_ids"].tolist() == tokens
            assert item["positions"].tolist() == positions


def datatrove_windows(store: Store, shard: int) -> list[tuple[list[int], list[int]]]:
    """Windows of L + 1 tokens without overlap, and each token's place since its window or text."""
    tokens = np.fromfile(store.path / f"shards/{shard:05d}.tok", store.dtype).tolist()
    ends = set(np.fromfile(store.path / f"shards/{shard:05d}.end", "<u8").tolist())
    windows = []
    for start in range(0, len(tokens) - LENGTH, LENGTH + 1):
        positions: list[int] = []
        for at in range(start, start + LENGTH + 1):
            positions.append(0 if at == start or at in ends else positions[-1] + 1)
        windows.append((tokens[start : start + LENGTH + 1], positions))
    return windows


def test_datatrove_writes_what_is_imported(tmp_path: Path) -> None:
    """Files of its own tokenized-file writer become a store, token for token."""
    from datatrove.pipeline.tokens.tokenizer import TokenizedFile

    from dolmix.shards.interop import import_store

    folder = tmp_path / "theirs"
    folder.mkdir()
    documents = [[5, 6, 7, 0], [9, 0], [8, 8, 8, 8, 0]]
    written = TokenizedFile(str(folder), "a.ds", save_final_metadata=True)
    for document in documents:
        written.write(document, None)
    written.close()
    import_store(folder, tmp_path / "web@1", "datatrove", tokenizer=store_builder.pin())
    opened = open_store(tmp_path / "web@1")
    assert [opened.tokens(*opened.document_span(n)).tolist() for n in range(3)] == documents
