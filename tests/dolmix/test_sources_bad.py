"""Reading a source: nothing bad passes in silence, and what is lost is counted."""

import os
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reading import FAIL, SKIP, STORED, line, plan, read

from dolmix.errors import DataError
from dolmix.files import records
from dolmix.files import streams as streams_module
from dolmix.sources import BadRecord, Fields

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
    assert result.num_records - result.num_bad == len(result.documents)
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


# --- how much damage costs -----------------------------------------------------------------------


def break_checksum(stored: bytes, suffix: str) -> bytes:
    """Change one byte of the checksum of the last member or frame."""
    place = len(stored) - (5 if suffix == ".gz" else 1)
    return stored[:place] + bytes([stored[place] ^ 1]) + stored[place + 1 :]


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
@pytest.mark.parametrize("held", [1 << 20, 100])
@pytest.mark.parametrize("length", [10, 2000])
def test_every_record_of_a_damaged_member_counts_as_bad(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, held: int, length: int
) -> None:
    """One report, with the number lost; the counts hold them all, so the cap sees them."""
    monkeypatch.setattr(streams_module, "HELD_BYTES", held)
    lines = [line(n, os.urandom(length // 2).hex()) + b"\n" for n in range(3500)]
    good, damaged = (STORED[suffix](b"".join(part)) for part in (lines[:500], lines[500:]))
    path = tmp_path / f"a.jsonl{suffix}"
    path.write_bytes(good + break_checksum(damaged, suffix))
    result = read(plan(path), SKIP)
    assert [d for d, _ in result.documents] == [str(n) for n in range(500)]
    (report,) = result.reports
    assert report.cause.endswith("; 3,000 records lost")
    offset = sum(map(len, lines[:500]))
    assert (report.record, report.line, report.offset) == (500, 501, offset)
    assert (result.num_bad, result.num_records, result.readers[0].num_lines) == (3000, 3500, 3500)
    with pytest.raises(DataError, match=r"; 3,000 records lost\. Mend it"):
        read(plan(path))


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_damage_that_leaves_no_text_is_one_bad_record(tmp_path: Path, suffix: str) -> None:
    """What was never decoded cannot be counted, and no number is made up for it."""
    path = tmp_path / f"a.jsonl{suffix}"
    path.write_bytes(STORED[suffix](b"".join(line(n) + b"\n" for n in range(50)))[:12])
    result = read(plan(path), SKIP)
    assert (result.num_bad, result.num_records, result.readers[0].num_lines) == (1, 1, 0)
    assert "lost" not in result.reports[0].cause


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_a_number_of_lost_records_says_when_it_may_be_too_low(tmp_path: Path, suffix: str) -> None:
    """Members after a damaged one are lost with it and not counted, for nothing decodes them."""
    lines = [line(n, os.urandom(50).hex()) + b"\n" for n in range(40)]
    first, second = (STORED[suffix](b"".join(part)) for part in (lines[:25], lines[25:]))
    path = tmp_path / f"a.jsonl{suffix}"
    path.write_bytes(break_checksum(first, suffix) + second)
    result = read(plan(path), SKIP)
    assert result.reports[0].cause.endswith("; at least 25 records lost")
    assert (result.num_bad, result.num_records) == (25, 25)


def test_damage_counts_each_line_once_however_frames_are_cut(tmp_path: Path) -> None:
    """A line that runs into a damaged frame is lost with the part that owns it, and no other."""
    lines = [line(n) + b"\n" for n in range(9)]
    stream = b"".join(lines)
    edges = [0, sum(map(len, lines[:3])) + 5, sum(map(len, lines[:6])) + 5, len(stream)]
    frames = [STORED[".zst"](stream[a:b]) for a, b in pairwise(edges)]
    frames[1] = break_checksum(frames[1], ".zst")
    path = tmp_path / "a.jsonl.zst"
    path.write_bytes(b"".join(frames))
    parts = plan(path, 1)
    assert len(parts) == 3
    result = read(parts, SKIP)
    assert [d for d, _ in result.documents] == ["0", "1", "2", "7", "8"]
    assert result.lines == [0, 1, 2, 7, 8]
    assert [r.num_bad for r in result.readers] == [1, 3, 0]
    assert [r.num_lines for r in result.readers] == [4, 3, 2]
    across, within = result.reports
    assert (across.record, across.line, across.offset) == (3, 4, None)
    assert "runs into damage" in across.cause
    assert within.cause.endswith("; at least 3 records lost")  # a frame follows
    with pytest.raises(DataError, match="line 4: "):
        read(parts)


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
