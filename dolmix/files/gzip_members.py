"""Gzip files of many members, as WARC files are: each member's text, and where members begin.

No text of a member is given before its checksum has been verified: what comes out can be trusted,
and damage costs the member it lies in. A member's beginning can be found from anywhere in a file.
"""

import re
import zlib
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from dolmix.files.paths import BadContentError

READ_BYTES = 16 << 10
"""Stored bytes given to the decoder at once: what follows a member in them is copied."""
BLOCK_BYTES = 1 << 20
HELD_BYTES = 8 << 20
"""Text of a member held until it is verified; a member with more is decompressed twice."""
PROBE_BYTES = 4 << 10
SEARCH_BYTES = 1 << 20

_MAGIC = b"\x1f\x8b\x08"
_RESERVED_FLAGS = 0xE0
_SHORTEST_HEADER = 4


class Piece(NamedTuple):
    """Some text: where its member begins in the file, whether this is the member's first piece."""

    offset: int
    begins: bool
    text: bytes


class MemberDamageError(BadContentError):
    """The member at `offset` cannot be decompressed to its end; `cause` says why."""

    def __init__(self, offset: int, cause: str) -> None:
        self.offset = offset
        self.cause = cause
        super().__init__(cause)


def read_members(file: BinaryIO, offset: int) -> Iterator[Piece]:
    """Yield the text of the member at `offset` and of all that follow, each verified.

    Zero bytes after a member are padding. Raises MemberDamageError at the first member that is
    damaged or cut off; the file's position then means nothing.
    """
    file.seek(offset)
    stored = _Stored(file, offset)
    while stored.skip_padding():
        begin = stored.position
        held, complete = _decode(stored, HELD_BYTES)
        if complete:
            yield Piece(begin, begins=True, text=held)
            continue
        del held
        stored.rewind(begin)
        for _ in _blocks(stored, begin):
            pass
        stop = stored.position
        stored.rewind(begin)
        for number, text in enumerate(_blocks(stored, begin)):
            yield Piece(begin, begins=number == 0, text=text)
        stored.rewind(stop)


def find_member(file: BinaryIO, offset: int, opening: re.Pattern[bytes]) -> int | None:
    """Find the first member at or after `offset` whose text begins with `opening`.

    returns  its place in the file, None if there is none
    """
    carry = b""
    while True:
        file.seek(offset + len(carry))
        read = file.read(SEARCH_BYTES)
        window = carry + read
        at = window.find(_MAGIC)
        while at >= 0:
            if member_opens(file, offset + at, opening):
                return offset + at
            at = window.find(_MAGIC, at + 1)
        if not read:
            return None
        carry = window[-(len(_MAGIC) - 1) :]
        offset += len(window) - len(carry)


def member_opens(file: BinaryIO, offset: int, opening: re.Pattern[bytes]) -> bool:
    """Whether a member begins at `offset` and its text begins with `opening`."""
    file.seek(offset)
    data = file.read(PROBE_BYTES)
    if len(data) < _SHORTEST_HEADER or data[3] & _RESERVED_FLAGS or not data.startswith(_MAGIC):
        return False
    decoder = zlib.decompressobj(wbits=31)
    try:
        text = decoder.decompress(data, 64)
    except zlib.error:
        return False
    return opening.match(text) is not None


class _Stored:
    """Stored bytes with a position, of which a decoder takes as many as it needs."""

    def __init__(self, file: BinaryIO, position: int) -> None:
        self.position = position
        self.data = b""
        self._file = file

    def rewind(self, position: int) -> None:
        self._file.seek(position)
        self.position, self.data = position, b""

    def more(self) -> bool:
        self.data = self.data or self._file.read(READ_BYTES)
        return bool(self.data)

    def leave(self, rest: bytes) -> None:
        """Say what of `data` was not used."""
        self.position += len(self.data) - len(rest)
        self.data = rest

    def skip_padding(self) -> bool:
        """Pass over zero bytes; return whether anything follows."""
        while self.more():
            self.leave(self.data.lstrip(b"\0"))
            if self.data:
                return True
        return False


def _decode(stored: _Stored, limit: int) -> tuple[bytes, bool]:
    """Text of the member here, and whether that is all of it: not if it is more than `limit`."""
    blocks, size = [], 0
    for block in _blocks(stored, stored.position):
        blocks.append(block)
        size += len(block)
        if size > limit:
            return b"", False
    return b"".join(blocks), True


def _blocks(stored: _Stored, begin: int) -> Iterator[bytes]:
    """Decompress the member that begins here; `stored` is then behind it."""
    decoder, produced, full = zlib.decompressobj(wbits=31), 0, False
    while not decoder.eof:
        if not full and not stored.more():
            text = f"after byte {produced:,} of its text" if produced else "in its header"
            raise MemberDamageError(begin, f"gzip member is cut off {text}")
        try:
            block = decoder.decompress(stored.data, BLOCK_BYTES)
        except zlib.error as error:
            raise MemberDamageError(begin, _cause(error)) from None
        stored.leave(decoder.unused_data if decoder.eof else decoder.unconsumed_tail)
        full = len(block) == BLOCK_BYTES
        produced += len(block)
        yield block


def _cause(error: zlib.error) -> str:
    message = str(error).rpartition(": ")[2]
    if message == "incorrect data check":
        return "gzip member is damaged: its checksum (CRC) does not match"
    return f"gzip member is damaged: {message}"
