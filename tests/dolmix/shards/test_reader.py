"""What a reader promises: the written tokens, boundaries and provenance, by position, and light."""

import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import store_builder
from hypothesis import given, settings
from hypothesis import strategies as st

from dolmix.errors import StoreError
from dolmix.shards import folders, ids, open_store


@settings(deadline=None, max_examples=40)
@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=20),
    shard_tokens=st.integers(1, 30),
    data=st.data(),
)
def test_what_was_written_is_read(
    lengths: list[int], shard_tokens: int, data: st.DataObject
) -> None:
    """Every span of tokens, document span and boundary comes back, whatever the shards."""
    documents = store_builder.documents(lengths)
    with TemporaryDirectory() as folder:
        store_builder.write(Path(folder), documents, shard_tokens=shard_tokens)
        with open_store(Path(folder) / "web@1") as store:
            total = store.num_tokens
            start = data.draw(st.integers(0, total))
            stop = data.draw(st.integers(start, total))
            assert store.tokens(start, stop).tolist() == documents.tokens[start:stop].tolist()
            assert store.tokens(start, stop).dtype == store.dtype
            assert store.ends.tolist() == np.cumsum(lengths).tolist()
            assert store.ends.dtype == np.uint64
            spans = [store.document_span(n) for n in range(store.num_documents)]
            assert spans == documents.spans
            touching = [n for n, (a, e) in enumerate(spans) if max(a, start) < min(e, stop)]
            assert list(store.documents_in(start, stop)) == touching


@settings(deadline=None, max_examples=40)
@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=20),
    shard_tokens=st.integers(1, 30),
    data=st.data(),
)
def test_many_spans_at_once_are_each_of_them(
    lengths: list[int], shard_tokens: int, data: st.DataObject
) -> None:
    """Spans in any order, overlapping, empty or over many shards, land where they were asked to."""
    documents = store_builder.documents(lengths)
    total = sum(lengths)
    edges = st.tuples(st.integers(0, total), st.integers(0, total)).map(sorted)
    spans = np.array(data.draw(st.lists(edges, max_size=8)), np.int64).reshape(-1, 2)
    with TemporaryDirectory() as folder:
        store_builder.write(Path(folder), documents, shard_tokens=shard_tokens)
        with open_store(Path(folder) / "web@1") as store:
            sizes = spans[:, 1] - spans[:, 0]
            at = 1 + np.cumsum(sizes + 2) - (sizes + 2)
            out = np.full(int((sizes + 2).sum()) + 1, -1, np.int64)
            store.read_spans(spans[:, 0], sizes, out, at)
            expected = [-1]
            for start, stop in spans.tolist():
                expected += [*documents.tokens[start:stop].tolist(), -1, -1]
            assert out.tolist() == expected
            rows, ends = store.ends_between(spans[:, 0], spans[:, 1])
            found = [(r, e) for r, (a, b) in enumerate(spans) for e in store.ends if a < e < b]
            assert list(zip(rows.tolist(), ends.tolist(), strict=True)) == found


