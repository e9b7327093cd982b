"""Lines of a stream and records of a line: each twin of a plain definition, each cause in words."""

import json
from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dolmix.files import records
from dolmix.files.records import BadValueError, FieldPaths, Row, parse_record, split_lines

STREAM = st.lists(st.sampled_from([b"\n", b"a", b"\r\n", b"\xe2\x80\xa8", b"bc"]), max_size=30).map(
    b"".join
)
PATHS = FieldPaths(
    text=("text",),
    id=("id",),
    url=("metadata", "url"),
    extra={"metadata.stars": ("metadata", "stars"), "n": ("n",)},
)


def blocks(data: st.DataObject, stream: bytes) -> list[bytes]:
    """Cut a stream into blocks at drawn places, empty ones included."""
    edges = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    return [stream[a:b] for a, b in zip([0, *edges], [*edges, len(stream)], strict=True)]


def naive_lines(stream: bytes) -> list[tuple[int, bytes]]:
    """Offset and content of each line; what follows the last newline is a line unless empty."""
    lines, begin = [], 0
    while begin < len(stream):
        end = stream.find(b"\n", begin)
        end = len(stream) if end < 0 else end
        lines.append((begin, stream[begin:end]))
        begin = end + 1
    return lines


def flat(runs: Iterable[tuple[int, list[bytes]]]) -> list[tuple[int, bytes]]:
    """Spread runs of lines, each line with its own offset."""
    out = []
    for begin, lines in runs:
        offset = begin
        for line in lines:
            out.append((offset, line))
            offset += len(line) + 1
    return out


@settings(deadline=None)
@given(stream=STREAM, data=st.data())
def test_lines_match_their_naive_twin_for_any_blocks(stream: bytes, data: st.DataObject) -> None:
    """Only byte 10 ends a line, wherever blocks end; offsets are where lines begin."""
    assert flat(split_lines(blocks(data, stream))) == naive_lines(stream)


@settings(deadline=None)
@given(stream=STREAM, data=st.data())
def test_each_line_belongs_to_exactly_one_part(stream: bytes, data: st.DataObject) -> None:
    """Parts cut anywhere, in order, give the lines of the whole, each once."""
    inner = data.draw(st.sets(st.integers(0, len(stream)), max_size=5)) - {0, len(stream)}
    edges = [0, *sorted(inner), len(stream)]
    found = []
    for start, stop in pairwise(edges):
        own, tail = blocks(data, stream[start:stop]), blocks(data, stream[stop:])
        lines = flat(split_lines(own, tail, skip_first=start > 0))
        found += [(start + offset, line) for offset, line in lines]
    assert found == naive_lines(stream)


def test_the_tail_is_read_on_to_the_end_of_what_is_verified() -> None:
    """After the line is complete, blocks are drawn until an empty one, and no further."""
    tail = iter([b"cd", b"ef\ngh", b"ij", b"", b"kl"])
    assert flat(split_lines([b"a\nb"], tail)) == [(0, b"a"), (2, b"bcdef")]
    assert next(tail) == b"kl"


