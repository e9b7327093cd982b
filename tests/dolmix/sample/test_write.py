"""The sample on disk: golden contents, the same bytes again, and only what is missing is made."""

import gzip
import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import zstandard

from dolmix.errors import UsageError
from dolmix.sample import BROKEN, shipped_documents, write_sample
from dolmix.sample.document import ADDED
from dolmix.sample.harvest import Harvest, python_version

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "sample_shipped.json"
VOCAB = 512


def make(folder: Path, **settings: Any) -> Any:
    """Make a sample of the shipped documents with a small tokenizer."""
    return write_sample(folder, shipped_only=True, vocab_size=VOCAB, **settings)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One sample to look at."""
    folder = tmp_path_factory.mktemp("sample")
    make(folder)
    return folder


def lines_of(path: Path) -> list[bytes]:
    """JSON lines of a file of any type, Parquet rows as JSON without null metadata."""
    if path.name.endswith(".parquet"):
        rows = pq.read_table(path).to_pylist()
        for row in rows:
            row["metadata"] = {k: v for k, v in row["metadata"].items() if v is not None}
        return [json.dumps(row, ensure_ascii=False, sort_keys=True).encode() for row in rows]
    data = path.read_bytes()
    if path.name.endswith(".gz"):
        data = gzip.decompress(data)
    if path.name.endswith(".zst"):
        data = zstandard.ZstdDecompressor().stream_reader(data, read_across_frames=True).read()
    return data.splitlines()


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_contents_are_the_golden_ones(made: Path) -> None:
    """Decompressed contents and the tokenizer's merges never change unnoticed.

    A change on purpose: replace the file by what this test found.
    """
    found = {
        str(path.relative_to(made)): sha256(b"\n".join(lines_of(path))).hexdigest()
        for path in sorted(made.glob("*/*"))
    }
    model = json.loads((made / "tokenizer.json").read_bytes())["model"]
    merges = json.dumps([model["merges"], model["vocab"]], ensure_ascii=False, sort_keys=True)
    found["tokenizer.json"] = sha256(merges.encode()).hexdigest()
    assert found == json.loads(GOLDEN.read_text(encoding="utf-8"))


def test_every_record_follows_the_dolma_schema(made: Path) -> None:
    """Each document is there once, as id, text, source, added, created, metadata."""
    records = []
    for path in sorted(made.glob("*/*")):
        lines = lines_of(path)
        records += [json.loads(x) for x in lines if x not in {line for _, line in BROKEN}]
    assert {r["id"]: r["text"] for r in records} == {d.id: d.text for d in shipped_documents()}
    assert len(records) == len(shipped_documents())
    for record in records:
        assert set(record) == {"id", "text", "source", "added", "created", "metadata"}
        assert record["added"] == ADDED
        assert {"origin", "license"} <= record["metadata"].keys()


def test_every_file_type_is_there(made: Path) -> None:
    """Plain, gzip and zstd JSONL, and Parquet."""
    names = {"".join(path.suffixes) for path in made.glob("*/*")}
    assert names == {".jsonl", ".jsonl.gz", ".jsonl.zst", ".parquet"}


def test_another_run_gives_the_same_bytes(made: Path, tmp_path: Path) -> None:
    """No time, no name and no order of chance gets into a file."""
    make(tmp_path / "again")
    assert contents(tmp_path / "again") == contents(made)


def test_a_finished_sample_is_left_alone(tmp_path: Path) -> None:
    """A second call with the same recipe writes nothing and reports the same."""
    first = make(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    second = make(tmp_path)
    assert (first.reused, second.reused) == (False, True)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    assert second.sources == first.sources


def test_a_sample_is_reused_whatever_is_installed_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other packages or another Python leave an intact sample alone, which says whose it is.

    Stores made from it would refuse its new content.
    """
    first = write_sample(tmp_path, max_mb=0.05, vocab_size=VOCAB)
    before = contents(tmp_path)
    packages, python = Harvest().packages, python_version()
    monkeypatch.setattr(Harvest, "packages", packages[1:])
    monkeypatch.setattr("dolmix.sample.write.python_version", lambda: "3.99.0")
    again = write_sample(tmp_path, max_mb=0.05, vocab_size=VOCAB)
    assert (first.reused, again.reused) == (False, True)
    assert contents(tmp_path) == before
    assert again.made_from == first.made_from
    assert again.made_from["python"] == python
    assert again.made_from["packages"] == [f"{p.name}=={p.version}" for p in packages]


