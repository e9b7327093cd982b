"""JSON lines in compiled code: rows are the general parser's, and odd lines are left to it."""

import json
from pathlib import Path

import numpy as np
import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dolmix.document import TextBatch
from dolmix.files.records import BadRecord, BadValueError, FieldPaths, parse_record
from dolmix.sources import BadRecords, Fields, plan_parts, read_part
from dolmix.text.json_rows import JsonRows

PATHS = FieldPaths(text=("text",), id=("id",), url=("url",), extra={})
NO_ID = FieldPaths(text=("text",), id=None, url=None, extra={})

CHARACTERS = st.characters(codec="utf-8") | st.sampled_from(
    '"\\\\/\\n\\t\\r\\b\\f\\x00\\x7f\U0001f600'
)
WORDS = st.text(CHARACTERS, max_size=30) | st.text("ab ", min_size=20, max_size=90)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from(["text", "id", "url", "tex", "n", "te\\u0078t"]) | WORDS


def written(value: object, escaped: bool, blanks: tuple[str, str]) -> str:
    """Write JSON in one of the ways in which it may be written."""
    return json.dumps(value, ensure_ascii=escaped, separators=blanks)


@st.composite
def lines(draw: st.DrawFn) -> bytes:
    """Draw a record, mostly good, in any order of its fields, some twice, some bytes broken."""
    fields = [("text", draw(WORDS)), ("id", draw(WORDS | st.integers(-5, 10**20)))]
    fields.append(("url", draw(st.none() | WORDS)))
    fields += draw(st.lists(st.tuples(NAMES, VALUES), max_size=3))
    order = draw(st.permutations(fields))
    how = draw(st.booleans()), draw(st.sampled_from([(",", ":"), (", ", ": "), (" ,\t", " : ")]))
    inner = how[1][0].join(written(k, *how) + how[1][1] + written(v, *how) for k, v in order)
    line = f"{{{inner}}}".encode()
    if draw(st.integers(0, 3)) == 0:
        at = draw(st.integers(0, len(line)))
        line = line[:at] + draw(st.binary(max_size=3)) + line[at + draw(st.integers(0, 3)) :]
    return line.replace(b"\n", b"\\n")


def batch_of(rows: JsonRows) -> list[tuple[object, ...]]:
    """Rows as Python values."""
    batch = rows.take()
    columns = (batch.text, batch.ids, batch.urls)
    return list(zip(*(c.to_pylist() for c in columns), batch.records.tolist(), strict=True))


@settings(deadline=None, max_examples=400)
@given(line=lines(), paths=st.sampled_from([PATHS, NO_ID]))
@example(line=b'{"text":"a","id":"\\ud800"}', paths=PATHS)
@example(line=b'{"text":"a","text":"b","id":1}', paths=PATHS)
@example(line=b'{"text":"a","id":-0}', paths=PATHS)
@example(line=b'{"text":"\\ud83d\\ude00","id":"1"}\r', paths=PATHS)
@example(line=b'{"text":"\xed\xa0\x80","id":"1"}', paths=PATHS)
@example(line=b'{"text":"a","id":1,"n":1e999}', paths=PATHS)
@example(line=b'{"text":"a","id":1,}', paths=PATHS)
@example(line=b'{"text":"a","id":1}}', paths=PATHS)
@example(line=b'{"text":"a","id":1,"n":[1,]}', paths=PATHS)
@example(line=b'{"text":"a","id":01}', paths=PATHS)
def test_a_line_that_is_read_gives_the_general_parsers_row(line: bytes, paths: FieldPaths) -> None:
    """Same text, id and URL; a line that the general parser refuses is never read."""
    rows = JsonRows(paths, (8, 1 << 20), lambda number: f"made:{number}")
    at, number = rows.read(np.frombuffer(line, np.uint8), 0, 7)
    if not len(rows):
        assert (at, number) == (0, 7)
        return
    assert (at, number) == (len(line) + 1, 8)
    row = parse_record(line, paths)
    assert batch_of(rows) == [(row.text, "made:7" if row.id is None else row.id, row.url, 7)]


