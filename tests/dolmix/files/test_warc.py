"""WARC records: each comes once however a file is cut, and what is bad comes with its cause."""

import gzip
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from warc_files import gzipped, record

from dolmix.files import gzip_members, warc
from dolmix.files.warc import Fault, Record, parse_fields, read_records

if TYPE_CHECKING:
    from dolmix.files.paths import Compression

MAX_BYTES = 1 << 20
Item = Record | Fault
CONTENTS = st.one_of(
    st.binary(max_size=60),
    st.text(st.sampled_from("aé\n\r "), max_size=40).map(str.encode),
    st.integers(0, 400).map(lambda n: b"page text " * n),
)
ARCHIVES = st.sampled_from(
    [
        record(b"inner", "conversion"),
        b"\r\n\r\n" + record(b"inner", "conversion") * 2,
        gzip.compress(record(b"inner", "conversion"), mtime=0),
        gzip.compress(record(b"inner" * 9, "conversion"), 0, mtime=0) * 2 + b"\x1f\x8b\x08\0",
    ]
)
TYPES = st.sampled_from(["response", "request", "warcinfo", "conversion"])


def read(path: Path, start: int = 0, stop: int | None = None, most: int = MAX_BYTES) -> list[Item]:
    """Read one file, its compression by its suffix."""
    forms: dict[str, Compression] = {".warc": "", ".gz": "gz", ".zst": "zst"}
    items = read_records(str(path), forms[path.suffix], max_bytes=most, start=start, stop=stop)
    return list(items)


def read_in_parts(path: Path, edges: list[int]) -> list[Item]:
    """Read ranges one after another that together are the whole file."""
    cuts = [0, *sorted(edges), path.stat().st_size]
    return [item for a, b in pairwise(cuts) for item in read(path, a, b)]


def ids(items: list[Item]) -> list[str]:
    """Record ids; of a fault, that it is one."""
    return [
        item.headers["warc-record-id"][10:-1] if isinstance(item, Record) else "bad"
        for item in items
    ]


@settings(max_examples=60)
@given(
    drawn=st.lists(st.tuples(TYPES, st.one_of(CONTENTS, ARCHIVES)), min_size=1, max_size=6),
    edges=st.lists(st.floats(0, 1), max_size=5),
    suffix=st.sampled_from([".warc", ".warc.gz", ".warc.zst"]),
    padding=st.sampled_from([b"", b"\0" * 9]),
)
def test_records_are_read_as_written_however_the_file_is_cut(
    tmp_path_factory: pytest.TempPathFactory,
    drawn: list[tuple[str, bytes]],
    edges: list[float],
    suffix: str,
    padding: bytes,
) -> None:
    """Each once, in order, with its content, also where contents are WARC files themselves."""
    records = [record(content, type_, id_=f"{n}") for n, (type_, content) in enumerate(drawn)]
    made = {
        ".warc": b"".join,
        ".warc.gz": lambda r: gzipped(r) + padding,
        ".warc.zst": lambda r: b"".join(map(zstandard.ZstdCompressor().compress, r)),
    }
    path = tmp_path_factory.mktemp("warc") / f"a{suffix}"
    path.write_bytes(made[suffix](records))
    cuts = [int(e * path.stat().st_size) for e in edges]
    items = read(path) if suffix == ".warc.zst" else read_in_parts(path, cuts)
    found = [(i.type, i.content) if isinstance(i, Record) else (i.cause, i.raw) for i in items]
    assert found == drawn
    assert ids(items) == [str(n) for n in range(len(drawn))]


@settings(max_examples=80)
@given(
    contents=st.lists(CONTENTS, min_size=1, max_size=8),
    edges=st.lists(st.floats(0, 1), max_size=5),
    hits=st.lists(st.tuples(st.floats(0, 1), st.integers(1, 255)), max_size=3),
    cut=st.integers(0, 60),
    look_back=st.sampled_from([0, 50, 8 << 20]),
)
def test_damage_costs_the_same_records_however_the_file_is_cut(
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    contents: list[bytes],
    edges: list[float],
    hits: list[tuple[float, int]],
    cut: int,
    look_back: int,
) -> None:
    """Overwritten bytes and a lost end: ranges give what one reader gives, faults too.

    No record comes out other than it was written.
    """
    monkeypatch.setattr(warc, "LOOK_BACK_BYTES", look_back)
    written = {str(n): content for n, content in enumerate(contents)}
    stored = bytearray(gzipped([record(c, id_=i) for i, c in written.items()]))
    for place, value in hits:
        stored[int(place * (len(stored) - 1))] ^= value
    path = tmp_path_factory.mktemp("warc") / "a.warc.gz"
    path.write_bytes(bytes(stored[: len(stored) - cut]))
    whole = read(path)
    assert read_in_parts(path, [int(e * path.stat().st_size) for e in edges]) == whole
    good = {i: item.content for item, i in zip(whole, ids(whole), strict=True) if i != "bad"}
    assert good.items() <= written.items()
    if len(good) < len(written):
        assert "bad" in ids(whole) or cut


