"""What a writer promises: exact layout, bytes that follow from the documents, all or nothing."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from hashlib import blake2b
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
from dolmix.files import commit
from dolmix.shards import ParentFile, ShardEntry, StoreWriter, open_store, verify
from dolmix.shards import shard as shard_module
from dolmix.shards.layout import content_hash, length_quantiles, shard_file
from dolmix.shards.shard import ShardFiles


@settings(deadline=None, max_examples=40)
@given(
    lengths=st.lists(st.integers(1, 9), max_size=14),
    shard_tokens=st.integers(1, 25),
    data=st.data(),
)
def test_bytes_do_not_depend_on_how_documents_are_appended(
    lengths: list[int], shard_tokens: int, data: st.DataObject
) -> None:
    """Any grouping of documents into appends, empty ones included, gives the same bytes."""
    documents = store_builder.documents(lengths)
    cuts = tuple(sorted(data.draw(st.lists(st.integers(0, len(lengths)), max_size=5))))
    with TemporaryDirectory() as one, TemporaryDirectory() as other:
        store_builder.write(Path(one), documents, shard_tokens=shard_tokens)
        store_builder.write(Path(other), documents, shard_tokens=shard_tokens, cuts=cuts)
        assert store_builder.contents(Path(one)) == store_builder.contents(Path(other))
        assert verify(Path(one) / "web@1", full=True) == []


@pytest.mark.parametrize("cuts", [(1,), (1023, 1024, 1025), tuple(range(0, 2600, 7)), (2599,)])
def test_row_groups_are_exact_however_documents_are_appended(
    tmp_path: Path, cuts: tuple[int, ...]
) -> None:
    """Docs files hold row groups of 1,024 and one remainder, the same after any appends."""
    documents = store_builder.documents([2] * 2600)
    store_builder.write(tmp_path / "one", documents)
    store_builder.write(tmp_path / "cut", documents, cuts=cuts)
    assert store_builder.contents(tmp_path / "one") == store_builder.contents(tmp_path / "cut")
    meta = pq.read_metadata(tmp_path / "cut/web@1/shards/00000.docs.parquet")
    assert [meta.row_group(n).num_rows for n in range(3)] == [1024, 1024, 552]


def test_digests_are_those_of_the_files_whoever_hashes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hashed in a thread or at once, in many appends and over many shards; no thread is left."""
    documents, threads = store_builder.documents([7, 300, 2, 90] * 40), threading.active_count()
    for folder, beside in (("thread", 1), ("some", 500), ("at_once", 1 << 30)):
        monkeypatch.setattr(shard_module, "BESIDE_BYTES", beside)
        manifest = store_builder.write(
            tmp_path / folder, documents, shard_tokens=2000, cuts=(1, 2, 50, 130)
        )
        for entry in manifest.shards:
            for kind, digest in entry.files.items():
                file = shard_file(tmp_path / folder / "web@1", entry.name, kind)
                assert commit.file_digest(file) == digest
        assert verify(tmp_path / folder / "web@1", full=True) == []
    one = store_builder.contents(tmp_path / "thread")
    assert one == store_builder.contents(tmp_path / "some")
    assert one == store_builder.contents(tmp_path / "at_once")
    assert threading.active_count() == threads