def test_few_files_are_mapped_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading at random over many shards keeps to the limit; what was handed out stays as it is.

    A map holds a file descriptor, of which a process has a thousand as a rule.
    """
    documents = store_builder.documents([4] * 40)
    store_builder.write(tmp_path, documents, shard_tokens=4)
    monkeypatch.setattr(folders, "_most_maps", lambda: 5)
    with open_store(tmp_path / "web@1") as store:
        kept = {n: store.tokens(4 * n, 4 * n + 4) for n in [*range(39, -1, -1), 3, 17, 3]}
        assert len(folders._MAPS) <= 5
        for n, tokens in kept.items():
            assert tokens.tolist() == documents.tokens[4 * n : 4 * n + 4].tolist()
        assert np.array_equal(store.tokens(0, 160), documents.tokens)


def test_provenance_comes_in_the_order_asked(tmp_path: Path) -> None:
    """Rows of several shards and row groups, repeated and unsorted, each with its kept columns."""
    documents = store_builder.documents([2] * 2600)
    store_builder.write(tmp_path, documents, shard_tokens=3000)
    wanted = [2599, 0, 1499, 1500, 1024, 0]
    with open_store(tmp_path / "web@1") as store:
        rows = store.provenance(wanted)
    assert [row.document for row in rows] == wanted
    assert [row.id for row in rows] == [f"doc-{n}" for n in wanted]
    assert [row.record for row in rows] == wanted
    assert (rows[1].url, rows[0].url) == ("http://x/0", None)
    assert rows[0].path == "part/a.jsonl.gz"
    assert rows[0].num_tokens == 2
    assert rows[2].columns == {
        "language.score": documents.rows.column("language.score")[1499].as_py()
    }


@pytest.mark.parametrize("row_group_size", [1, 100, 1000, 1024])
def test_any_row_groups_up_to_the_limit_are_read(tmp_path: Path, row_group_size: int) -> None:
    """A writer may cut its docs files anywhere: the same rows come back, by number and by id."""
    size = 1300 if row_group_size > 1 else 40
    store_builder.write(tmp_path, store_builder.documents([2] * size), shard_tokens=2 * size - 60)
    wanted = [n for n in (size - 1, 1249, 0, 99, 100, 10, size // 2, 1000, 1024, 0) if n < size]
    with open_store(tmp_path / "web@1") as store:
        expected = store.provenance(wanted)
    for file in (tmp_path / "web@1/shards").glob("*.parquet"):
        pq.write_table(pq.read_table(file), file, row_group_size=row_group_size)
    with open_store(tmp_path / "web@1") as store:
        assert store.provenance(wanted) == expected
        assert [store.find_id(f"doc-{n}") for n in wanted] == [[n] for n in wanted]


def _cut_rows(table: pa.Table) -> pa.Table:
    return table.slice(0, 3)


def _drop_url(table: pa.Table) -> pa.Table:
    return table.drop_columns(["url"])


def _empty_path(table: pa.Table) -> pa.Table:
    return table.set_column(2, "path", pa.nulls(table.num_rows, pa.string()))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (_cut_rows, "3 rows for 6 documents"),
        (_drop_url, "no column 'url'"),
        (_empty_path, "6 documents have no path"),
    ],
)
def test_a_damaged_docs_file_is_a_store_error(
    tmp_path: Path, damage: Callable[[pa.Table], pa.Table], said: str
) -> None:
    """Too few rows, a missing column, missing values: the error names the file and what it has."""
    store_builder.write(tmp_path, store_builder.documents([2] * 6))
    file = tmp_path / "web@1/shards/00000.docs.parquet"
    pq.write_table(damage(pq.read_table(file)), file)
    with open_store(tmp_path / "web@1") as store:
        for number in (0, 5):
            with pytest.raises(StoreError, match=said) as caught:
                store.provenance([number])
            assert str(file) in str(caught.value)


def test_an_id_index_that_points_outside_is_a_store_error(tmp_path: Path) -> None:
    """A record of a shard or a document that does not exist names the index."""
    store_builder.write(tmp_path, store_builder.documents([2] * 6))
    file = tmp_path / "web@1/id.idx"
    records = np.fromfile(file, ids.RECORD)
    for field in ("shard", "document"):
        changed = records.copy()
        changed[field] = 70
        file.write_bytes(changed.tobytes())
        with (
            open_store(tmp_path / "web@1") as store,
            pytest.raises(StoreError, match=r"id\.idx.*70"),
        ):
            store.find_id("doc-3")


@pytest.mark.parametrize("name", ["\udcff", "doc-\ud800"])
def test_an_id_that_is_no_text_is_in_no_store(tmp_path: Path, name: str) -> None:
    """Bytes of a command line that are not UTF-8 arrive as lone surrogates, and match nothing."""
    store_builder.write(tmp_path, store_builder.documents([2] * 6))
    with open_store(tmp_path / "web@1") as store:
        assert store.find_id(name) == []


def test_an_id_finds_its_documents(tmp_path: Path) -> None:
    """Present ids give their numbers across shards, repeated ids all of them, absent ids none."""
    documents = store_builder.documents([3] * 50)
    names = pa.array(["same" if n in {7, 41} else f"doc-{n}" for n in range(50)])
    rows = documents.rows.set_column(0, "id", names)
    store_builder.write(
        tmp_path, type(documents)(documents.tokens, documents.lengths, rows), shard_tokens=30
    )
    with open_store(tmp_path / "web@1") as store:
        assert store.find_id("same") == [7, 41]
        assert store.find_id("doc-49") == [49]
        assert store.find_id("doc-7") == []
        assert store.find_id("") == []


def test_colliding_keys_are_told_apart_by_the_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With every key equal, `find_id` still returns exactly the documents of that id."""
    monkeypatch.setattr(ids, "_digest", lambda _: b"collided")
    store_builder.write(tmp_path, store_builder.documents([3] * 5), shard_tokens=6)
    with open_store(tmp_path / "web@1") as store:
        assert [store.find_id(f"doc-{n}") for n in range(5)] == [[n] for n in range(5)]


def test_id_keys_are_blake2b_64_little_endian(tmp_path: Path) -> None:
    """`id.idx` is sorted by key and can be read without dolmix."""
    store_builder.write(tmp_path, store_builder.documents([3] * 5), shard_tokens=6)
    data = (tmp_path / "web@1/id.idx").read_bytes()
    records = [data[n : n + 16] for n in range(0, len(data), 16)]
    keys = [int.from_bytes(r[:8], "little") for r in records]
    places = [
        (int.from_bytes(r[8:12], "little"), int.from_bytes(r[12:], "little")) for r in records
    ]
    assert keys == sorted(keys)
    assert sorted(places) == [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0)]
    assert dict(zip(keys, places, strict=True))[ids.id_key("doc-3")] == (1, 1)