@pytest.mark.parametrize(
    "line",
    [
        '{"id":"a","text":"b"}',
        '{"text":"\\"\\\\\\/\\b\\f\\n\\r\\t","id":12}',
        '{"text":"\\u00e9\\u20ac\\ud83d\\ude00\\u0041 \u00e9\u20ac\U0001f600","id":12}',
        ' { "meta" : {"a":[1,-2.5,{"b":null}],"c":{}} , "text":"" , "id":"x", "f":[true,false] } ',
        '{"url":null,"added":"2024-01-01","text":"t","id":"i","score":1.5e-05}\r',
    ],
)
def test_usual_lines_are_read(line: str) -> None:
    """Escapes of every kind, nested values that nobody wants, blanks, a carriage return."""
    data = line.encode()
    rows = JsonRows(PATHS, (8, 1 << 20), str)
    assert rows.read(np.frombuffer(data, np.uint8), 0, 0) == (len(data) + 1, 1)
    row = parse_record(data, PATHS)
    assert batch_of(rows) == [(row.text, row.id, row.url, 0)]


def read_all(path: Path, limits: tuple[int, int]) -> tuple[list[object], list[BadRecord], object]:
    """Everything that a reader says of a file."""
    bad: list[BadRecord] = []
    (part,) = plan_parts([str(path)], part_bytes=1 << 40)
    reader = read_part(
        part,
        Fields(url="url"),
        [],
        BadRecords(policy="skip", max_frac=1),
        bad.append,
        batch_documents=limits[0],
        batch_bytes=limits[1],
    )
    found = [seen(batch) for batch in reader]
    return list(found), bad, (reader.num_lines, reader.num_records, reader.text_bytes)


def seen(batch: TextBatch) -> tuple[list[object], ...]:
    """Columns of a batch as Python values, once Arrow has found them sound."""
    for column in (batch.text, batch.ids, batch.urls):
        column.validate(full=True)
    columns = (batch.text, batch.ids, batch.urls)
    return (*(c.to_pylist() for c in columns), batch.records.tolist())


@settings(deadline=None, max_examples=60)
@given(
    stream=st.lists(lines() | st.sampled_from([b"", b" ", b"[]"]), max_size=12),
    limits=st.tuples(st.integers(1, 5), st.sampled_from([1, 100, 1 << 20])),
    mark=st.booleans(),
)
def test_files_read_as_by_the_general_parser_alone(
    stream: list[bytes],
    limits: tuple[int, int],
    mark: bool,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Batches, bad records with their causes, and counts, for any limits of a batch."""
    path = tmp_path_factory.mktemp("read") / "a.jsonl"
    path.write_bytes((b"\xef\xbb\xbf" if mark else b"") + b"\n".join(stream))
    found = read_all(path, limits)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(JsonRows, "fits", lambda _: False)
        assert found == read_all(path, limits)


def test_ids_and_urls_find_room_however_long_they_are() -> None:
    """Buffers grow; rows that a general parser read stand between."""
    records = [
        {"text": "t" * n, "id": "i" * (n + 1), "url": "u" * (3 * n)} for n in range(0, 9000, 1500)
    ]
    data = b"\n".join(map(orjson.dumps, records))
    rows = JsonRows(PATHS, (100, 1 << 30), str)
    number = rows.read(np.frombuffer(data, np.uint8), 0, 0)[1]
    assert number == len(records)
    long = {"text": "x" * 70_000, "id": "y" * 70_000, "url": "z" * 70_000}
    rows.append(parse_record(orjson.dumps(long), PATHS), long["id"], 6, 1)
    rows.read(np.frombuffer(data, np.uint8), 0, 7)
    wanted = [*records, long, *records]
    assert [row[:3] for row in batch_of(rows)] == [(r["text"], r["id"], r["url"]) for r in wanted]


def test_only_fields_at_the_top_fit() -> None:
    """Nested and further fields are the general parser's, and two that are one."""
    nested = FieldPaths(text=("text",), id=("id",), url=("metadata", "url"), extra={})
    more = FieldPaths(text=("text",), id=("id",), url=None, extra={"n": ("n",)})
    same = FieldPaths(text=("text",), id=("text",), url=None, extra={})
    assert [JsonRows.fits(p) for p in (PATHS, NO_ID, nested, more, same)] == [True, True] + 3 * [
        False
    ]
    with pytest.raises(BadValueError):
        parse_record(b"{}", PATHS)