def test_tokens_may_be_written_over_after_an_append(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once `append` is back, nobody looks at its arrays any more: a buffer can be used again."""

    class SlowHash:
        """Looks at what it is given long after it was given."""

        def __init__(self, digest_size: int) -> None:
            self._hash = blake2b(digest_size=digest_size)
            self.hexdigest = self._hash.hexdigest

        def update(self, data: memoryview) -> None:
            time.sleep(0.05)
            self._hash.update(data)

    monkeypatch.setattr(shard_module, "BESIDE_BYTES", 1)
    monkeypatch.setattr(shard_module, "blake2b", SlowHash)
    documents = store_builder.documents([900])
    store_builder.write(tmp_path / "one", documents)
    tokens = documents.tokens.astype("<u2")  # as it is stored: nothing copies it on the way
    with store_builder.open_writer(tmp_path / "other") as writer:
        writer.append(tokens, documents.lengths, documents.rows, 1)
        tokens[:] = 0
        writer.commit()
    whole, other = (store_builder.contents(tmp_path / name) for name in ("one", "other"))
    assert whole["web@1/shards/00000.tok"] == other["web@1/shards/00000.tok"]
    assert verify(tmp_path / "other/web@1", full=True) == []


def test_layout_is_the_specified_one(tmp_path: Path) -> None:
    """Names, raw little-endian files, docs columns and a canonical manifest, as specified."""
    documents = store_builder.documents([3, 2, 4, 1])
    store_builder.write(tmp_path, documents, shard_tokens=6)
    root = tmp_path / "web@1"
    kinds = ("tok", "end", "docs.parquet")
    shards = {f"shards/{n:05d}.{kind}" for n in range(2) for kind in kinds}
    assert set(store_builder.contents(root)) == {"manifest.json", "id.idx"} | shards
    assert (root / "shards/00000.tok").read_bytes() == documents.tokens[:5].astype("<u2").tobytes()
    assert (root / "shards/00001.tok").read_bytes() == documents.tokens[5:].astype("<u2").tobytes()
    assert (root / "shards/00001.end").read_bytes() == np.array([4, 5], "<u8").tobytes()
    table = pq.read_table(root / "shards/00000.docs.parquet")
    assert table.column_names == ["id", "url", "path", "record", "num_tokens", "language.score"]
    assert table.column("num_tokens").to_pylist() == [3, 2]
    manifest = json.loads((root / "manifest.json").read_bytes())
    assert (root / "manifest.json").read_bytes() == commit.canonical_json(manifest)
    assert manifest["format"] == "dolmix-store-1"
    assert manifest["totals"] == {"tokens": 10, "documents": 4, "bytes": 12, "unk_tokens": 0}
    assert manifest["shards"][1]["name"] == "00001"


def test_content_hash_follows_its_definition(tmp_path: Path) -> None:
    """blake2b-256 over the raw digests of .tok and .end in shard order; docs files stay outside."""
    manifest = store_builder.write(tmp_path, store_builder.documents([3, 2, 4, 1]), shard_tokens=6)
    expected = blake2b(digest_size=32)
    for shard in ("00000", "00001"):
        for kind in ("tok", "end"):
            data = (tmp_path / f"web@1/shards/{shard}.{kind}").read_bytes()
            expected.update(blake2b(data, digest_size=32).digest())
    assert manifest.content_hash == expected.hexdigest()


def test_content_hash_of_a_fixed_store_never_changes(tmp_path: Path) -> None:
    """Golden: these tokens in these shards have this hash, on every machine and library version."""
    documents = store_builder.documents([2, 3, 1])
    tokens = np.array([7, 0, 300, 1, 0, 0])
    with store_builder.open_writer(tmp_path, shard_tokens=4) as writer:
        writer.append(tokens, documents.lengths, documents.rows, 5)
        manifest = writer.commit()
    assert manifest.content_hash == (
        "9de212894ca6effeb8a565f8504304725a2fa1a412b24ef98507b37671a4a2c4"
    )


@pytest.mark.parametrize(("largest_id", "dtype"), [(65_535, "u16"), (65_536, "u32")])
def test_token_type_follows_the_largest_id(tmp_path: Path, largest_id: int, dtype: str) -> None:
    """Ids up to 65,535 are stored in two bytes, one more needs four; the ids come back."""
    documents = store_builder.documents([40], largest_id=largest_id)
    documents.tokens[0] = largest_id
    manifest = store_builder.write(
        tmp_path, documents, tokenizer=store_builder.pin(largest_id=largest_id)
    )
    assert manifest.dtype == dtype
    with open_store(tmp_path / "web@1") as store:
        assert store.tokens(0, 40).tolist() == documents.tokens.tolist()


@settings(deadline=None, max_examples=40)
@given(lengths=st.lists(st.integers(1, 12), min_size=1, max_size=20), limit=st.integers(1, 15))
def test_a_document_never_spans_shards(lengths: list[int], limit: float) -> None:
    """Shards are filled in order up to the limit; only a document larger than it is over, alone."""
    with TemporaryDirectory() as folder:
        manifest = store_builder.write(
            Path(folder), store_builder.documents(lengths), shard_tokens=limit
        )
    left = list(lengths)
    for shard in manifest.shards:
        members, left = left[: shard.documents], left[shard.documents :]
        assert sum(members) == shard.tokens
        assert shard.tokens <= limit or shard.documents == 1
        assert not left or shard.tokens + left[0] > limit
    assert left == []


def test_a_store_without_documents_is_a_store(tmp_path: Path) -> None:
    """A source whose every document was dropped commits with no shards, and reads as empty."""
    with store_builder.open_writer(tmp_path) as writer:
        manifest = writer.commit()
    assert manifest.shards == ()
    assert manifest.length_quantiles == {}
    assert verify(tmp_path / "web@1", full=True) == []
    with open_store(tmp_path / "web@1") as store:
        assert (store.num_documents, store.num_tokens, len(store.ends)) == (0, 0, 0)
        assert store.tokens(0, 0).dtype == np.dtype("<u2")
        assert store.find_id("doc-0") == []


@given(lengths=st.lists(st.integers(1, 50), min_size=1, max_size=300))
def test_length_quantiles_are_nearest_rank(lengths: list[int]) -> None:
    """Quantile pNN is the smallest length with at least NN % of the documents at or below it."""
    found = length_quantiles([np.array(lengths)])
    assert (found["min"], found["max"]) == (min(lengths), max(lengths))
    for name in ("p01", "p05", "p25", "p50", "p75", "p95", "p99"):
        share = int(name[1:])
        enough = (n for n in sorted(set(lengths)))
        assert found[name] == next(
            n for n in enough if 100 * sum(m <= n for m in lengths) >= share * len(lengths)
        )


# --- all or nothing ----------------------------------------------------------------------------


def test_an_exception_while_writing_leaves_nothing(tmp_path: Path) -> None:
    """After an error in the middle neither the store nor a temporary directory is there."""
    documents = store_builder.documents([5] * 10)

    def write_half() -> None:
        with store_builder.open_writer(tmp_path, shard_tokens=12) as writer:
            writer.append(documents.tokens, documents.lengths, documents.rows, 1)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert list(tmp_path.iterdir()) == []


def test_leaving_without_commit_leaves_nothing(tmp_path: Path) -> None:
    """A writer that is closed without `commit` removes its attempt, and cannot be used again."""
    documents = store_builder.documents([5] * 10)
    with store_builder.open_writer(tmp_path) as writer:
        writer.append(documents.tokens, documents.lengths, documents.rows, 1)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(StoreError, match="not open"):
        writer.commit()


def test_a_killed_writer_is_invisible_and_the_next_one_commits(tmp_path: Path) -> None:
    """SIGKILL between appends leaves a hidden directory only; a rerun commits, `sweep` clears."""
    script = """
        import os, signal
        from pathlib import Path
        import store_builder
        documents = store_builder.documents([5] * 3000)
        with store_builder.open_writer(Path({folder!r}), shard_tokens=100) as writer:
            writer.append(documents.tokens, documents.lengths, documents.rows, 1)
            os.kill(os.getpid(), signal.SIGKILL)
    """
    root = Path(__file__).parents[3]
    code = textwrap.dedent(script.format(folder=str(tmp_path)))
    environment = {**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{root / 'tests'}"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, check=False)
    assert done.returncode == -signal.SIGKILL
    assert [path.name[:6] for path in tmp_path.iterdir()] == [".web@1"]
    with pytest.raises(StoreError, match="no store"):
        open_store(tmp_path / "web@1")
    store_builder.write(tmp_path, store_builder.documents([5] * 10))
    assert commit.sweep(tmp_path) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["web@1"]


def test_bytes_do_not_depend_on_where_or_when(tmp_path: Path) -> None:
    """No file of a store holds the folder it was made in."""
    for folder in ("a", "somewhere/else"):
        store_builder.write(tmp_path / folder, store_builder.documents([3, 4]))
    one = store_builder.contents(tmp_path / "a/web@1")
    assert one == store_builder.contents(tmp_path / "somewhere/else/web@1")
    assert not any(str(tmp_path).encode() in data for data in one.values())


def test_a_half_failed_append_cannot_be_committed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the disk fills up inside an append and the caller goes on, the commit is refused."""
    documents = store_builder.documents([3, 4])

    def full_disk(shard: ShardFiles, tokens: np.ndarray, *_: object) -> None:
        shard._tok.write(tokens.tobytes()[:4])
        raise OSError(28, "No space left on device")

    with store_builder.open_writer(tmp_path) as writer:
        with monkeypatch.context() as patch:
            patch.setattr(ShardFiles, "append", full_disk)
            with pytest.raises(OSError, match="No space"):
                writer.append(documents.tokens, documents.lengths, documents.rows, 1)
        writer.append(documents.tokens, documents.lengths, documents.rows, 1)
        with pytest.raises(StoreError, match=r"00000\.tok has 18 bytes.*says 14 bytes"):
            writer.commit()
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_store_is_not_taken_for_the_same_content(tmp_path: Path) -> None:
    """A committed store that lost bytes is an error when its content is committed again."""
    documents = store_builder.documents([3, 4])
    store_builder.write(tmp_path, documents)
    (tmp_path / "web@1/shards/00000.tok").write_bytes(b"")
    with pytest.raises(StoreError, match=r"00000\.tok has 0 bytes"):
        store_builder.write(tmp_path, documents)


# --- a version that is there already --------------------------------------------------------------


def test_the_same_content_again_is_left_alone(tmp_path: Path) -> None:
    """A second commit of the same content returns the manifest there and changes nothing."""
    documents = store_builder.documents([3, 4])
    first = store_builder.write(tmp_path, documents)
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "web@1").rglob("*")}
    assert store_builder.write(tmp_path, documents) == first
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "web@1").rglob("*")} == before
    assert [path.name for path in tmp_path.iterdir()] == ["web@1"]


