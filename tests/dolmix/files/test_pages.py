"""WARC records as documents: which are, with what text, and why the others have none."""

from collections.abc import Iterator
from typing import Any

import pytest
from peers import needs
from pydantic import ValidationError
from warc_files import SENTENCE, page, response

from dolmix.files.pages import Page, PageReader, Warc
from dolmix.files.records import BadValueError
from dolmix.files.warc import Record

TEXT = (SENTENCE * 8).strip()
PLAIN = {"type_": "text/plain"}
HTTP = "application/http; msgtype=response"


@pytest.fixture(autouse=True)
def _has_extractors() -> None:
    needs("trafilatura")
    needs("resiliparse")


@pytest.fixture
def reader() -> Iterator[PageReader]:
    """Read with the fast extractor and a low limit."""
    made = PageReader(Warc(extractor="resiliparse", max_page_bytes=3000))
    yield made
    made.close()


def read(
    reader: PageReader, content: bytes | None, type_: str = "response", **more: str
) -> Page | None:
    """Read one record; of further headers, empty ones are left out."""
    headers = {
        "warc-type": type_,
        "warc-record-id": "<urn:uuid:5f>",
        "warc-target-uri": "https://example.org/",
        "warc-date": "2024-05-17T23:31:22Z",
        "content-type": HTTP,
    } | {name.replace("_", "-"): value for name, value in more.items()}
    headers = {name: value for name, value in headers.items() if value}
    return reader.read(Record(0, 7, headers, len(content or b""), content))


def outcome(found: Page | None) -> Any:
    """Why a page has no text; it has none then."""
    assert found is not None
    assert (found.text == "") == (found.about.get("outcome") is not None)
    return found.about.get("outcome")


def test_a_page_has_its_text_and_where_it_is_from(reader: PageReader) -> None:
    """Id, address, date, status, content type, encoding, place; what is not known is left out."""
    found = read(reader, response(page(), type_="text/html; charset=utf-8"), warc_truncated="time")
    assert found is not None
    assert (found.text.strip(), found.id, found.url) == (TEXT, "5f", "https://example.org/")
    assert found.about == {
        "type": "response",
        "date": "2024-05-17T23:31:22Z",
        "offset": 7,
        "truncated": "time",
        "status": 200,
        "content_type": "text/html",
        "charset": "utf-8",
    }


@pytest.mark.parametrize(
    ("content", "more", "expected"),
    [
        (response(page(), 404), {}, "status"),
        (response(page(), 301), {}, "status"),
        (response(b"x", type_="image/png"), {}, "content_type"),
        (response(b"x", type_=""), {}, "content_type"),
        (b"example.org. 3600 IN A 1.2.3.4", {"content_type": "text/dns"}, "content_type"),
        (b"no type", {"content_type": ""}, "content_type"),
        (response(b"x", **PLAIN, Content_Encoding="rot13"), {}, "encoding"),
        (response(b"x" * 3001, **PLAIN), {}, "too_long"),
        (None, {}, "too_long"),
        (response(b" \n", **PLAIN), {}, "empty"),
        (response(b""), {}, "empty"),
        (response(b"<html><body></body></html>"), {}, "empty"),
        (response(page(), type_="Text/HTML;charset=x"), {}, None),
        (response(page(), type_="application/xhtml+xml"), {}, None),
        (response(b" <!DOCTYPE html>" + page(), type_=""), {}, None),
        (response(page()), {"content_type": ""}, None),
        (response(b"some text", type_="text/plain, text/plain"), {}, None),
    ],
)
def test_what_holds_no_text_to_keep_says_why(
    reader: PageReader, content: bytes | None, more: dict[str, str], expected: str | None
) -> None:
    """Such a record is a document with an empty text, never one that is missing."""
    assert outcome(read(reader, content, **more)) == expected


def test_types_that_are_no_documents_are_none(reader: PageReader) -> None:
    """Whatever they hold, ids or not."""
    for type_ in ("request", "revisit", "metadata", "warcinfo", "resource", "continuation"):
        assert read(reader, response(page()), type_, warc_record_id="") is None


def test_texts_of_wet_files_are_taken_as_they_stand(reader: PageReader) -> None:
    """Conversion records: no HTTP, no extractor."""
    found = read(reader, "Füße <p>".encode(), "conversion", content_type="text/plain")
    assert found is not None
    assert found.text == "Füße <p>"
    assert found.about.get("status") is None


@pytest.mark.parametrize(
    ("content", "more", "cause"),
    [
        (response(page()), {"warc_record_id": ""}, "without WARC-Record-ID"),
        (b"<html>", {}, "no HTTP status line"),
    ],
)
def test_a_record_that_makes_no_sense_is_bad(
    reader: PageReader, content: bytes, more: dict[str, str], cause: str
) -> None:
    """It should be a document and cannot be one."""
    with pytest.raises(BadValueError, match=cause):
        read(reader, content, **more)


def test_encodings_of_pages_are_found(reader: PageReader) -> None:
    """Stated by the server, by the page, or by nobody."""
    russian = "Паром на остров ходит два раза в день. " * 8
    raw = page(russian).decode().encode("cp1251")
    for type_ in ("text/html; charset=windows-1251", "text/html"):
        found = read(reader, response(raw, type_=type_))
        assert found is not None
        assert found.about["charset"] == "cp1251"
        assert found.text.strip() == russian.strip()


def test_without_an_extractor_no_html_is_kept() -> None:
    """Plain texts are, and no package is needed for them."""
    reader = PageReader(Warc(extractor="none"))
    assert outcome(read(reader, response(page()))) == "content_type"
    assert outcome(read(reader, response(b"text", **PLAIN))) is None
    assert Warc(extractor="none").identity(html=True)["packages"] == {}


def test_settings_decide_what_is_kept() -> None:
    """Types, statuses and content types are the user's; favor must mean something."""
    reader = PageReader(
        Warc(records=("resource",), status=(404,), content_types=("text/csv",), extractor="none")
    )
    assert read(reader, response(page())) is None
    found = read(reader, b"a,b", "resource", content_type="text/csv")
    assert found is not None
    assert found.text == "a,b"
    assert outcome(read(reader, response(b"a", 404, "text/csv"), "resource")) is None
    with pytest.raises(ValidationError, match="favor: precision is for trafilatura"):
        Warc(extractor="resiliparse", favor="precision")


def test_identity_has_settings_and_packages_but_no_time_limit() -> None:
    """The limit decides only which pages are bad; those stop a run, or are set aside and shown."""
    one, other = Warc(timeout_s=1), Warc(timeout_s=2)
    assert one.identity(html=True) == other.identity(html=True)
    assert set(one.identity(html=True)["packages"]) == {
        "trafilatura",
        "justext",
        "lxml",
        "resiliparse",
    }
    assert one.identity(html=False)["packages"] == {}
    assert one.identity(html=True) != Warc(favor="recall").identity(html=True)
