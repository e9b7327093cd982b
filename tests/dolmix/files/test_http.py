"""HTTP messages as crawlers store them: whole, decoded already, cut off, or no HTTP at all."""

import gzip
import zlib

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from peers import needs
from warc_files import response

from dolmix.files.http import UnreadableBodyError, parse_response, read_body
from dolmix.files.records import BadValueError

MOST = 10_000


def compress_brotli(text: bytes) -> bytes:
    """Compress as servers do."""
    import brotli

    coded: bytes = brotli.compress(text)
    return coded


ENCODERS = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": compress_brotli,
    "zstd": zstandard.compress,
    "identity": bytes,
}


@pytest.fixture(autouse=True)
def _has_brotli() -> None:
    needs("brotli")


def body(message: bytes, most: int = MOST) -> bytes:
    """Body of a message, decoded."""
    return read_body(parse_response(message), most)


def chunked(text: bytes, sizes: list[int]) -> bytes:
    """Cut a body into chunks, the last of which takes the rest."""
    pieces = []
    for size in sizes:
        pieces.append(text[:size])
        text = text[size:]
    parts = [b"%x;ext=1\r\n%s\r\n" % (len(p), p) for p in [*pieces, text] if p]
    return b"".join(parts) + b"0\r\n\r\n"


@given(
    text=st.binary(min_size=1, max_size=200),
    name=st.sampled_from(sorted(ENCODERS)),
    sizes=st.none() | st.lists(st.integers(1, 50), max_size=4),
)
def test_what_was_encoded_is_decoded(text: bytes, name: str, sizes: list[int] | None) -> None:
    """Every content encoding, chunked or not."""
    coded = ENCODERS[name](text)
    headers = {"Content_Encoding": name}
    if sizes is not None:
        coded, headers["Transfer_Encoding"] = chunked(coded, sizes), "chunked"
    assert body(response(coded, **headers)) == text


@pytest.mark.parametrize(
    "headers", [{"Content_Encoding": "gzip"}, {"Transfer_Encoding": "chunked"}]
)
def test_what_was_decoded_already_is_taken_as_it_stands(headers: dict[str, str]) -> None:
    """Crawlers keep the headers of the wire beside a body that is plain."""
    assert body(response(b"<html>", **headers)) == b"<html>"


@pytest.mark.parametrize("name", ["gzip", "deflate", "br"])
def test_what_was_cut_off_is_read_as_far_as_it_goes(name: str) -> None:
    """Crawlers end long pages early. Of zstd, whole blocks of up to 128 KiB come or nothing."""
    text = b"".join(b"%d words " % (n * n) for n in range(900))
    coded = ENCODERS[name](text)
    found = body(response(coded[: len(coded) * 3 // 4], Content_Encoding=name))
    assert found
    assert text.startswith(found)
    whole = chunked(text, [40] * 9)
    assert text.startswith(body(response(whole[:200], Transfer_Encoding="chunked")))


@pytest.mark.parametrize("name", ["gzip", "deflate", "zstd", "br"])
def test_a_bomb_is_not_decoded(name: str) -> None:
    """A body that grows beyond the limit is given up, not held."""
    with pytest.raises(UnreadableBodyError) as caught:
        body(response(ENCODERS[name](bytes(5_000_000)), Content_Encoding=name))
    assert caught.value.code == "too_long"


@pytest.mark.parametrize(
    ("name", "coded"), [("rot13", b"uryyb"), ("deflate", b"\xff\xff"), ("br", b"\xff")]
)
def test_what_cannot_be_decoded_says_so(name: str, coded: bytes) -> None:
    """An encoding that nobody knows, bytes that are none."""
    with pytest.raises(UnreadableBodyError) as caught:
        body(response(coded, Content_Encoding=name))
    assert caught.value.code == "encoding"


def test_head_and_body() -> None:
    """Status, fields without case, a body of its own; newlines alone end lines too."""
    found = parse_response(b"HTTP/1.1 404 Not\nX-A: b\nx-a: c\n\nbody\r\n\r\nmore")
    assert (found.status, found.headers, found.body) == (404, {"x-a": "b"}, b"body\r\n\r\nmore")
    assert parse_response(b"HTTP/2 200\r\nA: b").body == b""


@pytest.mark.parametrize("message", [b"", b"<html>", b"HTTP/1.1 OK", b"HTTP/1.1 20000\r\n\r\n"])
def test_a_message_without_status_line_is_bad(message: bytes) -> None:
    """And the cause shows how it begins."""
    with pytest.raises(BadValueError, match="no HTTP status line"):
        parse_response(message)
