"""WARC files for tests: records, HTTP responses, and a plain reading of what was written."""

import gzip
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count

PAGE = b"<html><head><title>t</title></head><body><article><p>%s</p></article></body></html>"
SENTENCE = "The ferry to the island leaves twice a day in summer, and once in winter. "
"""Long enough, repeated, for extractors to take it for the main text."""

_numbers = count()


@dataclass(frozen=True)
class Wanted:
    """A record as it should be read."""

    type: str
    id: str
    content: bytes


def record(
    content: bytes,
    type_: str = "response",
    *,
    id_: str | None = None,
    length: int = -1,
    **more: str,
) -> bytes:
    """One record, uncompressed; `length` other than -1 is a lie, `more` are further headers."""
    headers = {
        "WARC-Type": type_,
        "WARC-Record-ID": f"<urn:uuid:{id_ or f'{next(_numbers):08d}'}>",
        "WARC-Date": "2024-05-17T23:31:22Z",
        "WARC-Target-URI": "https://example.org/a",
        "Content-Type": "application/http; msgtype=response",
        "Content-Length": str(len(content) if length < 0 else length),
    } | {name.replace("_", "-"): value for name, value in more.items()}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items() if value)
    return b"WARC/1.0\r\n" + lines.encode() + b"\r\n" + content + b"\r\n\r\n"


def response(body: bytes, status: int = 200, type_: str = "text/html", **more: str) -> bytes:
    """HTTP response as it came over the wire."""
    headers = {"Content-Type": type_} | {n.replace("_", "-"): v for n, v in more.items()}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items() if value)
    return f"HTTP/1.1 {status} Something\r\n{lines}\r\n".encode() + body


def page(text: str = SENTENCE * 8) -> bytes:
    """HTML page with this text as its only paragraph."""
    return PAGE % text.encode()


def gzipped(records: Sequence[bytes]) -> bytes:
    """One member a record."""
    return b"".join(gzip.compress(r, mtime=0) for r in records)