def test_the_same_tokens_with_other_provenance_are_left_alone_with_a_word(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Kept columns are not content: the committed store stays, and the log says what differs."""
    documents = store_builder.documents([3, 4])
    first = store_builder.write(tmp_path, documents)
    again = store_builder.write(tmp_path, documents, parents=[])
    assert again == first
    assert "other parents" in caplog.text


def test_other_content_under_a_committed_version_is_refused(tmp_path: Path) -> None:
    """The error names both hashes and the way out; the committed store is untouched."""
    first = store_builder.write(tmp_path, store_builder.documents([3, 4]))
    before = store_builder.contents(tmp_path)
    with pytest.raises(StoreError, match="raise `version`") as caught:
        store_builder.write(tmp_path, store_builder.documents([3, 5]))
    assert first.content_hash in str(caught.value)
    assert len({w for w in str(caught.value).split() if len(w.strip(".;")) == 64}) == 2
    assert store_builder.contents(tmp_path) == before


def test_the_loser_of_a_race_takes_the_winners_store(tmp_path: Path) -> None:
    """Of two attempts at once the first rename wins; the other one returns its manifest."""
    documents = store_builder.documents([3, 4])
    with store_builder.open_writer(tmp_path) as slow:
        slow.append(documents.tokens, documents.lengths, documents.rows, 6)
        won = store_builder.write(tmp_path, documents)
        assert slow.commit() == won
    assert [path.name for path in tmp_path.iterdir()] == ["web@1"]


def test_a_foreign_directory_in_the_way_is_refused(tmp_path: Path) -> None:
    """A directory of that name without a manifest is neither replaced nor taken for a store."""
    (tmp_path / "web@1").mkdir()
    (tmp_path / "web@1/notes.txt").write_text("mine")
    with pytest.raises(StoreError, match=r"no manifest\.json"):
        store_builder.write(tmp_path, store_builder.documents([3]))
    assert (tmp_path / "web@1/notes.txt").read_text() == "mine"


# --- gates --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("place", "token", "message"),
    [
        (2, 301, r"document 1 holds id 301; the tokenizer's ids are 0 to 300"),
        (0, -1, r"document 0 holds id -1"),
        (4, 9, r"document 1 ends in id 9, not in EOS '<\|endoftext\|>' \(0\)"),
    ],
)
def test_a_wrong_token_is_refused_where_it_is(
    tmp_path: Path, place: int, token: int, message: str
) -> None:
    """An id out of range or a document without EOS names document and id; nothing is committed."""
    documents = store_builder.documents([2, 3])
    documents.tokens[place] = token
    with pytest.raises(StoreError, match=message):
        store_builder.write(tmp_path, documents)
    assert list(tmp_path.iterdir()) == []


def test_counts_that_disagree_are_refused(tmp_path: Path) -> None:
    """Tokens, lengths and provenance rows must tell of the same documents; the numbers are told."""
    documents = store_builder.documents([2, 3])
    with store_builder.open_writer(tmp_path) as writer:
        with pytest.raises(StoreError, match=r"4 tokens.*sum to 5"):
            writer.append(documents.tokens[1:], documents.lengths, documents.rows, 1)
        with pytest.raises(StoreError, match=r"1 provenance rows"):
            writer.append(documents.tokens, documents.lengths, documents.rows.slice(1), 1)
        with pytest.raises(StoreError, match="document 1 has no tokens"):
            writer.append(documents.tokens[:2], np.array([2, 0]), documents.rows, 1)
        with pytest.raises(StoreError, match="float64, not integers"):
            writer.append(documents.tokens * 1.0, documents.lengths, documents.rows, 1)


@pytest.mark.parametrize(("limit", "refused"), [(0.29, True), (0.3, False)])
def test_too_many_unknown_tokens_are_refused_at_commit(
    tmp_path: Path, limit: float, refused: bool
) -> None:
    """3 unknown of 10 tokens pass at a limit of 0.3, not below; the error names the setting."""
    documents = store_builder.documents([10])
    documents.tokens[:9] = [5, 5, 5, 1, 2, 3, 4, 6, 7]
    settings_ = {"tokenizer": store_builder.pin(unk_id=5), "max_unk_frac": limit}
    if refused:
        with pytest.raises(
            StoreError, match=r"3 of 10 .*0\.3000 > 0\.29.*`max_unk_frac` of the pi"
        ):
            store_builder.write(tmp_path, documents, **settings_)
    else:
        assert store_builder.write(tmp_path, documents, **settings_).totals.unk_tokens == 3


def test_provenance_columns_are_checked(tmp_path: Path) -> None:
    """Missing, reserved, null and absolute places are refused, and so are columns that change."""
    documents = store_builder.documents([2])
    arguments = documents.tokens, documents.lengths
    rows = documents.rows
    absolute = rows.set_column(2, "path", pa.array(["/data/a.jsonl"]))
    with store_builder.open_writer(tmp_path) as writer:
        for wrong, message in [
            (rows.drop_columns(["path"]), r"missing \['path'\]"),
            (rows.append_column("num_tokens", pa.array([2])), r"reserved \['num_tokens'\]"),
            (rows.set_column(0, "id", pa.nulls(1, pa.string())), "1 documents have no id"),
            (absolute, "absolute: '/data/a.jsonl'"),
        ]:
            with pytest.raises(StoreError, match=message):
                writer.append(*arguments, wrong, 1)
        writer.append(*arguments, rows, 1)
        with pytest.raises(StoreError, match="columns changed between appends"):
            writer.append(*arguments, rows.append_column("more", pa.array([1])), 1)


def test_a_store_is_named_after_its_source_and_version(tmp_path: Path) -> None:
    """A directory of another name is refused before anything is written."""
    with pytest.raises(StoreError, match="named 'web@2'"):
        StoreWriter(
            tmp_path / "web@1",
            source="web",
            version=2,
            tokenizer=store_builder.pin(),
            special_in_text="plain",
            parents=[],
        )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", ["/data/a.jsonl", "C:\\a.jsonl", "file:///data/a.jsonl"])
def test_parents_are_named_by_relative_path(path: str) -> None:
    """An input with an absolute path would tie a store to one machine."""
    with pytest.raises(ValueError, match="absolute"):
        ParentFile(path=path, size=1, digest="ab")
    assert ParentFile(path="s3://bucket/a.jsonl", size=1, digest="ab").size == 1


def test_content_hash_of_two_swapped_shards_differs() -> None:
    """The order of shards is content."""
    one, other = (
        ShardEntry(
            name=f"0000{n}",
            tokens=1,
            documents=1,
            files={"tok": c * 64, "end": c * 64, "docs": c * 64},
        )
        for n, c in enumerate("ab")
    )
    assert content_hash([one, other]) != content_hash([other, one])
