"""HTTP responses as crawlers store them: status, header fields, and the body as it was meant.

Crawlers store what came over the wire, or what they had already decoded under the headers that came
with it. So a body that is not chunked or compressed after all is taken as it stands; one that was
cut off, as crawlers do with long pages, is decoded as far as it goes.
"""

import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dolmix.errors import DataError
from dolmix.files.outcomes import Outcome
from dolmix.files.records import BadValueError
from dolmix.files.warc import parse_fields

_STATUS = re.compile(rb"(?:HTTP/\d+(?:\.\d+)?|ICY)[ \t]+(\d{3})(?![0-9])")
_HEADER_END = re.compile(rb"\r?\n\r?\n")
_CHUNK_SIZE = re.compile(rb"[ \t]*([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n]*)?\r?\n")
_SHOWN_BYTES = 40
_DEFLATE = 8
"""Compression method in the first byte of a zlib stream."""
_STEP_BYTES = 1 << 10
"""Given to a decoder at once: there is no limit on what it makes of them."""
_BLOCK_BYTES = 64 << 10


class UnreadableBodyError(Exception):
    """A body that is not wanted or cannot be read; `code` says why, the message with what."""

    def __init__(self, code: Outcome, message: str) -> None:
        self.code = code
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Response:
    """One HTTP response: header fields by lower-case name, the body as stored."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def parse_response(message: bytes) -> Response:
    """Take a message apart. Raises BadValueError where it has no status line."""
    status = _STATUS.match(message)
    if status is None:
        raise BadValueError(f"no HTTP status line: the response begins {message[:_SHOWN_BYTES]!r}")
    end = _HEADER_END.search(message)
    head, body = (message, b"") if end is None else (message[: end.start()], message[end.end() :])
    lines = head.decode("utf-8", "replace").replace("\r\n", "\n").split("\n")[1:]
    return Response(int(status[1]), parse_fields(lines), body)


def read_body(response: Response, max_bytes: int) -> bytes:
    """Undo transfer and content encodings: chunked; gzip, deflate, br, zstd.

    Raises UnreadableBodyError: more than `max_bytes`, or an encoding that is not known or does not
    decode. Raises DataError where a package that is not installed is needed.
    """
    body = response.body
    if "chunked" in response.headers.get("transfer-encoding", "").lower():
        body = _without_chunks(body)
    stated = response.headers.get("content-encoding", "").lower().split(",")
    for name in reversed([part.strip() for part in stated]):
        if body:
            body = _decoded(body, name, max_bytes)
    if len(body) > max_bytes:
        raise UnreadableBodyError("too_long", f"{len(body):,} bytes, more than {max_bytes:,}")
    return body


def _without_chunks(body: bytes) -> bytes:
    """Join chunks as far as they go; a body that does not begin with one is none."""
    pieces, place = [], 0
    while size := _CHUNK_SIZE.match(body, place):
        length = int(size[1], 16)
        if length == 0:
            break
        pieces.append(body[size.end() : size.end() + length])
        place = size.end() + length
        place += 2 if body[place : place + 2] == b"\r\n" else body[place : place + 1] == b"\n"
    if place == 0 and not (size and size.end() <= len(body)):
        return body
    return b"".join(pieces)


def _decoded(body: bytes, name: str, max_bytes: int) -> bytes:
    if name in {"", "identity", "none", "utf-8"}:
        return body
    if name in {"gzip", "x-gzip"} and not body.startswith(b"\x1f\x8b"):
        return body
    has_header = body[0] & 15 == _DEFLATE and int.from_bytes(body[:2], "big") % 31 == 0
    decoders: dict[str, Callable[[], Iterator[bytes]]] = {
        "gzip": lambda: _inflate(body, 31),
        "x-gzip": lambda: _inflate(body, 31),
        "deflate": lambda: _inflate(body, 15 if has_header else -15),
        "br": lambda: _unbrotli(body),
        "zstd": lambda: _unzstd(body),
    }
    if name not in decoders:
        raise UnreadableBodyError("encoding", f"{name} is not known")
    return _collected(decoders[name](), name, max_bytes)


def _inflate(body: bytes, wbits: int) -> Iterator[bytes]:
    decoder = zlib.decompressobj(wbits=wbits)
    for start in range(0, len(body), _STEP_BYTES):
        if decoder.eof:
            return
        try:
            yield decoder.decompress(body[start : start + _STEP_BYTES])
        except zlib.error:
            return


def _unbrotli(body: bytes) -> Iterator[bytes]:
    try:
        import brotli  # type: ignore[import-untyped,unused-ignore]
    except ImportError as error:
        raise DataError(
            f"a page is compressed with brotli (Content-Encoding: br): {error}. "
            "Install what reads it: pip install 'dolmix[warc]'"
        ) from None
    decoder: Any = brotli.Decompressor()
    for start in range(0, len(body), _STEP_BYTES):
        try:
            yield decoder.process(body[start : start + _STEP_BYTES])
        except brotli.error:
            return


def _unzstd(body: bytes) -> Iterator[bytes]:
    import zstandard

    decoder = zstandard.ZstdDecompressor(max_window_size=1 << 27)
    with decoder.stream_reader(body, read_across_frames=True) as reader:
        try:
            while text := reader.read(_BLOCK_BYTES):
                yield text
        except zstandard.ZstdError:
            return


def _collected(blocks: Iterable[bytes], name: str, max_bytes: int) -> bytes:
    """Join what a decoder gives, which ends where it cannot go on: a page may be cut off."""
    pieces: list[bytes] = []
    size = 0
    for block in blocks:
        pieces.append(block)
        size += len(block)
        if size > max_bytes:
            raise UnreadableBodyError("too_long", f"more than {max_bytes:,} bytes")
    if not size:
        raise UnreadableBodyError("encoding", f"not a byte can be decoded as {name}")
    return b"".join(pieces)
