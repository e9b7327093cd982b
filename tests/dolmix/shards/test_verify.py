"""What `verify` promises: a sound store has no findings; each kind of damage is found and named."""

import json
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import store_builder
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dolmix.files.commit import canonical_json, file_digest
from dolmix.shards import verify
from dolmix.shards.layout import Manifest, content_hash


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Write a sound store of four shards, two of them equal in size."""
    documents = store_builder.documents([3, 3, 2, 4, 4, 2, 9])
    store_builder.write(tmp_path, documents, shard_tokens=6)
    found = tmp_path / "web@1"
    assert verify(found, full=True) == []
    return found


def named(root: Path, *, full: bool) -> set[str]:
    """Files named by the findings."""
    return {finding.file for finding in verify(root, full=full)}


def repin(root: Path, change: Callable[[dict], None] = lambda _: None) -> None:
    """Let the manifest agree with the files' digests again, as a wrong writer would."""
    raw = json.loads((root / "manifest.json").read_bytes())
    change(raw)
    for shard in raw["shards"]:
        for kind, suffix in (("tok", ".tok"), ("end", ".end"), ("docs", ".docs.parquet")):
            shard["files"][kind] = file_digest(root / "shards" / (shard["name"] + suffix))
    raw["files"]["id.idx"] = file_digest(root / "id.idx")
    raw["content_hash"] = content_hash(Manifest.model_validate(raw).shards)
    (root / "manifest.json").write_bytes(canonical_json(raw))


@settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_flipped_bit_is_found_and_named(root: Path, data: st.DataObject) -> None:
    """One bit of any file but the manifest: the full check names that file, and only it."""
    files = sorted(p for p in root.rglob("*") if p.is_file() and p.name != "manifest.json")
    file = data.draw(st.sampled_from(files))
    good = file.read_bytes()
    place = data.draw(st.integers(0, len(good) - 1))
    flipped = good[place] ^ (1 << data.draw(st.integers(0, 7)))
    file.write_bytes(good[:place] + bytes([flipped]) + good[place + 1 :])
    try:
        found = named(root, full=True)
    finally:
        file.write_bytes(good)
    assert file.relative_to(root).as_posix() in found
    assert verify(root, full=True) == []


def test_swapped_shards_of_equal_size_are_found(root: Path) -> None:
    """Sizes agree, digests do not: both files are named."""
    one, other = root / "shards/00000.tok", root / "shards/00001.tok"
    first, second = one.read_bytes(), other.read_bytes()
    assert len(first) == len(second)
    one.write_bytes(second)
    other.write_bytes(first)
    assert named(root, full=False) == set()
    assert {"shards/00000.tok", "shards/00001.tok"} <= named(root, full=True)


@pytest.mark.parametrize(
    "name", ["id.idx", "shards/00001.tok", "shards/00002.end", "shards/00000.docs.parquet"]
)
@pytest.mark.parametrize("full", [False, True])
def test_missing_and_cut_files_are_found_fast(root: Path, name: str, full: bool) -> None:
    """A truncated file and an absent one are named, without reading any other."""
    data = (root / name).read_bytes()
    (root / name).write_bytes(data[:-3])
    assert name in named(root, full=full)
    (root / name).unlink()
    assert [f.message for f in verify(root, full=full) if f.file == name] == ["is missing"]


def test_a_missing_shard_is_found(root: Path) -> None:
    """All three of its files are named, and nothing else by the fast check."""
    gone = {"shards/00001.tok", "shards/00001.end", "shards/00001.docs.parquet"}
    for name in gone:
        (root / name).unlink()
    assert named(root, full=False) == gone


def test_surplus_files_are_found(root: Path) -> None:
    """A file that the manifest does not know is named."""
    (root / "shards/00009.tok").write_bytes(b"")
    assert named(root, full=False) == {"shards/00009.tok"}


def test_a_missing_manifest_is_a_finding(root: Path) -> None:
    """`verify` reports what is no store, it does not raise."""
    (root / "manifest.json").unlink()
    assert [f.file for f in verify(root)] == ["manifest.json"]


def test_a_rewritten_manifest_is_found(root: Path) -> None:
    """Sums, content hash, dtype, unknown tokens, quantiles and canonical form are checked."""
    good = (root / "manifest.json").read_bytes()
    raw = json.loads(good)
    (root / "manifest.json").write_text(json.dumps(raw))
    assert [f.message for f in verify(root)] == ["is not canonical JSON of what it holds"]
    for full, key, value, message in [
        (False, "totals", {**raw["totals"], "documents": 8}, "its shards sum to 7"),
        (False, "content_hash", "0" * 64, "its shards' digests give"),
        (False, "dtype", "u32", "dtype is u32, the largest id 300"),
        (True, "totals", {**raw["totals"], "unk_tokens": 1}, "totals.unk_tokens is 1, found 0"),
        (True, "length_quantiles", {}, "length_quantiles differ"),
    ]:
        (root / "manifest.json").write_bytes(canonical_json({**raw, key: value}))
        messages = [f.message for f in verify(root, full=full) if f.file == "manifest.json"]
        assert len(messages) == 1
        assert message in messages[0]


