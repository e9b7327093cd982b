"""Reading a source: any cut gives the same documents, and nothing bad passes in silence."""

import gzip
import json
import os
import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import chain, pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from dolmix.errors import DataError
from dolmix.files import records
from dolmix.sources import (
    BadRecord,
    BadRecords,
    Fields,
    Part,
    PartReader,
    Split,
    plan_parts,
    read_part,
)

SKIP = BadRecords(policy="skip")
FAIL = BadRecords()


@dataclass
class Result:
    """What reading a list of parts gave: documents by id in order, reports, counts."""

    documents: list[tuple[str, str]]
    lines: list[int | None]
    reports: list[BadRecord]
    readers: list[PartReader]

    @property
    def num_bad(self) -> int:
        """Bad records of all parts."""
        return sum(r.num_bad for r in self.readers)

    @property
    def num_records(self) -> int:
        """Records of all parts, bad ones included."""
        return sum(r.num_records for r in self.readers)


def read(
    parts: Sequence[Part],
    bad: BadRecords = FAIL,
    fields: Fields = Fields(),  # noqa: B008 - frozen
    **limits: int,
) -> Result:
    """Read parts one after another."""
    result = Result([], [], [], [])
    before = 0
    for part in parts:
        reader = read_part(part, fields, ["n"], bad, result.reports.append, **limits)
        for batch in reader:
            result.documents += zip(batch.ids.to_pylist(), batch.text.to_pylist(), strict=True)
            result.lines += (before + batch.records).tolist()
        result.readers.append(reader)
        before += reader.num_lines
    return result


def plan(path: Path, part_bytes: int = 1 << 40, **kwargs: bool) -> list[Part]:
    """Plan one file; whole unless told otherwise."""
    return plan_parts([str(path)], part_bytes=part_bytes, **kwargs)


def line(n: object, text: str = "some text") -> bytes:
    """One record as a line, without its end."""
    return json.dumps({"id": n, "text": text}, ensure_ascii=False).encode()


def zstd(text: bytes) -> bytes:
    """One frame with a checksum."""
    return zstandard.ZstdCompressor(level=1, write_checksum=True).compress(text)


# --- the same documents however files are cut ------------------------------------------------

LINES = st.lists(
    st.one_of(
        st.sampled_from([b"", b"  \t", b"\r"]),
        st.text(st.sampled_from("aé\u2028\u0085\r "), max_size=8).map(lambda t: line(1, t)),
    ),
    max_size=12,
)


@st.composite
def streams(draw: st.DrawFn) -> tuple[bytes, list[tuple[str, str]], list[int]]:
    """Draw a JSONL stream, with what it holds: documents, and the line number of each."""
    stream, documents, numbers = b"", [], []
    lines = draw(LINES)
    for number, drawn in enumerate(lines):
        content = drawn
        if drawn.strip():
            content = drawn.replace(b'"id": 1', b'"id": %d' % number)
            documents.append((str(number), json.loads(content)["text"]))
            numbers.append(number)
        last = number == len(lines) - 1
        stream += content + draw(
            st.sampled_from([b"\n", b"\r\n", b""] if last else [b"\n", b"\r\n"])
        )
    return stream, documents, numbers


