"""What the indices of a store promise: sorted within bounded memory, every document found."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pytest
import store_builder
from hypothesis import given, settings
from hypothesis import strategies as st

from dolmix.document import TextBatch
from dolmix.errors import StoreError
from dolmix.shards import open_store
from dolmix.shards.ids import RECORD, IndexWriter, id_key, key_records
from dolmix.text.hashes import text_hashes


@settings(deadline=None, max_examples=60)
@given(
    keys=st.lists(st.integers(0, 3).map(lambda n: n * ((1 << 62) - 1)), max_size=40),
    cuts=st.lists(st.integers(0, 40), max_size=4),
    most=st.integers(0, 50),
)
def test_an_index_is_the_sorted_records_however_little_memory_it_may_take(
    keys: list[int], cuts: list[int], most: int
) -> None:
    """By key, then in store order, through files or not; nothing is left of the files."""
    whole = np.zeros(len(keys), RECORD)
    whole["key"], whole["document"] = keys, np.arange(len(keys))
    with TemporaryDirectory() as folder:
        index = IndexWriter(Path(folder) / "scratch", most=most)
        for piece in np.split(whole, sorted(cuts)):
            index.add(piece)
        index.write(Path(folder) / "index")
        found = np.fromfile(Path(folder) / "index", RECORD)
        assert [path.name for path in Path(folder).iterdir()] == ["index"]
    expected = sorted(whole.tolist())
    assert found.tolist() == expected


def test_records_name_consecutive_documents() -> None:
    """Shard and number of each key's document."""
    records = key_records(np.array([9, 8], np.uint64), shard=3, first=7)
    assert records.tolist() == [(9, 3, 7), (8, 3, 8)]


@given(texts=st.lists(st.text(max_size=9), max_size=9))
def test_texts_are_hashed_as_ids_are(texts: list[str]) -> None:
    """blake2b-64 of the UTF-8 bytes, whether of an Arrow buffer or of a Python string."""
    assert text_hashes(TextBatch.of(texts)).tolist() == [id_key(text) for text in texts]


def test_hashes_follow_documents_that_are_taken_from_a_batch() -> None:
    """A batch of some rows has their hashes, taken before or after they were computed."""
    batch = TextBatch.of(["a", "b", "c"])
    early = batch.take(np.array([2, 0]))
    whole = text_hashes(batch)
    late = batch.take(np.array([2, 0]))
    assert text_hashes(early).tolist() == text_hashes(late).tolist() == whole[[2, 0]].tolist()


def test_documents_are_found_by_text_and_url(tmp_path: Path) -> None:
    """All documents of a text in store order, none of another; URLs are looked for in all files."""
    documents = store_builder.with_text_hashes(store_builder.documents([3, 3, 2, 4]))
    at = documents.rows.column_names.index("text_hash")
    hashes = documents.rows["text_hash"].to_pylist()
    same = pa.array([*hashes[:3], hashes[0]], pa.uint64())
    twice = documents.rows.set_column(at, "text_hash", same)
    documents = store_builder.Documents(documents.tokens, documents.lengths, twice)
    manifest = store_builder.write(tmp_path, documents, shard_tokens=6)
    assert sorted(manifest.files) == ["id.idx", "text.idx"]
    with open_store(tmp_path / "web@1") as store:
        assert store.find_text("text of doc-0") == [0, 3]
        assert store.find_text("text of doc-2") == [2]
        assert store.find_text("another text") == []
        assert store.find_url("http://x/3") == [3]
        assert store.find_url("http://x/1") == []
        assert store.provenance([2])[0].text_hash == id_key("text of doc-2")
        assert "text_hash" not in store.provenance([2])[0].columns


def test_a_store_without_texts_says_so(tmp_path: Path) -> None:
    """Stores of other writers, and older ones, read as before; a text cannot be looked for."""
    store_builder.write(tmp_path, store_builder.documents([3, 3]))
    with open_store(tmp_path / "web@1") as store:
        assert list(store.manifest.files) == ["id.idx"]
        assert store.provenance([0])[0].text_hash is None
        with pytest.raises(StoreError, match=r"has no text\.idx: it was made without texts"):
            store.find_text("text of doc-0")


def test_every_document_has_a_text_hash_or_none(tmp_path: Path) -> None:
    """A null among them is refused."""
    documents = store_builder.with_text_hashes(store_builder.documents([3, 3]))
    at = documents.rows.column_names.index("text_hash")
    rows = documents.rows.set_column(at, "text_hash", [[1, None]])
    wrong = store_builder.Documents(documents.tokens, documents.lengths, rows)
    with pytest.raises(StoreError, match="1 documents have no text_hash"):
        store_builder.write(tmp_path, wrong)
