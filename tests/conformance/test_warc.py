"""WARC records against the readers that people use: FastWARC and warcio."""

import gzip
from pathlib import Path
from typing import Any

import pytest
from peers import needs

from dolmix.files.http import parse_response, read_body
from dolmix.files.warc import Record, read_records

pytestmark = [
    pytest.mark.conformance,
    pytest.mark.corpus,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
LIMIT = 64 << 20


@pytest.fixture(scope="module")
def archives(shared: Path) -> list[Path]:
    """WARC and WET files of the corpus."""
    return sorted((shared / "corpus_seed" / "web_warc").glob("*.gz"))


def ours(path: Path) -> list[Record]:
    """All records; none may be bad."""
    found = list(read_records(str(path), "gz", max_bytes=LIMIT))
    assert all(isinstance(item, Record) for item in found)
    return [item for item in found if isinstance(item, Record)]


def test_records_are_those_of_fastwarc(archives: list[Path]) -> None:
    """Ids, types, places in the file and every byte of content."""
    needs("fastwarc")
    from fastwarc.warc import ArchiveIterator

    count = 0
    for path in archives:
        with path.open("rb") as file:
            for mine, theirs in zip(
                ours(path), ArchiveIterator(file, parse_http=False), strict=True
            ):
                assert mine.headers["warc-record-id"] == theirs.record_id
                assert mine.offset == theirs.stream_pos
                assert mine.content == theirs.reader.read()
                count += 1
    assert count == 1037


def test_bodies_are_those_of_warcio(archives: list[Path]) -> None:
    """Of every HTTP response that warcio takes for one: status, content type, decoded body."""
    needs("warcio")
    from warcio.archiveiterator import ArchiveIterator

    count = 0
    for path in archives:
        mine = {record.headers["warc-record-id"]: record for record in ours(path)}
        with path.open("rb") as file:
            for theirs in ArchiveIterator(file):
                if theirs.rec_type != "response" or theirs.http_headers is None:
                    continue
                record = mine[theirs.rec_headers.get_header("WARC-Record-ID")]
                _same_response(record, theirs)
                count += 1
    assert count == 437


def _same_response(record: Record, theirs: Any) -> None:
    assert record.content is not None
    response = parse_response(record.content)
    headers = theirs.http_headers
    assert str(response.status) == headers.get_statuscode()
    assert response.headers.get("content-type") == headers.get_header("content-type")
    assert read_body(response, LIMIT) == theirs.content_stream().read()


def test_a_warc_file_that_warcio_writes_is_read(tmp_path: Path) -> None:
    """Chunked and compressed bodies, revisits and resources, as its writer lays them out."""
    needs("warcio")
    from io import BytesIO

    from warcio.statusandheaders import StatusAndHeaders
    from warcio.warcwriter import WARCWriter

    path = tmp_path / "a.warc.gz"
    body = gzip.compress(b"<html>some page</html>")
    with path.open("wb") as file:
        writer = WARCWriter(file, gzip=True)
        headers = [("Content-Type", "text/html"), ("Content-Encoding", "gzip")]
        for type_ in ("response", "revisit"):
            http = StatusAndHeaders("200 OK", headers, protocol="HTTP/1.0")
            record = writer.create_warc_record(
                "http://example.org/", type_, payload=BytesIO(body), http_headers=http
            )
            writer.write_record(record)
        resource = writer.create_warc_record(
            "urn:x", "resource", payload=BytesIO(b"a text"), warc_content_type="text/plain"
        )
        writer.write_record(resource)
    found = ours(path)
    assert [record.type for record in found] == ["response", "revisit", "resource"]
    assert found[0].content is not None
    assert read_body(parse_response(found[0].content), LIMIT) == b"<html>some page</html>"
    assert found[2].content == b"a text"