@settings(deadline=None, max_examples=60)
@given(drawn=streams(), part_bytes=st.integers(1, 80))
def test_byte_ranges_of_any_size_give_the_same_documents(
    tmp_path_factory: pytest.TempPathFactory,
    drawn: tuple[bytes, list[tuple[str, str]], list[int]],
    part_bytes: int,
) -> None:
    """Blank lines, carriage returns, odd separators, no last newline: each document comes once.

    Line numbers of consecutive parts add up to those of the file.
    """
    stream, documents, numbers = drawn
    path = tmp_path_factory.mktemp("jsonl") / "a.jsonl"
    path.write_bytes(stream)
    parts = plan(path, part_bytes)
    assert len(parts) == max(1, -(-len(stream) // part_bytes))
    result = read(parts, SKIP, batch_documents=2)
    assert result.documents == documents
    assert result.lines == numbers
    assert result.num_records - result.num_bad == len(documents)


@settings(deadline=None, max_examples=60)
@given(
    drawn=streams(),
    part_bytes=st.integers(1, 200),
    policy=st.sampled_from([SKIP, FAIL]),
    data=st.data(),
)
def test_zstd_frames_of_any_size_give_the_same_documents(
    tmp_path_factory: pytest.TempPathFactory,
    drawn: tuple[bytes, list[tuple[str, str]], list[int]],
    part_bytes: int,
    policy: BadRecords,
    data: st.DataObject,
) -> None:
    """Lines may run across one frame border or many; frames may be empty."""
    stream, documents, numbers = drawn
    if not documents:
        stream, documents, numbers = line(0) + b"\n", [("0", "some text")], [0]
    edges = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    edges = [0, *edges, len(stream)]
    path = tmp_path_factory.mktemp("zst") / "a.jsonl.zst"
    frames = [zstd(stream[a:b]) for a, b in pairwise(edges)]
    path.write_bytes(b"".join(frames))
    result = read(plan(path, part_bytes), policy, batch_documents=2)
    assert result.documents == documents
    assert result.lines == numbers
    assert result.reports == []


@settings(deadline=None, max_examples=30)
@given(
    rows=st.integers(0, 40),
    group=st.integers(1, 12),
    part_bytes=st.integers(1, 3000),
    size=st.integers(1, 7),
)
def test_runs_of_row_groups_give_the_same_documents(
    tmp_path_factory: pytest.TempPathFactory, rows: int, group: int, part_bytes: int, size: int
) -> None:
    """Row numbers are known in every part, so ids can be made from them."""
    path = tmp_path_factory.mktemp("parquet") / "a.parquet"
    texts = [f"text {n} " * n for n in range(rows)]
    pq.write_table(pa.table({"text": pa.array(texts, pa.string())}), path, row_group_size=group)
    parts = plan(path, part_bytes, splittable=False)
    result = read(parts, SKIP, Fields(id=None), batch_documents=size)
    assert result.documents == [(f"a.parquet:{n}", text) for n, text in enumerate(texts)]
    starts = [p.first_record for p in parts]
    assert starts == sorted(set(starts))  # type: ignore[type-var]
    assert [r.cause for r in result.reports] == (["file holds no records"] if not rows else [])


def test_all_formats_give_the_same_batches(tmp_path: Path) -> None:
    """Text, ids, urls and further fields do not depend on how a record is stored."""
    rows = [
        {"id": f"d{n}", "text": "é" * n, "metadata": {"url": f"u{n}", "stars": n}} for n in range(9)
    ]
    stream = b"".join(json.dumps(r).encode() + b"\n" for r in rows)
    (tmp_path / "a.jsonl").write_bytes(stream)
    (tmp_path / "b.json.gz").write_bytes(gzip.compress(stream))
    (tmp_path / "c.jsonl.zst").write_bytes(zstd(stream))
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "d.parquet")
    seen = []
    for part in plan_parts([str(tmp_path / "*")], part_bytes=1 << 30):
        fields = Fields(url="metadata.url")
        reader = read_part(part, fields, ["metadata.stars", "none"], FAIL, print, batch_bytes=40)
        batches = list(reader)
        assert reader.text_bytes == sum(len(str(r["text"]).encode()) for r in rows)
        assert (reader.num_records, reader.num_lines, reader.num_bad) == (9, 9, 0)
        columns = [
            (b.text.to_pylist(), b.ids.to_pylist(), b.urls.to_pylist(), b.records.tolist(),
             {k: v.to_pylist() for k, v in b.fields.items()})
            for b in batches
        ]  # fmt: skip
        assert all(b.text.type == pa.large_string() for b in batches)
        seen.append([list(chain.from_iterable(c[k] for c in columns)) for k in range(4)])
        seen[-1] += [list(chain.from_iterable(c[4]["metadata.stars"] for c in columns))]
        assert len(batches) > 1
    assert seen[0] == seen[1] == seen[2] == seen[3]
    assert seen[0][4] == [str(n) for n in range(9)]


def test_ids_made_from_lines_name_file_and_line(tmp_path: Path) -> None:
    """`path:line`, from 0, blank lines counted; such files are not cut."""
    (tmp_path / "x").mkdir()
    (tmp_path / "x/a.jsonl").write_bytes(b'{"text":"a"}\n\n{"text":"b"}\n')
    inputs = [str(tmp_path / "*/*.jsonl")]
    parts = plan_parts(inputs, part_bytes=5, splittable=False)
    result = read(parts, FAIL, Fields(id=None))
    assert [d for d, _ in result.documents] == ["x/a.jsonl:0", "x/a.jsonl:2"]
    cut = plan_parts(inputs, part_bytes=5)
    with pytest.raises(ValueError, match="splittable=False"):
        read(cut, FAIL, Fields(id=None))


# --- planning ----------------------------------------------------------------------------------


def test_parts_are_plain_data(tmp_path: Path) -> None:
    """A part survives JSON and pickling, so it can be written to a plan and sent to a worker."""
    (tmp_path / "a.jsonl").write_bytes(line(1) + b"\n" + line(2))
    parts = plan(tmp_path / "a.jsonl", 20)
    assert len(parts) > 1
    for part in parts:
        assert Part.from_json(json.loads(json.dumps(part.to_json()))) == part
        assert pickle.loads(pickle.dumps(part)) == part
        assert not os.path.isabs(part.path)  # noqa: PTH117 - a name, not a path
    assert parts[0].first_record == 0
    assert parts[1].first_record is None


def test_only_what_can_be_cut_is_cut(tmp_path: Path) -> None:
    """Files of gzip or one frame stay whole; several frames are gathered to about part_bytes."""
    text = b"".join(line(n) + b"\n" for n in range(50))
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(text) * 3)
    (tmp_path / "b.jsonl.zst").write_bytes(zstd(text))
    frame = zstd(text)
    (tmp_path / "c.jsonl.zst").write_bytes(frame * 5)
    parts = plan_parts([str(tmp_path / "*")], part_bytes=len(frame) + 1)
    size = len(frame)
    assert [(p.path, p.split) for p in parts] == [
        ("a.jsonl.gz", None),
        ("b.jsonl.zst", None),
        ("c.jsonl.zst", Split("frames", 0, 2 * size)),
        ("c.jsonl.zst", Split("frames", 2 * size, 4 * size)),
        ("c.jsonl.zst", Split("frames", 4 * size, 5 * size)),
    ]
    whole = plan_parts([str(tmp_path / "*")], part_bytes=1, splittable=False)
    assert [p.split for p in whole] == [None, None, None]