def test_a_damaged_member_costs_its_record_alone(tmp_path: Path) -> None:
    """Reading goes on at the next; the fault has the member's place and says what is wrong."""
    members = [gzip.compress(record(b"text " * 50, id_=str(n)), mtime=0) for n in range(3)]
    middle = bytearray(members[1])
    middle[-6] ^= 1
    path = tmp_path / "a.warc.gz"
    path.write_bytes(members[0] + bytes(middle) + members[2])
    items = read(path)
    assert ids(items) == ["0", "bad", "2"]
    assert isinstance(items[1], Fault)
    assert items[1].offset == len(members[0])
    assert "checksum" in items[1].cause
    assert items[2].offset == len(members[0]) + len(middle)


def test_a_truncated_file_keeps_its_whole_records(tmp_path: Path) -> None:
    """The record that is cut off is bad; none before it is."""
    path = tmp_path / "a.warc.gz"
    path.write_bytes(gzipped([record(b"text", id_=str(n)) for n in range(3)])[:-30])
    items = read(path)
    assert ids(items) == ["0", "1", "bad"]
    assert isinstance(items[2], Fault)
    assert "cut off" in items[2].cause


@pytest.mark.parametrize("suffix", [".warc", ".warc.gz"])
@pytest.mark.parametrize("length", [3, 90, 10**9])
def test_a_content_length_that_lies_costs_its_record_alone(
    tmp_path: Path, suffix: str, length: int
) -> None:
    """Too short, too long, beyond the limit: the cause has it, and the next record is found."""
    records = [record(b"one text", id_="0", length=length), *(record(b"two", id_=i) for i in "12")]
    path = tmp_path / f"a{suffix}"
    path.write_bytes(gzipped(records) if suffix == ".warc.gz" else b"".join(records))
    items = read(path)
    assert ids(items) == ["bad", "1", "2"]
    assert isinstance(items[0], Fault)
    assert f"Content-Length states {length:,} bytes" in items[0].cause
    assert items[0].raw.startswith(b"WARC/1.0")


@pytest.mark.parametrize(
    ("bad", "cause"),
    [
        (b"GET / HTTP/1.0\r\n\r\n", "no WARC record"),
        (b"WARC/x\r\n\r\n", "no WARC record"),
        (b"WARC/1\r\nWARC-Type: a\r\n\r\n", "no WARC version"),
        (b"WARC/1.0\r\nContent-Length: 0\r\n\r\n", "no WARC-Type"),
        (b"WARC/1.0\r\nWARC-Type: response\r\n\r\n", "a response record has no Content-Length"),
        (b"WARC/1.0\r\nWARC-Type: a\r\nContent-Length: -1\r\n\r\n", "'-1', which is no length"),
        (b"WARC/1.0\r\n" + b"a: b\r\n" * 20_000, "no end within 65,536"),
    ],
)
@pytest.mark.parametrize("suffix", [".warc", ".warc.gz"])
def test_a_header_that_makes_no_sense_is_a_fault(
    tmp_path: Path, suffix: str, bad: bytes, cause: str
) -> None:
    """With what is wrong; records before and after it come."""
    records = [record(b"x", id_="0"), bad + b"\r\n\r\n", record(b"x", id_="1")]
    path = tmp_path / f"a{suffix}"
    path.write_bytes(gzipped(records) if suffix == ".warc.gz" else b"".join(records))
    items = read(path)
    assert ids(items) == ["0", "bad", "1"]
    assert isinstance(items[1], Fault)
    assert cause in items[1].cause


def test_content_beyond_the_limit_is_passed_over(tmp_path: Path) -> None:
    """The record comes with its headers and length, and reading goes on behind it."""
    records = [record(b"x" * 5000, id_="0"), record(b"y", id_="1")]
    for name, stored in (("a.warc", b"".join(records)), ("a.warc.gz", gzipped(records))):
        (tmp_path / name).write_bytes(stored)
        items = read(tmp_path / name, most=4999)
        assert ids(items) == ["0", "1"]
        assert [i.content for i in items if isinstance(i, Record)] == [None, b"y"]
        assert items[0].length == 5000  # type: ignore[union-attr]


