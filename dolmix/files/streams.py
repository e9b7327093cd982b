"""Bytes of text out of stored files: plain, gzip or zstd, in blocks of bounded stored size.

A damaged or truncated stream never ends as if it were whole: it raises `DamageError`, which says
how many of the bytes given so far can be trusted, and how many lines are lost with the others.
Bytes before a cut can be trusted; bytes of a gzip member or zstd frame whose checksum or structure
is wrong cannot, since the damage may lie anywhere in it.
"""

import zlib
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, NamedTuple

from dolmix.files.paths import BadContentError, Compression, open_input, reading_errors

BLOCK_BYTES = 1 << 20
"""Largest block of text from a plain or gzip file."""

READ_BYTES = 64 << 10
"""Stored bytes given to a gzip decoder at once."""

FRAME_BYTES = 256 << 10
"""Stored bytes given to a zstd decoder at once; its output for them is one block."""

HELD_BYTES = 64 << 20
"""How much verified text is held in memory rather than decompressed a second time."""

_MAX_WINDOW = 1 << 31
"""zstd window accepted: the largest that `zstd --long=31` writes, as some public corpora use."""

_ZERO_RUN = 8
"""Compressed data does not end in so many zero bytes where it is merely cut off."""

_LARGEST_TRAILER = 8
"""Stored bytes after the last that gives text: checksum and length of gzip, checksum of zstd."""

_DOUBTED_READS = 3
"""How many of the last reads may hold the damage when a gzip decoder ran past a member's end: over
128 KiB. From further up it would meet a block header on the way, and nonsense in it."""


class DamageError(BadContentError):
    """A stream stopped making sense.

    cause        why, without a full stop
    trusted      how many bytes of text, from where reading began, can be trusted
    lost_lines   newlines in the text that was decoded and cannot be trusted
    more_lost    whether there is, or was, more that nothing decoded: the rest of a member after
                 damage to its structure, later members, what was cut off or overwritten
    """

    def __init__(
        self, cause: str, trusted: int, lost_lines: int = 0, *, more_lost: bool = True
    ) -> None:
        self.cause = cause
        self.trusted = trusted
        self.lost_lines = lost_lines
        self.more_lost = more_lost
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


class _Decoded(NamedTuple):
    """What a member or frame gives on decoding: bytes, newlines, whether stored bytes are left."""

    num_bytes: int
    num_lines: int
    more: bool


class _Stored:
    """A stored stream that remembers how it ended and where its last member or frame began."""

    def __init__(
        self,
        file: BinaryIO,
        make_decoder: Callable[[], Any],
        fault: type[Exception],
        at_once: int,
    ) -> None:
        self.num_bytes = 0
        self.ending = b""
        self._file, self._make_decoder, self._fault = file, make_decoder, fault
        self._origin, self._at_once = file.tell(), at_once
        self._start = 0

    @property
    def num_member_bytes(self) -> int:
        """Stored bytes read since the last member began."""
        return self.num_bytes - self._start

    def read(self) -> bytes:
        data = self._file.read(self._at_once)
        self.num_bytes += len(data)
        self.ending = (self.ending + data)[-_ZERO_RUN:]
        return data

    def begin(self, unread: int) -> Any:
        """Begin a member or frame `unread` bytes before the end of what was read: its decoder."""
        self._start = self.num_bytes - unread
        return self._make_decoder()

    def decode_again(self, skip: int = 0) -> _Decoded:
        """Decode the last member as far as it goes; its first `skip` bytes of text do not count.

        A decoder that meets damage keeps back what it decoded in the same call, so the last stored
        bytes are given to it singly. Nothing can be read after this.
        """
        decoder, text_bytes, lines = self._make_decoder(), -skip, 0
        self._file.seek(self._origin + self._start)
        left = self.num_member_bytes
        while left > 0 and not decoder.eof:
            most = min(self._at_once, left - self._at_once)
            data = self._file.read(max(most, 1))
            left = left - len(data) if data else 0
            try:
                text = decoder.decompress(data)
            except self._fault:
                break
            lines += text[max(0, -text_bytes) :].count(b"\n")
            text_bytes += len(text)
        more = left + len(self._file.read(_LARGEST_TRAILER + 1)) > _LARGEST_TRAILER
        return _Decoded(text_bytes, lines, more)