def test_planning_refuses_unknown_suffixes_and_silly_sizes(tmp_path: Path) -> None:
    """A file that a pattern reaches is read or refused, never passed over."""
    (tmp_path / "README.md").write_text("no documents")
    with pytest.raises(DataError, match=r"README\.md: unknown file suffix"):
        plan_parts([str(tmp_path / "*")], part_bytes=1)
    with pytest.raises(ValueError, match="part_bytes is 0"):
        plan_parts([], part_bytes=0)


def test_a_file_that_changed_since_planning_is_refused(tmp_path: Path) -> None:
    """Parts of two versions would not fit together; a mere new time stamp is no change."""
    path = tmp_path / "a.jsonl"
    path.write_bytes(line(1))
    parts = plan(path)
    os.utime(path, (1, 1))
    assert len(read(parts).documents) == 1
    path.write_bytes(line(2))
    with pytest.raises(DataError, match="changed since the run was planned"):
        read(parts, SKIP)
    path.unlink()
    with pytest.raises(DataError, match="No such file"):
        read(parts, SKIP)


# --- bad input ---------------------------------------------------------------------------------

GOOD = [line(n) for n in range(4)]
BAD_LINES = {
    "invalid JSON": b'{"id": 1, "text": "a',
    "invalid UTF-8": b'{"id": 1, "text": "a\xff"}',
    "lone surrogate": b'{"id": 1, "text": "\\ud800"}',
    "not an object": b"[1, 2]",
    "missing field 'text'; did you mean 'txt'": b'{"id": 1, "txt": "a"}',
    "field 'text' is null": b'{"id": 1, "text": null}',
    "field 'text' is an integer": b'{"id": 1, "text": 5}',
    "missing field 'id'": b'{"text": "a"}',
    "field 'id' is a list": b'{"id": [], "text": "a"}',
}
STORED: dict[str, Callable[[bytes], bytes]] = {"": bytes, ".gz": gzip.compress, ".zst": zstd}


