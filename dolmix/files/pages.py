"""WARC records as documents: which ones are, their text, and what is kept of where it came from.

Every record of the wanted types becomes a page. One that holds no text to keep (another status,
another content type, nothing found) is a page with empty text and an `outcome` that says why; the
filter `warc` drops it by that, so that it is counted like any other dropped document.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from dolmix.config import Schema
from dolmix.errors import DataError
from dolmix.files.charsets import Detector, decode_page, stated_charset
from dolmix.files.extract import (
    ExtractionError,
    Extractor,
    ExtractorName,
    Favor,
    extractor_versions,
)
from dolmix.files.http import UnreadableBodyError, parse_response, read_body
from dolmix.files.records import BadValueError
from dolmix.files.warc import Record

READING_FORMAT = "dolmix-warc-1"
"""What reading makes of a record; raised when the same record would give another document."""

HTML = ("text/html", "application/xhtml+xml")
_LOOKS_LIKE_HTML = re.compile(rb"\s*(?:<!doctype\s+html|<html)", re.IGNORECASE)


class Warc(Schema):
    """How WARC and WET files are read."""

    records: Annotated[
        tuple[Literal["response", "conversion", "resource"], ...], Field(min_length=1)
    ] = ("response", "conversion")
    """Record types that are documents; all others (`request`, `metadata`, `revisit`, ...) are only
    counted."""
    status: tuple[int, ...] = (200,)
    """HTTP status codes to keep."""
    content_types: tuple[str, ...] = (*HTML, "text/plain")
    """Content types to keep, without parameters; what is not HTML is taken as it stands."""
    extractor: ExtractorName = "trafilatura"
    """What finds the main text of HTML pages; `none` keeps no HTML page."""
    favor: Favor = "balanced"
    """How trafilatura decides what it doubts; `recall` with resiliparse takes the page's whole
    text."""
    max_page_bytes: Annotated[int, Field(ge=1, le=256 << 20)] = 8 << 20
    """A page, as stored or decoded, of more than this is dropped."""
    timeout_s: Annotated[float, Field(gt=0)] = 60.0
    """A page that keeps the extractor busy for more processor time is a bad record."""

    @model_validator(mode="after")
    def _favor_means_something(self) -> "Warc":
        if self.extractor != "trafilatura" and self.favor == "precision":
            raise ValueError(f"favor: precision is for trafilatura, not {self.extractor}")
        return self

    def identity(self, *, html: bool) -> dict[str, Any]:
        """Name what the texts depend on, package versions included.

        html  whether there may be HTML pages, which take packages to read

        Raises DataError for a package that is not installed.
        """
        settings = self.model_dump(mode="json", exclude={"timeout_s"})
        found: dict[str, str] = {}
        if html and self.extractor != "none":
            found = extractor_versions("resiliparse") | extractor_versions(self.extractor)
        return {"format": READING_FORMAT, "settings": settings, "packages": found}


@dataclass(frozen=True, slots=True)
class Page:
    """What a record became.

    about    provenance: type, date, status, content_type, charset, offset, truncated, outcome
    """

    text: str
    id: str
    url: str | None
    about: Mapping[str, Any]


class PageReader:
    """Turns the records of one part into pages. Close it after: it may own a child process."""

    def __init__(self, settings: Warc) -> None:
        self._settings = settings
        self._extractor = Extractor(settings.extractor, settings.favor, settings.timeout_s)

    def close(self) -> None:
        """End the extractor's process."""
        self._extractor.close()

    def read(self, record: Record) -> Page | None:
        """Read one record; None for one that is no document.

        Raises BadValueError for one that should be a document and makes no sense.
        """
        if record.type not in self._settings.records:
            return None
        id_ = record.headers.get("warc-record-id", "").strip("<> ").removeprefix("urn:uuid:")
        if not id_:
            raise BadValueError(f"{record.type} record without WARC-Record-ID")
        url = record.headers.get("warc-target-uri", "").strip("<> ") or None
        about: dict[str, Any] = {
            "type": record.type,
            "date": record.headers.get("warc-date"),
            "offset": record.offset,
            "truncated": record.headers.get("warc-truncated"),
        }
        text = ""
        try:
            text = self._text(record, about)
        except UnreadableBodyError as error:
            about["outcome"] = error.code
        return Page(text, id_, url, about)

    def _text(self, record: Record, about: dict[str, Any]) -> str:
        """Text of a page; what is learnt on the way goes into `about`."""
        if record.content is None:
            raise UnreadableBodyError("too_long", f"{record.length:,} bytes")
        stated, body = record.headers.get("content-type", ""), record.content
        if _essence(stated) == "application/http" or (not stated and body.startswith(b"HTTP/")):
            response = parse_response(body)
            about["status"] = response.status
            if response.status not in self._settings.status:
                raise UnreadableBodyError("status", f"HTTP {response.status}")
            stated = response.headers.get("content-type", "")
            self._check_type(stated, about)
            body = read_body(response, self._settings.max_page_bytes)
            if not stated and _LOOKS_LIKE_HTML.match(body):
                stated = about["content_type"] = "text/html"
        self._check_type(stated, about, final=True)
        return self._decode(body, stated, about)

    def _check_type(self, stated: str, about: dict[str, Any], *, final: bool = False) -> None:
        """Refuse a content type; one that was not stated is refused only in the end."""
        kind = _essence(stated)
        about["content_type"] = kind or None
        wanted = kind in self._settings.content_types or not (kind or final)
        if not wanted or (kind in HTML and self._settings.extractor == "none"):
            raise UnreadableBodyError("content_type", f"content type {kind!r}")

    def _decode(self, body: bytes, stated: str, about: dict[str, Any]) -> str:
        is_html = about["content_type"] in HTML
        text, about["charset"] = decode_page(
            body,
            stated_charset(stated),
            markup=is_html,
            detect=_detector() if is_html else None,
        )
        if is_html:
            text = self._extract(text)
        if not text.strip():
            raise UnreadableBodyError("empty", f"no text in {len(body):,} bytes")
        return text

    def _extract(self, html: str) -> str:
        if not html.strip():
            return ""
        try:
            return self._extractor.extract(html)
        except ExtractionError as error:
            raise UnreadableBodyError("failed", f"{self._settings.extractor}: {error}") from None


def _essence(content_type: str) -> str:
    """Content type without parameters: `text/html; charset=utf-8` is `text/html`."""
    return content_type.partition(";")[0].partition(",")[0].strip().lower()


@cache
def _detector() -> Detector:
    try:
        from resiliparse.parse.encoding import detect_encoding
    except ImportError as error:
        raise DataError(
            f"reading HTML pages needs resiliparse: {error}. pip install 'dolmix[warc]'"
        ) from None
    detect: Detector = detect_encoding
    return detect