def test_a_wrong_writer_is_found_out(root: Path) -> None:
    """Digests that agree do not hide wrong content: EOS, ids, boundaries, provenance, id index."""
    tok = root / "shards/00000.tok"
    good = tok.read_bytes()
    tokens = np.frombuffer(good, "<u2").copy()
    tokens[2], tokens[0] = 9, 301
    tok.write_bytes(tokens.tobytes())
    repin(root)
    found = " ".join(f.message for f in verify(root, full=True) if f.file == "shards/00000.tok")
    assert "1 documents do not end in EOS, first number 0" in found
    assert "holds id 301, the tokenizer's largest is 300" in found
    tok.write_bytes(good)
    end = root / "shards/00001.end"
    ends = end.read_bytes()
    end.write_bytes(np.array([6, 6], "<u8").tobytes())
    repin(root)
    assert "shards/00001.end" in named(root, full=True)
    end.write_bytes(ends)
    docs = root / "shards/00002.docs.parquet"
    table = pq.read_table(docs)
    ids = pa.array([f"other-{n}" for n in range(table.num_rows)])
    pq.write_table(table.set_column(0, "id", ids), docs, compression="zstd")
    repin(root)
    assert named(root, full=True) == {"id.idx"}


@pytest.mark.parametrize("rows", [1, 2, 1024])
def test_row_groups_up_to_the_limit_are_sound(root: Path, rows: int) -> None:
    """Only more than 1,024 rows in a group are a finding; smaller groups are as good."""
    for file in (root / "shards").glob("*.parquet"):
        pq.write_table(pq.read_table(file), file, row_group_size=rows)
    repin(root)
    assert verify(root, full=True) == []


def test_row_groups_above_the_limit_are_found(tmp_path: Path) -> None:
    """A docs file of one group of 1,025 rows is named, with both numbers."""
    store_builder.write(tmp_path, store_builder.documents([2] * 1025))
    file = tmp_path / "web@1/shards/00000.docs.parquet"
    pq.write_table(pq.read_table(file), file, row_group_size=2000)
    (finding,) = verify(tmp_path / "web@1")
    assert finding.file == "shards/00000.docs.parquet"
    assert finding.message == "has a row group of 1,025 rows, at most 1,024 are allowed"


def test_missing_columns_are_found(root: Path) -> None:
    """Each missing column of a docs file is told, by the fast check too."""
    file = root / "shards/00001.docs.parquet"
    pq.write_table(pq.read_table(file).drop_columns(["id", "url"]), file)
    repin(root)
    for full in (False, True):
        assert [str(f) for f in verify(root, full=full)] == [
            f"shards/00001.docs.parquet: has no column {name!r}" for name in ("id", "url")
        ]


@pytest.mark.parametrize("column", ["id", "path", "record"])
def test_missing_values_are_found(root: Path, column: str) -> None:
    """Documents without id, path or record are a finding of the full check, never an exception."""
    file = root / "shards/00001.docs.parquet"
    table = pq.read_table(file)
    at = table.column_names.index(column)
    empty = pa.nulls(table.num_rows, table.schema.field(at).type)
    pq.write_table(table.set_column(at, column, empty), file)
    repin(root)
    findings = verify(root, full=True)
    assert f"shards/00001.docs.parquet: 2 documents have no {column}" in map(str, findings)
    assert {f.file for f in findings} <= {"shards/00001.docs.parquet", "id.idx"}


def test_ids_that_are_no_text_are_found(root: Path) -> None:
    """A docs file whose ids are numbers is a finding, never an exception."""
    file = root / "shards/00001.docs.parquet"
    table = pq.read_table(file)
    pq.write_table(table.set_column(0, "id", pa.array(range(table.num_rows))), file)
    repin(root)
    assert "shards/00001.docs.parquet: column 'id' holds int64, not text" in map(
        str, verify(root, full=True)
    )


def test_content_hash_covers_tokens_and_ends_alone(root: Path) -> None:
    """Other provenance under the same tokens keeps the content hash."""
    before = json.loads((root / "manifest.json").read_bytes())["content_hash"]
    docs = root / "shards/00002.docs.parquet"
    docs.write_bytes(docs.read_bytes() + b" ")
    repin(root)
    assert json.loads((root / "manifest.json").read_bytes())["content_hash"] == before
    assert blake2b(b"", digest_size=32).hexdigest() != before


def test_two_swapped_shards_are_told_by_whose_content_they_hold(root: Path) -> None:
    """Equal in size, so that only their bytes tell: each file's finding names the other."""
    one, two = root / "shards/00000.tok", root / "shards/00001.tok"
    content = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(content)
    found = {f.file: f.message for f in verify(root, full=True) if "digest" in f.message}
    assert "which is that of shards/00001.tok" in found["shards/00000.tok"]
    assert "which is that of shards/00000.tok" in found["shards/00001.tok"]
    assert verify(root, full=True, threads=1) == verify(root, full=True, threads=5)


def test_hashes_alone_find_damage_but_no_wrong_writer(root: Path) -> None:
    """Without a look at the contents, a flipped bit is found, a wrong EOS that was digested not."""
    tok = root / "shards/00000.tok"
    tokens = np.frombuffer(tok.read_bytes(), "<u2").copy()
    tokens[2] = 9
    tok.write_bytes(tokens.tobytes())
    assert {f.file for f in verify(root, full=True, contents=False)} == {"shards/00000.tok"}
    repin(root)
    assert verify(root, full=True, contents=False) == []
    assert "EOS" in str(verify(root, full=True)[0])


def test_a_text_index_is_held_against_the_docs_files(tmp_path: Path) -> None:
    """Text hashes and their index must agree, even if the index has the digest it should have."""
    documents = store_builder.with_text_hashes(store_builder.documents([3, 3, 2]))
    store_builder.write(tmp_path, documents, shard_tokens=6)
    root = tmp_path / "web@1"
    assert verify(root, full=True) == []
    index = bytearray((root / "text.idx").read_bytes())
    index[0] ^= 1
    (root / "text.idx").write_bytes(bytes(index))

    def agree(raw: dict) -> None:
        raw["files"]["text.idx"] = file_digest(root / "text.idx")

    repin(root, agree)
    (finding,) = verify(root, full=True)
    assert str(finding) == "text.idx: differs from the text hashes of the docs files"