@pytest.mark.parametrize("suffix", STORED)
@pytest.mark.parametrize("cause", BAD_LINES)
def test_a_bad_line_stops_the_run_or_is_set_aside(tmp_path: Path, cause: str, suffix: str) -> None:
    """Under `fail`: file, line, cause, what to do. Under `skip`: the same, kept with the line."""
    stream = b"\n".join([*GOOD[:2], b"", BAD_LINES[cause], *GOOD[2:]]) + b"\n"
    path = tmp_path / f"a.jsonl{suffix}"
    path.write_bytes(STORED[suffix](stream))
    with pytest.raises(DataError) as error:
        read(plan(path))
    message = str(error.value)
    assert message.startswith(f"{path}: line 4: ")
    assert cause in message
    assert "on_bad_record: {policy: skip" in message
    result = read(plan(path), SKIP)
    assert [d for d, _ in result.documents] == ["0", "1", "2", "3"]
    offset = stream.index(BAD_LINES[cause])
    (report,) = result.reports
    assert cause in report.cause
    assert report == BadRecord(path.name, 3, 4, offset, report.cause, BAD_LINES[cause])
    assert (result.num_records, result.num_bad, result.readers[0].num_lines) == (5, 1, 6)


@pytest.mark.parametrize("suffix", ["", ".zst"])
def test_a_bad_line_in_a_later_part_is_named_by_its_line_in_the_file(
    tmp_path: Path, suffix: str
) -> None:
    """Under `fail` the lines before a part are counted; under `skip` they are left unknown."""
    lines = [line(n) if n != 17 else b"{" for n in range(30)]
    path = tmp_path / f"a.jsonl{suffix}"
    frames = [
        STORED[suffix](b"".join(part + b"\n" for part in lines[n : n + 5])) for n in range(0, 30, 5)
    ]
    path.write_bytes(b"".join(frames))
    for part_bytes in (1, 50, 100):
        parts = plan(path, part_bytes)
        assert len(parts) > 2
        with pytest.raises(DataError, match="line 18: invalid JSON"):
            read(parts)
        result = read(parts, SKIP)
        assert len(result.documents) == 29
        (report,) = result.reports
        assert (report.line, report.raw) == (None, b"{")
        assert report.offset == (None if suffix else sum(len(i) + 1 for i in lines[:17]))


