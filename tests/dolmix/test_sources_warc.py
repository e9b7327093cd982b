"""WARC and WET files as sources: documents, provenance, numbers, policy."""

import gzip
import json
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from peers import needs
from reading import FAIL, SKIP
from warc_files import SENTENCE, gzipped, page, record, response

from dolmix.document import TextBatch
from dolmix.errors import DataError
from dolmix.files import part_pages
from dolmix.sources import (
    BadRecord,
    BadRecords,
    Fields,
    Part,
    PartReader,
    Warc,
    plan_parts,
    read_part,
)

PLAIN = Warc(extractor="none")
FAST = Warc(extractor="resiliparse")
ASKED = ("warc.date", "warc.offset", "warc.outcome", "warc.status", "warc.nothing", "n")


class Read:
    """What parts gave, one after another."""

    def __init__(
        self,
        parts: Sequence[Part],
        warc: Warc = PLAIN,
        bad: BadRecords = FAIL,
        fields: Fields = Fields(),  # noqa: B008 - frozen
        **limits: int,
    ) -> None:
        self.documents: list[tuple[str, str, str | None]] = []
        self.fields: dict[str, list[str | None]] = {name: [] for name in ASKED}
        self.records: list[int] = []
        self.reports: list[BadRecord] = []
        self.readers: list[PartReader] = []
        before = 0
        for part in parts:
            reader = read_part(part, fields, ASKED, bad, self.reports.append, warc=warc, **limits)
            for batch in reader:
                self.documents += zip(
                    batch.ids.to_pylist(),
                    batch.text.to_pylist(),
                    batch.urls.to_pylist(),
                    strict=True,
                )
                self.records += (before + batch.records).tolist()
                for name, values in self.fields.items():
                    values.extend(batch.fields[name].to_pylist())
            self.readers.append(reader)
            before += reader.num_lines

    def total(self, name: str) -> int:
        """Sum of a count of the readers."""
        return sum(getattr(reader, name) for reader in self.readers)


def text_record(number: int, text: str, type_: str = "conversion") -> bytes:
    """Record that is a plain text."""
    return record(text.encode(), type_, id_=str(number), Content_Type="text/plain")


def write(path: Path, records: Sequence[bytes]) -> Path:
    """Write a file, gzip where its name says so."""
    path.write_bytes(gzipped(records) if path.suffix == ".gz" else b"".join(records))
    return path


RECORDS = st.lists(
    st.tuples(
        st.sampled_from(["conversion", "conversion", "request", "warcinfo", "broken"]),
        st.text(st.sampled_from("ab é\n"), min_size=1, max_size=30).map(lambda t: f"{t}x"),
    ),
    min_size=1,
    max_size=10,
)