@pytest.mark.parametrize("span", [(-1, 2), (3, 2), (0, 11), (11, 11)])
def test_a_span_outside_the_store_is_refused(tmp_path: Path, span: tuple[int, int]) -> None:
    """The error says how many tokens there are."""
    store_builder.write(tmp_path, store_builder.documents([4, 6]))
    with open_store(tmp_path / "web@1") as store:
        with pytest.raises(StoreError, match="has 10 tokens"):
            store.tokens(*span)
        with pytest.raises(StoreError, match="it has 2, numbered from 0"):
            store.document_span(2)
        with pytest.raises(StoreError, match="no document -1"):
            store.provenance([0, -1])


def test_tokens_cannot_be_changed_through_a_reader(tmp_path: Path) -> None:
    """A store is immutable: its arrays are read-only views of the files."""
    store_builder.write(tmp_path, store_builder.documents([4, 6]))
    with open_store(tmp_path / "web@1") as store, pytest.raises(ValueError, match="read-only"):
        store.tokens(0, 4)[0] = 1


def test_a_store_pickles_as_its_path(tmp_path: Path) -> None:
    """A loader's worker process gets a store of its own, on the same files."""
    store_builder.write(tmp_path, store_builder.documents([4, 6]))
    with open_store(tmp_path / "web@1") as store:
        again = pickle.loads(pickle.dumps(store))
        assert again.content_hash == store.content_hash
        assert again.tokens(0, 10).tolist() == store.tokens(0, 10).tolist()


def test_what_is_no_store_is_refused(tmp_path: Path) -> None:
    """Absent folder, unreadable manifest, other format, missing field: each says what it is."""
    with pytest.raises(StoreError, match=r"no store: it has no manifest\.json"):
        open_store(tmp_path / "web@1")
    manifest = tmp_path / "manifest.json"
    for text, message in [
        ("{", "cannot be read"),
        ("[]", "format None"),
        ('{"format": "dolmix-store-9"}', "format 'dolmix-store-9'; this version reads"),
        ('{"format": "dolmix-store-1"}', "damaged at source: Field required"),
    ]:
        manifest.write_text(text)
        with pytest.raises(StoreError, match=message):
            open_store(tmp_path)


@pytest.mark.parametrize("name", ["00000.tok", "00001.end"])
def test_a_file_of_the_wrong_size_is_refused_when_opening(tmp_path: Path, name: str) -> None:
    """The error names the file with the bytes found and expected; a missing file likewise."""
    store_builder.write(tmp_path, store_builder.documents([4, 6]), shard_tokens=4)
    file = tmp_path / "web@1/shards" / name
    size = file.stat().st_size
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(StoreError, match=rf"{name} has {size - 1} bytes.*says {size} bytes"):
        open_store(tmp_path / "web@1")
    file.unlink()
    with pytest.raises(StoreError, match=rf"{name} is missing"):
        open_store(tmp_path / "web@1")


def test_a_manifest_that_contradicts_itself_is_refused(tmp_path: Path) -> None:
    """Totals that are not the sum of the shards, or a foreign content hash, do not open."""
    store_builder.write(tmp_path, store_builder.documents([4, 6]))
    file = tmp_path / "web@1/manifest.json"
    good = json.loads(file.read_bytes())
    file.write_text(json.dumps({**good, "content_hash": "0" * 64}))
    with pytest.raises(StoreError, match="its shards' digests give"):
        open_store(tmp_path / "web@1")
    good["totals"]["tokens"] = 11
    file.write_text(json.dumps(good))
    with pytest.raises(StoreError, match=r"totals\.tokens is 11, its shards sum to 10"):
        open_store(tmp_path / "web@1")


def test_reading_tokens_needs_numpy_and_pydantic_alone(tmp_path: Path) -> None:
    """Opening, tokens, spans and instances import no pyarrow, numba or tokenizers."""
    store_builder.write(tmp_path, store_builder.documents([4, 6, 30]))
    code = (
        "import sys; from dolmix.shards import ConcatInstances, open_store\n"
        f"store = open_store({str(tmp_path / 'web@1')!r})\n"
        "assert store.tokens(0, 10).size == 10 and store.document_span(2) == (10, 40)\n"
        "instances = ConcatInstances(store, 8)\n"
        "assert instances.tokens(3).size == 9 and instances.documents(1)\n"
        "heavy = {'pyarrow', 'numba', 'tokenizers', 'torch', 'pandas'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
