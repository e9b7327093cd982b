"""Bytes of text out of stored files: plain, gzip or zstd, in blocks of bounded size.

A damaged or truncated stream never ends as if it were whole: it raises `DamageError`, which says
how many of the bytes given so far can be trusted. Bytes before a cut can; bytes of a gzip member or
zstd frame whose checksum or structure is wrong cannot, since the damage may lie anywhere in it.
"""

import zlib
from collections import deque
from collections.abc import Callable, Iterator
from typing import BinaryIO

from dolmix.files.paths import BadContentError, Compression, open_input, reading_errors

BLOCK_BYTES = 1 << 20
"""Largest block of text from a plain or gzip file."""

READ_BYTES = 64 << 10
"""Stored bytes given to a decoder at once; the output of zstd's for them is one block."""

HELD_BYTES = 64 << 20
"""How much verified text is held in memory rather than decompressed a second time."""

_MAX_WINDOW = 1 << 31
"""zstd window accepted: the largest that `zstd --long=31` writes, as some public corpora use."""

_ZERO_RUN = 8
"""Compressed data does not end in so many zero bytes where it is merely cut off."""

_DOUBTED_READS = 3
"""How many of the last reads may hold the damage when a gzip decoder ran past a member's end: over
128 KiB. From further up it would meet a block header on the way, and nonsense in it."""


class DamageError(BadContentError):
    """A stream stopped making sense: why, and how many bytes from its beginning can be trusted."""

    def __init__(self, cause: str, trusted: int) -> None:
        self.cause = cause
        self.trusted = trusted
        super().__init__(cause)


def read_blocks(
    uri: str, compression: Compression, *, start: int = 0, stop: int | None = None
) -> Iterator[bytes]:
    """Yield the text of a file in order; an empty block says that all bytes before it are verified.

    start, stop   stored bytes: for a plain file exactly this range; for zstd `start` begins a
                  frame, and all frames that begin before `stop` are read; gzip files are read from
                  0 to their end

    Raises DamageError, and DataError if the file cannot be opened or read.
    """
    with open_input(uri) as file, reading_errors(uri):
        file.seek(start)
        if compression == "gz":
            yield from _gunzip(file)
        elif compression == "zst":
            yield from _unzstd(file, None if stop is None else stop - start)
        else:
            yield from _read_plain(file, None if stop is None else stop - start)


def read_verified(read: Callable[[], Iterator[bytes]]) -> Iterator[bytes]:
    """Yield what `read()` gives and can be trusted, then raise the DamageError it ends in, if any.

    Streams of up to HELD_BYTES are held, larger ones decompressed twice, so memory stays bounded.
    """
    held: list[bytes] = []
    size, damage = 0, None
    try:
        for text in read():
            size += len(text)
            held.append(text)
            if size > HELD_BYTES:
                held.clear()
    except DamageError as error:
        damage = error
    source = iter(held) if size <= HELD_BYTES else read()
    if damage is None:
        yield from source
        return
    left = damage.trusted
    while left > 0 and (block := next(source, None)) is not None:
        yield block[:left]
        left -= len(block)
    raise damage


def _read_plain(file: BinaryIO, length: int | None) -> Iterator[bytes]:
    left = length
    while left is None or left > 0:
        block = file.read(BLOCK_BYTES if left is None else min(BLOCK_BYTES, left))
        if not block:
            return
        if left is not None:
            left -= len(block)
        yield block


class _Stored:
    """A stored stream that remembers how it ended."""

    def __init__(self, file: BinaryIO) -> None:
        self.num_bytes = 0
        self.ending = b""
        self._file = file

    def read(self) -> bytes:
        data = self._file.read(READ_BYTES)
        self.num_bytes += len(data)
        self.ending = (self.ending + data)[-_ZERO_RUN:]
        return data


def _gunzip(file: BinaryIO) -> Iterator[bytes]:
    """Decompress all members; zero bytes after a member are padding, as gzip itself has it."""
    stored = _Stored(file)
    produced = trusted = 0
    data = stored.read()
    while data:
        member = zlib.decompressobj(wbits=31)
        start = stored.num_bytes - len(data)
        marks = deque([produced], maxlen=_DOUBTED_READS)
        while not member.eof:
            try:
                block = member.decompress(data, BLOCK_BYTES) if data else member.flush()
            except zlib.error as error:
                raise DamageError(_gzip_cause(error, trusted, produced), trusted) from None
            produced += len(block)
            if block:
                yield block
            if not data and not member.eof:
                doubted = _ends_like_gzip(stored, stored.num_bytes - start)
                raise _unfinished("gzip", stored, trusted, marks[0] if doubted else produced)
            data = member.unconsumed_tail
            if not data and not member.eof:
                marks.append(produced)
                data = stored.read()
        trusted = produced
        yield b""
        data = member.unused_data.lstrip(b"\0")
        while not data and (more := stored.read()):
            data = more.lstrip(b"\0")


def _unzstd(file: BinaryIO, length: int | None) -> Iterator[bytes]:
    """Decompress the frames that begin in the next `length` stored bytes."""
    import zstandard

    decompressor = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW)
    stored = _Stored(file)
    produced = trusted = 0
    data = b""
    while length is None or stored.num_bytes - len(data) < length:
        data = data or stored.read()
        if not data:
            return
        frame = decompressor.decompressobj()
        while not frame.eof:
            try:
                block = frame.decompress(data)
            except zstandard.ZstdError as error:
                message = str(error).removeprefix("zstd decompressor error: ")
                cause = f"zstd stream is damaged after byte {trusted} of its text: {message}"
                raise DamageError(cause, trusted) from None
            produced += len(block)
            if block:
                yield block
            data = frame.unused_data if frame.eof else stored.read()
            if not data and not frame.eof:
                raise _unfinished("zstd", stored, trusted, produced)
        trusted = produced
        yield b""


def _unfinished(name: str, stored: _Stored, trusted: int, reached: int) -> DamageError:
    """Tell a stream that was cut off from one whose end was overwritten, as by a crash."""
    if stored.ending == bytes(_ZERO_RUN):
        cause = f"{name} stream is damaged after byte {trusted} of its text: it ends in zero bytes"
        return DamageError(cause, trusted)
    cause = f"{name} stream is cut off: after byte {reached} of its text the rest is missing"
    return DamageError(cause, reached)


def _ends_like_gzip(stored: _Stored, num_bytes: int) -> bool:
    """Whether the last four bytes can be the text's length, as at the end of a whole member.

    Then the file may be whole and damaged further up, so that the decoder ran past the damaged
    member's end; what came out since then is not its text. Deflate shrinks text to no less than
    1/1032. Where chance makes a cut look so, good records are lost with the rest, and told.
    """
    return int.from_bytes(stored.ending[-4:], "little") <= 1032 * num_bytes


def _gzip_cause(error: zlib.error, trusted: int, produced: int) -> str:
    message = str(error).rpartition(": ")[2]
    if message == "incorrect data check":
        return f"gzip checksum (CRC) does not match the text from byte {trusted} to {produced}"
    return f"gzip stream is damaged after byte {trusted} of its text: {message}"