def test_an_overlong_line_is_cut_and_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line beyond the limit costs bounded memory, is bad, and the lines around it are read."""
    monkeypatch.setattr(records, "MAX_RECORD_BYTES", 10)
    stream = [b"ab\n", b"x" * 9, b"x" * 9, b"x" * 9 + b"\nc", b"d\n"]
    lines = flat(split_lines(stream))
    assert [line for _, line in lines] == [b"ab", b"x" * 11, b"cd"]
    assert [offset for offset, _ in lines] == [0, 3, 31]
    with pytest.raises(BadValueError, match="longer than"):
        parse_record(b"x" * 11, PATHS)


# --- one record --------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)


@settings(deadline=None)
@given(
    text=st.text(), id_=st.text(min_size=1) | st.integers(), stars=JSON, ascii_only=st.booleans()
)
def test_a_good_record_gives_its_fields_unchanged(
    text: str, id_: str | int, stars: object, ascii_only: bool
) -> None:
    """Any text survives, escaped or not; an id is text; further fields are JSON text or null."""
    if isinstance(id_, int):
        id_ %= 2**63
    record = {"text": text, "id": id_, "metadata": {"url": None, "stars": stars}}
    row = parse_record(json.dumps(record, ensure_ascii=ascii_only).encode(), PATHS)
    assert (row.text, row.id, row.url, row.extra[1]) == (text, str(id_), None, None)
    if stars is None:
        assert row.extra[0] is None
    else:
        assert json.loads(row.extra[0] or "") == stars


def test_further_fields_keep_their_json_type() -> None:
    """A filter can tell 7 from "7" from 3.0; null and absent are both null."""
    values = {"7": "7", '"7"': '"7"', "3.0": "3.0", "-1": "-1", "true": "true", "null": None}
    for written, kept in values.items():
        row = parse_record(b'{"text":"t","id":1,"n":' + written.encode() + b"}", PATHS)
        assert row == Row("t", "1", None, (None, kept))


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        (b'{"text": "a"', "invalid JSON: unexpected end of data at column 13"),
        (b'{"text": NaN, "id": 1}', "invalid JSON: unexpected character"),
        (b'{"text": "a\xff", "id": 1}', "invalid UTF-8: byte 0xff at byte 12 of the line"),
        (b'{"text": "\xed\xa0\x80", "id": 1}', "invalid UTF-8: byte 0xed"),
        (b'{"text": "\\ud800", "id": 1}', "invalid JSON: lone surrogate escape at column"),
        (b'{"text": "\\udc00", "id": 1}', "invalid JSON: lone surrogate escape at column"),
        (b"[" * 5000, "invalid JSON: "),
        (b"[1]", "not an object but a list; one JSON object a line is expected"),
        (b'"text"', "not an object but text"),
        (b"null", "not an object but null"),
        (b'{"txt": "a", "id": 1}', "missing field 'text'; did you mean 'txt'?"),
        (b'{"doc": {"text": "a"}, "id": 1}', "missing field 'text'; did you mean 'doc.text'?"),
        (b'{"body": "a", "id": 1}', "missing field 'text'; there are 'body', 'id'"),
        (b"{}", "missing field 'text'; there are no fields"),
        (b'{"text": null, "id": 1}', "field 'text' is null; text is expected"),
        (b'{"text": 3, "id": 1}', "field 'text' is an integer; text is expected"),
        (b'{"text": ["a"], "id": 1}', "field 'text' is a list; text is expected"),
        (b'{"text": "a"}', "missing field 'id'"),
        (b'{"text": "a", "id": null}', "field 'id' is null; text or an integer is expected"),
        (b'{"text": "a", "id": 1.5}', "field 'id' is a number; text or an integer is expected"),
        (b'{"text": "a", "id": true}', "field 'id' is true or false"),
        (b'{"text": "a", "id": ""}', "field 'id' is empty"),
        (b'{"text": "a", "id": 1, "metadata": {"url": 3}}', "field 'metadata.url' is an integer"),
    ],
)
def test_each_bad_record_says_what_is_wrong(line: bytes, cause: str) -> None:
    """The cause names the field or the column, what was found, and what was expected."""
    with pytest.raises(BadValueError) as error:
        parse_record(line, PATHS)
    assert str(error.value).startswith(cause)


def test_a_path_through_something_else_than_an_object_is_absent() -> None:
    """`metadata` as text has no `metadata.stars`; optional fields are then null."""
    row = parse_record(b'{"text": "a", "id": "x", "metadata": "none"}', PATHS)
    assert row == Row("a", "x", None, (None, None))


@settings(deadline=None, max_examples=200)
@given(line=st.binary(max_size=40) | JSON.map(lambda v: json.dumps(v).encode()))
def test_nothing_but_a_row_or_a_cause_comes_out(line: bytes) -> None:
    """No line, however broken, raises anything else."""
    try:
        row = parse_record(line, PATHS)
    except BadValueError as error:
        assert str(error)  # noqa: PT017 - either outcome is right
    else:
        assert isinstance(row.text, str)
