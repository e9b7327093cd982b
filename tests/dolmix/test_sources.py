"""Reading a source: any cut gives the same documents."""

import gzip
import json
import os
import pickle
from dataclasses import replace
from itertools import chain, pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reading import FAIL, SKIP, line, plan, read, zstd

from dolmix.errors import DataError
from dolmix.files.paths import identify
from dolmix.sources import BadRecords, Fields, Part, Split, plan_parts, read_part

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


def test_ids_made_from_places_name_file_and_record(tmp_path: Path) -> None:
    """`path:record`, the record number from 0, blank lines counted; such files are not cut."""
    (tmp_path / "x").mkdir()
    (tmp_path / "x/a.jsonl").write_bytes(b'{"text":"a"}\n\n{"text":"b"}\n')
    inputs = [str(tmp_path / "*/*.jsonl")]
    parts = plan_parts(inputs, part_bytes=5, splittable=False)
    result = read(parts, FAIL, Fields(id=None))
    assert [d for d, _ in result.documents] == ["x/a.jsonl:0", "x/a.jsonl:2"]
    cut = plan_parts(inputs, part_bytes=5)
    with pytest.raises(ValueError, match=r"made of record numbers need .* splittable=False"):
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


@pytest.mark.parametrize("key", ["size", "mtime_ns", "digest", "etag", "modified"])
def test_every_part_of_an_identity_counts(tmp_path: Path, key: str) -> None:
    """Whatever differs between plan and file stops the run: file, both values, what to do."""
    path = tmp_path / "a.jsonl"
    path.write_bytes(line(1))
    (part,) = plan(path)
    now = part.identity.get(key)
    other = replace(part, identity={**part.identity, key: "then"})
    with pytest.raises(DataError) as error:
        read([other], SKIP)
    message = str(error.value)
    assert message.startswith(f"{path}: changed since the run was planned: {key} was then, ")
    assert (f"is {now}" if now is not None else "is not known now") in message
    assert "run the same command again" in message
    assert len(read([part]).documents) == 1


def test_a_file_whose_middle_changed_since_planning_is_refused(tmp_path: Path) -> None:
    """Same size, same ends, another time: parts of two versions would not fit together."""
    path = tmp_path / "a.jsonl"
    lines = [line(n, "text " * 1000) for n in range(100)]
    path.write_bytes(b"\n".join(lines))
    parts = plan(path, 1 << 17)
    lines[50] = lines[50].replace(b"text ", b"TEXT ")
    path.write_bytes(b"\n".join(lines))
    os.utime(path, ns=(1, 1))
    now = identify(str(path))
    assert [k for k, v in parts[0].identity.items() if now[k] != v] == ["mtime_ns"]
    for part in parts:
        with pytest.raises(DataError, match="changed since the run was planned: mtime_ns was"):
            read([part], SKIP)
    assert len(read(plan(path, 1 << 17)).documents) == 100
    path.unlink()
    with pytest.raises(DataError, match="No such file"):
        read(parts, SKIP)