def test_a_long_bad_line_is_kept_in_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """64 KiB of it; and a line beyond the limit is one bad record, not the end of the file."""
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"x" * 300_000 + b"\n" + GOOD[0])
    (report,) = read(plan(path), SKIP).reports
    assert len(report.raw) == 64 << 10
    monkeypatch.setattr(records, "MAX_RECORD_BYTES", 100_000)
    result = read(plan(path), SKIP)
    assert [d for d, _ in result.documents] == ["0"]
    assert "longer than" in result.reports[0].cause


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.jsonl.zst", "a.parquet"])
@pytest.mark.parametrize("empty", ["no bytes", "no records"])
def test_a_file_without_records_is_reported(tmp_path: Path, name: str, empty: str) -> None:
    """An empty file is a failed download more often than a wish."""
    path = tmp_path / name
    if empty == "no bytes":
        path.write_bytes(b"")
    elif name.endswith("parquet"):
        pq.write_table(
            pa.table({"id": pa.array([], pa.string()), "text": pa.array([], pa.string())}), path
        )
    else:
        path.write_bytes(STORED[name.removeprefix("a.jsonl")](b"\n  \n"))
    with pytest.raises(DataError) as error:
        read(plan(path))
    result = read(plan(path), SKIP)
    unreadable = name == "a.parquet" and empty == "no bytes"
    cause = "corrupt Parquet" if unreadable else "file holds no records"
    assert str(error.value).startswith(f"{path}: ")
    assert "line" not in str(error.value)
    assert cause in str(error.value)
    assert result.reports[0].line is None
    assert cause in result.reports[0].cause
    assert (result.num_bad, result.num_records) == (1, 1)