@settings(max_examples=25)
@given(drawn=RECORDS, part_bytes=st.integers(60, 900), name=st.sampled_from(["a.wet", "a.wet.gz"]))
def test_parts_of_any_size_give_the_same_documents(
    tmp_path_factory: pytest.TempPathFactory,
    drawn: list[tuple[str, str]],
    part_bytes: int,
    name: str,
) -> None:
    """Each once, numbered by the records of all types; numbers of parts add up."""
    records, documents, numbers, offsets = [], [], [], []
    for number, (type_, text) in enumerate(drawn):
        made = text_record(number, text, type_)
        if type_ == "broken":
            made = record(b"", "conversion", id_="", WARC_Record_ID="")
        elif type_ == "conversion":
            documents.append((str(number), text, "https://example.org/a"))
            numbers.append(number)
        records.append(made)
    path = write(tmp_path_factory.mktemp("warc") / name, records)
    stored = [gzip.compress(r, mtime=0) if name.endswith("gz") else r for r in records]
    offsets = [0, *accumulate(map(len, stored))]
    parts = plan_parts([str(path)], part_bytes=part_bytes)
    assert len(parts) == -(-path.stat().st_size // part_bytes)
    found = Read(parts, bad=SKIP, batch_documents=2)
    assert found.documents == documents
    assert found.records == numbers
    assert [int(o or -1) for o in found.fields["warc.offset"]] == [offsets[n] for n in numbers]
    assert found.total("num_lines") == len(drawn)
    assert found.total("num_bad") == len(found.reports) == [t for t, _ in drawn].count("broken")
    assert found.total("num_records") == len(documents) + len(found.reports)
    assert [b.offset for b in found.reports] == [
        offsets[n] for n, (type_, _) in enumerate(drawn) if type_ == "broken"
    ]


def test_pages_become_documents_with_what_is_known_of_them(tmp_path: Path) -> None:
    """One that was not found is a document too, empty, with its reason; a request is none."""
    needs("resiliparse")
    path = write(
        tmp_path / "a.warc.gz",
        [
            record(b"software: x", "warcinfo"),
            record(response(page()), id_="one"),
            record(b"GET /", "request"),
            record(response(page(), 404), id_="two"),
        ],
    )
    found = Read(plan_parts([str(path)], part_bytes=1 << 30), FAST)
    assert found.documents == [
        ("one", (SENTENCE * 8).strip(), "https://example.org/a"),
        ("two", "", "https://example.org/a"),
    ]
    assert found.records == [1, 3]
    assert found.fields["warc.date"] == ['"2024-05-17T23:31:22Z"'] * 2
    assert found.fields["warc.status"] == ["200", "404"]
    assert found.fields["warc.outcome"] == [None, '"status"']
    assert found.fields["warc.nothing"] == found.fields["n"] == [None, None]
    assert found.readers[0].warc_records == {"warcinfo": 1, "response": 2, "request": 1}
    assert found.readers[0].num_records == 2


def test_ids_made_of_places_need_whole_files(tmp_path: Path) -> None:
    """File and record number, all types counted; such files are not cut."""
    path = write(
        tmp_path / "a.wet.gz",
        [text_record(n, "a", t) for n, t in enumerate(["warcinfo", "conversion", "conversion"])],
    )
    parts = plan_parts([str(path)], part_bytes=50, splittable=False)
    assert len(parts) == 1
    found = Read(parts, fields=Fields(id=None))
    assert [d[0] for d in found.documents] == ["a.wet.gz:1", "a.wet.gz:2"]


def test_under_fail_the_first_bad_record_stops_with_its_place(tmp_path: Path) -> None:
    """File, byte, cause and the next step."""
    first = gzipped([text_record(0, "a")])
    broken = bytearray(gzip.compress(text_record(1, "b"), mtime=0))
    broken[-5] ^= 1
    path = tmp_path / "a.wet.gz"
    path.write_bytes(first + bytes(broken) + gzipped([text_record(2, "c")]))
    parts = plan_parts([str(path)], part_bytes=1 << 30)
    with pytest.raises(DataError) as caught:
        Read(parts)
    message = str(caught.value)
    assert f"a.wet.gz: WARC record at byte {len(first)}: gzip member is damaged" in message
    assert "on_bad_record" in message
    found = Read(parts, bad=SKIP)
    assert [d[0] for d in found.documents] == ["0", "2"]
    assert found.records == [0, 2]
    assert (found.reports[0].record, found.reports[0].line) == (1, 2)


@pytest.mark.parametrize(
    ("name", "content"), [("a.warc", b""), ("a.wet.gz", b""), ("a.warc", b"x")]
)
def test_a_file_without_records_is_bad(tmp_path: Path, name: str, content: bytes) -> None:
    """An empty file says so; one that holds something else shows what."""
    path = tmp_path / name
    path.write_bytes(content)
    found = Read(plan_parts([str(path)], part_bytes=1 << 30), bad=SKIP)
    assert [b.cause for b in found.reports] == [
        "no WARC record: a line WARC/1.0 is expected, not 'x'"
        if content
        else "file holds no records"
    ]


def test_a_file_of_no_documents_is_no_fault(tmp_path: Path) -> None:
    """A file of requests alone is read, counted, and gives nothing."""
    path = write(tmp_path / "a.warc.gz", [record(b"GET /", "request")])
    found = Read(plan_parts([str(path)], part_bytes=1 << 30))
    assert (found.documents, found.reports) == ([], [])
    assert found.readers[0].warc_records == {"request": 1}


def test_json_and_warc_mix(tmp_path: Path) -> None:
    """One source may hold both; a document of JSONL has no WARC fields."""
    (tmp_path / "b.jsonl").write_text(json.dumps({"id": "j", "text": "t", "n": 1}) + "\n")
    write(tmp_path / "a.wet", [text_record(0, "a")])
    found = Read(plan_parts([str(tmp_path / "*")], part_bytes=1 << 30))
    assert [d[0] for d in found.documents] == ["0", "j"]
    assert found.fields["warc.offset"] == ["0", None]
    assert found.fields["n"] == [None, "1"]


def test_what_was_kept_reads_like_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Documents, fields, numbers, counts and bad records; nothing is read or extracted again."""
    path, kept = tmp_path / "a.wet.gz", tmp_path / "kept.parquet"
    records = [text_record(n, f"text {n}") for n in range(9)]
    broken = record(b"", "conversion", WARC_Record_ID="")
    write(path, [text_record(99, "", "request"), *records[:4], broken, *records[4:]])
    monkeypatch.setattr(part_pages, "GROUP_ROWS", 3)

    def read() -> tuple[list[TextBatch], list[BadRecord], tuple[object, ...]]:
        reports: list[BadRecord] = []
        (part,) = plan_parts([str(path)], part_bytes=1 << 30)
        reader = read_part(
            part, Fields(), ASKED, SKIP, reports.append, warc=PLAIN, kept_pages=kept,
            batch_documents=4,
        )  # fmt: skip
        batches = list(reader)
        counts = (reader.num_lines, reader.num_records, reader.num_bad, reader.warc_records)
        return batches, reports, counts

    first = read()
    assert first[2] == (11, 10, 1, {"request": 1, "conversion": 9})
    stored = kept.read_bytes()
    monkeypatch.setattr(part_pages, "read_records", None)
    second = read()
    assert second[1:] == first[1:]
    for one, other in zip(first[0], second[0], strict=True):
        assert one.text.equals(other.text)
        assert one.ids.equals(other.ids)
        assert one.urls.equals(other.urls)
        assert one.records.tolist() == other.records.tolist()
        assert dict(one.fields) == dict(other.fields)
    assert kept.read_bytes() == stored
    kept.write_bytes(stored[:-9])
    with pytest.raises(DataError, match=r"kept\.parquet: damaged .* Delete it"):
        read()


def test_a_reading_that_stops_keeps_nothing(tmp_path: Path) -> None:
    """Neither a file nor the beginnings of one."""
    path = write(tmp_path / "a.wet", [text_record(0, "a"), record(b"", "conversion", length=99)])
    (part,) = plan_parts([str(path)], part_bytes=1 << 30)
    kept = tmp_path / "kept" / "a.parquet"
    with pytest.raises(DataError, match="Content-Length"):
        list(read_part(part, Fields(), [], FAIL, print, warc=PLAIN, kept_pages=kept))
    assert list(kept.parent.iterdir()) == []
