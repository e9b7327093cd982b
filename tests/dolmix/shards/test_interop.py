"""Export and import: the same tokens, documents and provenance, in every format, both ways."""

import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import store_builder
from hypothesis import given, settings
from hypothesis import strategies as st

from dolmix.errors import StoreError
from dolmix.shards import Store, open_store
from dolmix.shards.interop import Format, export_store, import_store

FORMATS: tuple[Format, ...] = ("datatrove", "megatron", "olmo")


def open_built(folder: Path, lengths: list[int], **settings: Any) -> Store:
    """Write a store of documents of these lengths and open it."""
    largest = settings.pop("largest_id", 300)
    pin = store_builder.pin(largest_id=largest)
    documents = store_builder.documents(lengths, largest_id=largest)
    store_builder.write(folder, documents, tokenizer=pin, **settings)
    return open_store(folder / "web@1")


@settings(deadline=None, max_examples=12)
@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=30),
    shard_tokens=st.integers(20, 400),
    largest_id=st.sampled_from([300, 70_000]),
)
@pytest.mark.parametrize("form", FORMATS)
def test_a_round_trip_gives_the_same_store(
    tmp_path_factory: pytest.TempPathFactory,
    form: Format,
    lengths: list[int],
    shard_tokens: int,
    largest_id: int,
) -> None:
    """Tokens, ends and provenance come back; with the same shard size, the same content hash."""
    folder = tmp_path_factory.mktemp("trip")
    store = open_built(folder, lengths, shard_tokens=shard_tokens, largest_id=largest_id)
    export_store(store, folder / "out", form)
    manifest = import_store(
        folder / "out",
        folder / "back/web@1",
        form,
        tokenizer=store.manifest.tokenizer,
        shard_tokens=shard_tokens,
    )
    back = open_store(folder / "back/web@1")
    assert manifest.content_hash == store.content_hash
    assert np.array_equal(back.ends, store.ends)
    every = range(len(lengths))
    for row, was in zip(back.provenance(every), store.provenance(every), strict=True):
        assert (row.id, row.path, row.record) == (was.id, was.path, was.record)
        if form != "olmo":
            assert (row.url, row.columns) == (was.url, was.columns)


@pytest.mark.parametrize("form", FORMATS)
def test_equal_bytes_are_hard_links(tmp_path: Path, form: Format) -> None:
    """A token file that a peer reads as it is costs no disk: it is the store's own file."""
    store = open_built(tmp_path, [30, 20, 50])
    export_store(store, tmp_path / "out", form)
    ours = tmp_path / "web@1/shards/00000.tok"
    name = {"datatrove": "00000.ds", "megatron": "00000.bin", "olmo": "web.npy"}[form]
    assert (tmp_path / "out" / name).samefile(ours)
    if form == "datatrove":
        ends = tmp_path / "web@1/shards/00000.end"
        assert (tmp_path / "out/00000.ds.index").samefile(ends)