def test_a_byte_order_mark_is_no_part_of_the_first_record(tmp_path: Path) -> None:
    """Some tools begin every UTF-8 file with one."""
    (tmp_path / "a.jsonl").write_bytes(b"\xef\xbb\xbf" + line(1))
    assert read(plan(tmp_path / "a.jsonl")).documents == [("1", "some text")]


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
@settings(deadline=None, max_examples=80)
@given(data=st.data())
def test_damaged_streams_never_give_a_wrong_document_in_silence(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, data: st.DataObject
) -> None:
    """Cut, flipped or overwritten anywhere: documents are right or absent, and absence is told."""
    documents = {str(n): f"Text {n * n} of its own. " * (n % 7) for n in range(60)}
    lines = [line(i, text) + b"\n" for i, text in documents.items()]
    members = [b"".join(lines[:25]), b"".join(lines[25:])]
    stored = bytearray(b"".join(STORED[suffix](m) for m in members))
    place = data.draw(st.integers(1, len(stored) - 1))
    what = data.draw(st.sampled_from(["cut", "flip", "overwrite"]))
    before = bytes(stored)
    if what == "cut":
        del stored[place:]
    elif what == "flip":
        stored[place] ^= 1 << data.draw(st.integers(0, 7))
    else:
        stored[place : place + 40] = bytes(len(stored[place : place + 40]))
    path = tmp_path_factory.mktemp("damaged") / f"a.jsonl{suffix}"
    path.write_bytes(stored)
    parts = plan(path, data.draw(st.sampled_from([1, 1 << 30])))
    result = read(parts, SKIP, batch_documents=5)
    assert all(documents[i] == text for i, text in result.documents)
    assert len(dict(result.documents)) == len(result.documents)
    between = what == "cut" and place == len(STORED[suffix](members[0]))
    if len(result.documents) < len(documents) and not between:
        assert result.reports
    try:
        strict = read(parts)
    except DataError as error:
        assert str(path) in str(error)  # noqa: PT017 - either outcome is right
    else:
        assert between or bytes(stored) == before or not result.reports
        assert len(strict.documents) == len(result.documents)


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_a_truncated_stream_keeps_the_records_before_the_cut(tmp_path: Path, suffix: str) -> None:
    """One bad record stands for the damage, at the line where the text stopped."""
    path = tmp_path / f"a.jsonl{suffix}"
    stored = STORED[suffix](b"".join(line(n, os.urandom(4000).hex()) + b"\n" for n in range(300)))
    path.write_bytes(stored[: len(stored) * 3 // 4])
    with pytest.raises(DataError, match=r"line \d+: (gzip|zstd) stream is cut off"):
        read(plan(path))
    result = read(plan(path), SKIP)
    kept = len(result.documents)
    assert 150 < kept < 300
    (report,) = result.reports
    assert (report.record, report.line, report.raw) == (kept, kept + 1, b"")


# --- bad Parquet ---------------------------------------------------------------------------------


def write_rows(path: Path, count: int = 40, group: int = 10) -> None:
    """Write rows so plainly that a byte of a text can be found and changed."""
    table = pa.table(
        {"id": [str(n) for n in range(count)], "text": [f"text {n}" for n in range(count)]}
    )
    pq.write_table(
        table, path, row_group_size=group, compression="none", use_dictionary=False,
        write_statistics=False, write_page_checksum=True,
    )  # fmt: skip


def test_a_damaged_row_group_loses_its_rows_and_no_others(tmp_path: Path) -> None:
    """All lost rows count as bad, so that the cap on skipped records sees them."""
    path = tmp_path / "a.parquet"
    write_rows(path)
    stored = path.read_bytes().replace(b"text 17", b"text 77")
    path.write_bytes(stored)
    with pytest.raises(DataError, match="row 11: row group 1: 10 rows cannot be read: corrupt"):
        read(plan(path))
    for part_bytes in (1, 1 << 30):
        result = read(plan(path, part_bytes), SKIP)
        assert [d for d, _ in result.documents] == [str(n) for n in range(40) if n // 10 != 1]
        assert len(result.reports) == 1
        assert result.reports[0].line == 11
        assert (result.num_bad, result.num_records) == (10, 40)


def test_a_parquet_file_without_its_end_is_one_bad_record(tmp_path: Path) -> None:
    """Without a footer nothing of the file can be read; planning leaves that to the reader."""
    path = tmp_path / "a.parquet"
    write_rows(path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match="corrupt Parquet"):
        read(plan(path, 1))
    result = read(plan(path, 1), SKIP)
    assert (result.documents, result.num_bad, len(result.reports)) == ([], 1, 1)


def test_rows_and_columns_that_do_not_fit_are_set_aside(tmp_path: Path) -> None:
    """A null text is one bad row; a missing column makes every row of the file bad."""
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"id": ["a", "b", "c"], "text": ["x", None, "z"]}), path)
    with pytest.raises(DataError, match=r"a\.parquet: row 2: field 'text' is null"):
        read(plan(path))
    result = read(plan(path), SKIP)
    assert result.documents == [("a", "x"), ("c", "z")]
    assert result.lines == [0, 2]
    assert (result.reports[0].record, result.num_bad, result.num_records) == (1, 1, 3)
    wrong = Fields(text="txt")
    with pytest.raises(DataError, match="missing column 'txt'; did you mean 'text'"):
        read(plan(path), FAIL, wrong)
    result = read(plan(path), SKIP, wrong)
    assert (len(result.reports), result.num_bad, result.num_records) == (1, 3, 3)


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_damaged_parquet_with_checksums_never_gives_a_wrong_text(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Where pages carry checksums, a changed byte costs rows and is told, or changes nothing."""
    path = tmp_path_factory.mktemp("damaged") / "a.parquet"
    write_rows(path)
    stored = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(stored) - 1))
    if data.draw(st.booleans()):
        stored[place] ^= 1 << data.draw(st.integers(0, 7))
    else:
        del stored[place:]
    path.write_bytes(stored)
    result = read(plan(path, data.draw(st.sampled_from([1, 1 << 30]))), SKIP)
    expected = {str(n): f"text {n}" for n in range(40)}
    assert all(expected[i] == text for i, text in result.documents)
    assert len(result.documents) == 40 or result.reports


def test_an_input_error_is_never_skipped(tmp_path: Path) -> None:
    """`skip` is for records; a file that cannot be opened at all stops the run."""
    path = tmp_path / "a.jsonl"
    path.write_bytes(line(1))
    (part,) = plan(path)
    with pytest.raises(DataError, match="cannot be read"):
        read([replace(part, uri=str(tmp_path / "gone.jsonl"))], SKIP)