def test_other_options_make_another_sample(tmp_path: Path) -> None:
    """The size of the harvest, the vocabulary and the choice of the shipped documents decide."""
    write_sample(tmp_path, max_mb=0.05, vocab_size=VOCAB)
    assert not write_sample(tmp_path, max_mb=0.06, vocab_size=VOCAB).reused
    assert not write_sample(tmp_path, shipped_only=True, vocab_size=VOCAB).reused
    assert not write_sample(tmp_path, shipped_only=True, vocab_size=VOCAB + 1).reused
    assert write_sample(tmp_path, shipped_only=True, vocab_size=VOCAB + 1, max_mb=3).reused


@pytest.mark.parametrize("harm", ["delete", "damage", "index"])
def test_what_is_missing_or_damaged_is_made_again(tmp_path: Path, harm: str) -> None:
    """Whatever happened to a sample, another call restores it byte for byte."""
    make(tmp_path)
    whole = contents(tmp_path)
    victim = tmp_path / ("sample.json" if harm == "index" else "world/shipped.jsonl")
    if harm == "damage":
        victim.write_bytes(victim.read_bytes().replace(b"Bus", b"bus"))
    else:
        victim.unlink()
    assert not make(tmp_path).reused
    assert contents(tmp_path) == whole


def test_another_recipe_removes_what_it_does_not_have(tmp_path: Path) -> None:
    """Old files of the sample go, files of others stay."""
    make(tmp_path)
    index = json.loads((tmp_path / "sample.json").read_bytes())
    index["recipe"]["vocab_size"] = 1
    index["files"] |= {"web/readmes-0007.jsonl.zst": "", "../outside.txt": ""}
    (tmp_path / "sample.json").write_text(json.dumps(index))
    for name in ("web/readmes-0007.jsonl.zst", "web/mine.txt", "../outside.txt"):
        (tmp_path / name).write_text("text")
    make(tmp_path)
    assert not (tmp_path / "web" / "readmes-0007.jsonl.zst").exists()
    assert (tmp_path / "web" / "mine.txt").exists()
    assert (tmp_path.parent / "outside.txt").exists()


def test_an_interrupted_run_leaves_nothing_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that stops half way is finished by the next one, which is not mistaken for it."""
    from dolmix.files import commit

    write, count = commit.write_bytes, 0

    def stop_at_the_fourth(final: Path, data: bytes) -> None:
        nonlocal count
        count += 1
        if count == 4:
            raise KeyboardInterrupt
        write(final, data)

    with monkeypatch.context() as patch:
        patch.setattr(commit, "write_bytes", stop_at_the_fourth)
        with pytest.raises(KeyboardInterrupt):
            make(tmp_path / "a")
    assert not make(tmp_path / "a").reused
    make(tmp_path / "b")
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_impossible_requests_are_refused(tmp_path: Path) -> None:
    """A negative size, a vocabulary without room for bytes, a file in place of the folder."""
    (tmp_path / "file").write_text("text")
    with pytest.raises(UsageError, match="below zero"):
        write_sample(tmp_path / "a", max_mb=-1)
    with pytest.raises(UsageError, match="257"):
        write_sample(tmp_path / "b", shipped_only=True, vocab_size=256)
    with pytest.raises(UsageError, match="is a file"):
        write_sample(tmp_path / "file")