def test_memory_does_not_grow_with_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that is one long member is decompressed twice rather than held: verified all the same.

    With its checksum wrong, none of its records comes.
    """
    monkeypatch.setattr(gzip_members, "HELD_BYTES", 1000)
    monkeypatch.setattr(gzip_members, "BLOCK_BYTES", 300)
    records = [record(b"text " * 100, id_=str(n)) for n in range(5)]
    path, stored = tmp_path / "a.warc.gz", bytearray(gzip.compress(b"".join(records), mtime=0))
    path.write_bytes(bytes(stored) + gzipped([record(b"x", id_="9")]))
    assert ids(read(path)) == [*"01234", "9"]
    assert ids(read_in_parts(path, [5, 50])) == [*"01234", "9"]
    stored[-6] ^= 1
    path.write_bytes(bytes(stored) + gzipped([record(b"x", id_="9")]))
    assert ids(read(path)) == ["bad", "9"]


def test_members_that_are_no_records_are_joined(tmp_path: Path) -> None:
    """Writers that cut their text every so many bytes, as bgzip does, are read like any other."""
    text = b"".join(record(b"text " * 40, id_=str(n)) for n in range(6))
    blocks = [text[n : n + 100] for n in range(0, len(text), 100)]
    path = tmp_path / "a.warc.gz"
    path.write_bytes(gzipped(blocks))
    assert ids(read(path)) == list("012345")
    assert ids(read_in_parts(path, [100, 200, 300])) == list("012345")


def test_header_fields_are_read_as_the_standard_says() -> None:
    """Names without case, first of a name that repeats, folded lines joined, no colon no field."""
    lines = ["A-b: 1", "A-B: 2", "  not this", "C:3", "\tand 4", "nothing", " lost", "D:"]
    assert parse_fields(lines) == {"a-b": "1", "c": "3 and 4", "d": ""}


def test_line_ends_of_unix_are_read(tmp_path: Path) -> None:
    """Some writers end header lines in a newline alone."""
    path = tmp_path / "a.warc"
    text = record(b"a", id_="0") + record(b"b", id_="1")
    path.write_bytes(text.replace(b"\r\n", b"\n"))
    assert ids(read(path)) == ["0", "1"]
    assert ids(read_in_parts(path, [3, 150, 200])) == ["0", "1"]


def test_a_damaged_zstd_file_keeps_its_whole_frames(tmp_path: Path) -> None:
    """Frames are verified before their records come; what follows the damage is lost, and told."""
    frames = [
        zstandard.ZstdCompressor(write_checksum=True).compress(record(b"text " * 30, id_=str(n)))
        for n in range(3)
    ]
    path = tmp_path / "a.warc.zst"
    path.write_bytes(b"".join(frames)[:-9])
    assert ids(read(path)) == ["0", "1", "bad"]
    second = bytearray(frames[1])
    second[-3] ^= 1
    path.write_bytes(frames[0] + bytes(second) + frames[2])
    items = read(path)
    assert ids(items) == ["0", "bad"]
    assert isinstance(items[1], Fault)
    assert "zstd" in items[1].cause


@given(
    contents=st.lists(st.integers(0, 90).map(lambda n: b"word " * n), min_size=1, max_size=8),
    edges=st.lists(st.floats(0, 1), max_size=5),
    faults=st.lists(st.integers(0, 7), max_size=3),
    look_back=st.integers(0, 60),
)
def test_plain_files_are_cut_where_records_begin(
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    contents: list[bytes],
    edges: list[float],
    faults: list[int],
    look_back: int,
) -> None:
    """A range finds its first record by itself, from however near; records without type are bad."""
    monkeypatch.setattr(warc, "LOOK_BACK_BYTES", look_back)
    types = ["" if n in faults else "response" for n in range(len(contents))]
    records = [
        record(c, t, id_=str(n)) for n, (c, t) in enumerate(zip(contents, types, strict=True))
    ]
    path = tmp_path_factory.mktemp("warc") / "a.warc"
    path.write_bytes(b"".join(records))
    items = read_in_parts(path, [int(e * path.stat().st_size) for e in edges])
    assert items == read(path)
    assert ids(items) == [str(n) if t else "bad" for n, t in enumerate(types)]