def test_without_hard_links_files_are_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Across file systems the same bytes are written."""

    def refuse(*_: Any) -> None:
        raise OSError("cross-device link")

    store = open_built(tmp_path, [30, 20, 50])
    monkeypatch.setattr("os.link", refuse)
    export_store(store, tmp_path / "out", "megatron")
    ours, copied = tmp_path / "web@1/shards/00000.tok", tmp_path / "out/00000.bin"
    assert not copied.samefile(ours)
    assert copied.read_bytes() == ours.read_bytes()


def test_exports_are_the_same_bytes_each_time(tmp_path: Path) -> None:
    """No time or name of this machine is in any exported file, gzip headers included."""
    store = open_built(tmp_path, [30, 20, 50], shard_tokens=60)
    for form in FORMATS:
        for place in ("a", "b"):
            export_store(store, tmp_path / place / form, form)
        one, other = (store_builder.contents(tmp_path / place / form) for place in ("a", "b"))
        assert one == other


def test_an_olmo_line_tells_where_a_document_is_and_was(tmp_path: Path) -> None:
    """start, end, id, input file, line from 1; several shards lie in one file, back to back."""
    store = open_built(tmp_path, [30, 20, 50], shard_tokens=40)
    files = export_store(store, tmp_path / "out", "olmo")
    assert [file.name for file in files] == ["web.csv.gz", "web.npy"]
    lines = gzip.decompress(files[0].read_bytes()).decode().splitlines()
    assert lines[1] == "30,50,doc-1,part/a.jsonl.gz,2"
    assert np.array_equal(np.fromfile(files[1], "<u2"), store.tokens(0, 100))


def test_olmo_files_without_places_end_documents_at_eos(tmp_path: Path) -> None:
    """As OLMo's own reader does; ids are then the file's name and a number."""
    store = open_built(tmp_path, [30, 20, 50])
    export_store(store, tmp_path / "out", "olmo")
    (tmp_path / "out/web.csv.gz").unlink()
    pin = store.manifest.tokenizer
    import_store(tmp_path / "out/web.npy", tmp_path / "code@3", "olmo", tokenizer=pin)
    back = open_store(tmp_path / "code@3")
    assert np.array_equal(back.ends, store.ends)
    assert back.find_id("web.npy:2") == [2]


def test_a_megatron_index_of_several_sequences_a_document(tmp_path: Path) -> None:
    """An index written by its description: documents are runs of sequences; ids are int32."""
    folder = tmp_path / "in"
    folder.mkdir()
    tokens = np.array([5, 6, 7, 0, 8, 9, 0, 3, 0], "<i4")
    tokens.tofile(folder / "a.bin")
    lengths, documents = [2, 2, 3, 2], [0, 2, 3, 4]
    offsets = [0, 8, 16, 28]
    (folder / "a.idx").write_bytes(
        b"MMIDIDX\x00\x00"
        + struct.pack("<QBQQ", 1, 4, 4, 4)
        + struct.pack("<4i4q4q", *lengths, *offsets, *documents)
    )
    pin = store_builder.pin(largest_id=10)
    import_store(folder, tmp_path / "web@1", "megatron", tokenizer=pin)
    store = open_store(tmp_path / "web@1")
    assert store.ends.tolist() == [4, 7, 9]
    assert store.tokens(0, 9).tolist() == tokens.tolist()
    assert [row.id for row in store.provenance([0, 2])] == ["a.bin:0", "a.bin:2"]


def test_a_megatron_index_is_as_described(tmp_path: Path) -> None:
    """Read with nothing but its description: header, lengths, byte offsets, documents."""
    store = open_built(tmp_path, [30, 20, 50], largest_id=70_000)
    export_store(store, tmp_path / "out", "megatron")
    data = (tmp_path / "out/00000.idx").read_bytes()
    assert data[:9] == b"MMIDIDX\x00\x00"
    assert struct.unpack_from("<QBQQ", data, 9) == (1, 4, 3, 4)
    assert struct.unpack_from("<3i3q4q", data, 34) == (30, 20, 50, 0, 120, 200, 0, 1, 2, 3)
    assert len(data) == 34 + 12 * 3 + 8 * 4


@pytest.mark.parametrize("form", FORMATS)
def test_files_that_contradict_each_other_are_refused(tmp_path: Path, form: Format) -> None:
    """Tokens that were cut do not fit their index: the error names the file, nothing is left."""
    store = open_built(tmp_path, [30, 20, 50])
    export_store(store, tmp_path / "out", form)
    (file,) = (f for f in (tmp_path / "out").iterdir() if f.suffix in {".ds", ".bin", ".npy"})
    data = file.read_bytes()
    file.unlink()
    file.write_bytes(data[:-40])
    pin = store.manifest.tokenizer
    with pytest.raises(StoreError, match=file.name):
        import_store(tmp_path / "out", tmp_path / "in/web@2", form, tokenizer=pin)
    assert not list((tmp_path / "in").iterdir()) if (tmp_path / "in").exists() else True


@pytest.mark.parametrize("form", FORMATS)
def test_what_is_no_export_is_refused(tmp_path: Path, form: Format) -> None:
    """No such folder, a folder without files of the format, a name that is no store's."""
    pin = store_builder.pin()
    with pytest.raises(StoreError, match="no such file or folder"):
        import_store(tmp_path / "gone", tmp_path / "web@1", form, tokenizer=pin)
    (tmp_path / "empty").mkdir()
    with pytest.raises(StoreError, match=f"no file of the format {form}"):
        import_store(tmp_path / "empty", tmp_path / "web@1", form, tokenizer=pin)
    with pytest.raises(StoreError, match="named <source>@<version>"):
        import_store(tmp_path / "empty", tmp_path / "web", form, tokenizer=pin)


def test_an_export_never_overwrites(tmp_path: Path) -> None:
    """A folder that is there is left alone; a store without documents has nothing to export."""
    store = open_built(tmp_path, [30, 20, 50])
    export_store(store, tmp_path / "out", "olmo")
    with pytest.raises(StoreError, match="out exists already"):
        export_store(store, tmp_path / "out", "datatrove")
    with store_builder.open_writer(tmp_path, version=2) as writer:
        writer.commit()
    with pytest.raises(StoreError, match="nothing to export"):
        export_store(open_store(tmp_path / "web@2"), tmp_path / "more", "olmo")


def test_a_document_that_does_not_end_in_eos_is_refused(tmp_path: Path) -> None:
    """The gates of a store hold for imports too."""
    store = open_built(tmp_path, [30, 20, 50])
    export_store(store, tmp_path / "out", "datatrove")
    index = tmp_path / "out/00000.ds.index"
    index.unlink()
    np.array([30, 51, 100], "<u8").tofile(index)
    pin = store.manifest.tokenizer
    with pytest.raises(StoreError, match="document 1 ends in id"):
        import_store(tmp_path / "out", tmp_path / "in/web@1", "datatrove", tokenizer=pin)