def _gunzip(file: BinaryIO) -> Iterator[bytes]:
    """Decompress all members; zero bytes after a member are padding, as gzip itself has it."""
    stored = _Stored(file, lambda: zlib.decompressobj(wbits=31), zlib.error, READ_BYTES)
    produced = trusted = 0
    data = stored.read()
    while data:
        member = stored.begin(len(data))
        marks = deque([produced], maxlen=_DOUBTED_READS)
        while not member.eof:
            try:
                block = member.decompress(data, BLOCK_BYTES) if data else member.flush()
            except zlib.error as error:
                lost = stored.decode_again()
                cause = _gzip_cause(error, trusted, trusted + lost.num_bytes)
                raise DamageError(cause, trusted, lost.num_lines, more_lost=lost.more) from None
            produced += len(block)
            if block:
                yield block
            if not data and not member.eof:
                reached = marks[0] if _ends_like_gzip(stored) else produced
                raise _unfinished("gzip", stored, trusted, (reached, produced))
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
    stored = _Stored(file, decompressor.decompressobj, zstandard.ZstdError, FRAME_BYTES)
    produced = trusted = 0
    data = b""
    while length is None or stored.num_bytes - len(data) < length:
        data = data or stored.read()
        if not data:
            return
        frame = stored.begin(len(data))
        while not frame.eof:
            try:
                block = frame.decompress(data)
            except zstandard.ZstdError as error:
                message = str(error).removeprefix("zstd decompressor error: ")
                cause = f"zstd stream is damaged after byte {trusted} of its text: {message}"
                lost = stored.decode_again()
                raise DamageError(cause, trusted, lost.num_lines, more_lost=lost.more) from None
            produced += len(block)
            if block:
                yield block
            data = frame.unused_data if frame.eof else stored.read()
            if not data and not frame.eof:
                raise _unfinished("zstd", stored, trusted, (produced, produced))
        trusted = produced
        yield b""


def _unfinished(name: str, stored: _Stored, trusted: int, ends: tuple[int, int]) -> DamageError:
    """Tell a stream that was cut off from one whose end was overwritten, as by a crash.

    `ends` are the bytes of text up to where a stream merely cut off can be trusted, and in all.
    """
    reached, produced = ends
    if stored.ending == bytes(_ZERO_RUN):
        cause = f"{name} stream is damaged after byte {trusted} of its text: it ends in zero bytes"
        return DamageError(cause, trusted, stored.decode_again().num_lines)
    cause = f"{name} stream is cut off: after byte {reached} of its text the rest is missing"
    if reached == produced:
        return DamageError(cause, reached)
    return DamageError(cause, reached, stored.decode_again(reached - trusted).num_lines)


def _ends_like_gzip(stored: _Stored) -> bool:
    """Whether the last four bytes can be the text's length, as at the end of a whole member.

    Then the file may be whole and damaged further up, so that the decoder ran past the damaged
    member's end; what came out since then is not its text. Deflate shrinks text to no less than
    1/1032. Where chance makes a cut look so, good records are lost with the rest, and told.
    """
    return int.from_bytes(stored.ending[-4:], "little") <= 1032 * stored.num_member_bytes


def _gzip_cause(error: zlib.error, trusted: int, reached: int) -> str:
    message = str(error).rpartition(": ")[2]
    if message == "incorrect data check":
        return f"gzip checksum (CRC) does not match the text from byte {trusted} to {reached}"
    return f"gzip stream is damaged after byte {trusted} of its text: {message}"
