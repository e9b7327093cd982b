"""Records of WARC files (ISO 28500), plain, gzip or zstd, whole or by byte ranges.

A range owns the records that begin in it, from the first place where one verifiably begins, so
that ranges that meet give each record of the file once. A reader begins some way before its range
and walks into it: what looks like a record inside another's content is then seen for what it is.
A record that cannot be read comes as a `Fault`, with its cause, and reading goes on at the next.
"""

import re
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import BinaryIO

from dolmix.files.gzip_members import (
    MemberDamageError,
    Piece,
    find_member,
    member_opens,
    read_members,
)
from dolmix.files.paths import Compression, open_input, reading_errors
from dolmix.files.records import BadValueError
from dolmix.files.streams import DamageError, read_blocks, read_verified

LOOK_BACK_BYTES = 8 << 20
"""Stored bytes before a range at which its reader begins. A range that begins inside a record of
more than that, in whose content whole WARC records stand, takes those for the file's own."""
MAX_HEADER_BYTES = 64 << 10
SEARCH_BYTES = 1 << 20

_OPENING = re.compile(rb"WARC/\d")
_VERSION = re.compile(rb"WARC/\d+\.\d+\s*$")
_BOUNDARY = re.compile(rb"\n\r?\nWARC/\d")
_LINE_ENDS_BYTES = 3
"""What `_BOUNDARY` has before the record."""
_HEADER_END = re.compile(rb"\r?\n\r?\n")
_SHOWN_BYTES = 40
_SHOWN_FIELDS = 8
_USUAL_HEADER_BYTES = 2 << 10
_LONGEST_NUMBER = 19


@dataclass(frozen=True, slots=True)
class Record:
    """One WARC record.

    owner     place in the file that decides which range the record belongs to
    offset    where it begins in the stored file: its gzip member, or its first byte; of zstd, its
              first byte after decompression
    headers   by lower-case name
    length    bytes of content, as `Content-Length` states
    content   None where there are more than were asked for
    """

    owner: int
    offset: int
    headers: Mapping[str, str]
    length: int
    content: bytes | None

    @property
    def type(self) -> str:
        """`response`, `request`, `conversion`, ... as `WARC-Type` says."""
        return self.headers["warc-type"].lower()


@dataclass(frozen=True, slots=True)
class Fault:
    """A record, or a stretch of a file, that cannot be read.

    raw      how it begins
    passed   whether as much was passed over as it said that it had, before it proved wrong
    """

    owner: int
    offset: int
    cause: str
    raw: bytes = b""
    passed: bool = False


def read_records(
    uri: str,
    compression: Compression,
    *,
    max_bytes: int,
    start: int = 0,
    stop: int | None = None,
) -> Iterator[Record | Fault]:
    """Yield the records that begin in `[start, stop)` stored bytes, and what is bad there.

    max_bytes     content of a longer record is passed over
    start, stop   for plain and gzip files; zstd files are read whole

    Raises DataError if the file cannot be opened or read. Memory: a few times `max_bytes`.
    """
    with open_input(uri) as file, reading_errors(uri):
        if compression == "gz":
            found = _read_gzip(file, start, max_bytes)
        elif compression == "zst":
            found = _read_text(_Text(_zstd_pieces(uri), exact=True), 0, max_bytes)
        else:
            found = _read_plain(file, start, max_bytes)
        for item in found:
            if stop is not None and item.owner >= stop:
                return
            if item.owner >= start:
                yield item


def _read_gzip(file: BinaryIO, start: int, max_bytes: int) -> Iterator[Record | Fault]:
    sync = start - LOOK_BACK_BYTES
    place = find_member(file, sync, _OPENING) if sync > 0 else 0
    while place is not None:
        text = _Text(read_members(file, place), exact=False)
        owner = place
        for item in _read_text(text, place, max_bytes):
            owner = item.owner
            yield item
        damage = text.damage
        if not isinstance(damage, MemberDamageError):
            return
        known = member_opens(file, damage.offset, _OPENING)
        yield Fault(damage.offset if known else owner, damage.offset, damage.cause)
        place = find_member(file, damage.offset + 1, _OPENING)


def _read_plain(file: BinaryIO, start: int, max_bytes: int) -> Iterator[Record | Fault]:
    sync = start - LOOK_BACK_BYTES - _LINE_ENDS_BYTES
    place = _find_boundary(file, sync) if sync > 0 else 0
    while place is not None:
        text = _Text(_plain_pieces(file, place), exact=True)
        begin, place = place, None
        for item in _read_text(text, begin, max_bytes):
            yield item
            if isinstance(item, Fault) and item.passed:
                place = _find_boundary(file, item.offset + 1)
                break


def _plain_pieces(file: BinaryIO, place: int) -> Iterator[Piece]:
    file.seek(place)
    while block := file.read(SEARCH_BYTES):
        yield Piece(place, begins=False, text=block)
        place += len(block)


def _zstd_pieces(uri: str) -> Iterator[Piece]:
    place = 0
    for block in read_verified(lambda: read_blocks(uri, "zst")):
        if block:
            yield Piece(place, begins=False, text=block)
        place += len(block)


def _find_boundary(file: BinaryIO, place: int) -> int | None:
    """First place after `place` where a line begins a record, behind an empty line."""
    file.seek(place)
    carry = b""
    while read := file.read(SEARCH_BYTES):
        window = carry + read
        found = _BOUNDARY.search(window)
        if found:
            return place + found.end() - len(b"WARC/1")
        carry = window[-16:]
        place += len(window) - len(carry)
    return None


class _Text:
    """Text from a place on, up to where the next member begins with a record of its own.

    Such a run of text is closed: no record reads beyond it. `next_run` opens the next one. Damage
    ends the text; `damage` then holds it.
    """

    def __init__(self, pieces: Iterator[Piece], *, exact: bool) -> None:
        self.damage: DamageError | MemberDamageError | None = None
        self.exact = exact
        self._pieces = pieces
        self._next: Piece | None = None
        self._data = b""
        self._at = 0
        self._total = 0  # bytes of text before `_data`
        self._marks: deque[tuple[int, Piece]] = deque()  # place in the text → piece, in order
        self._last = b""

    def next_run(self) -> bool:
        """Leave what is left of this run; return whether there is another."""
        while self.fill(1):
            self.skip(1 << 20)
        if self._next is None:
            return False
        piece, self._next = self._next, None
        self._add(piece)
        return True

    @property
    def offset(self) -> int:
        """Where in the file the next byte stands, or its member begins."""
        place = self._total + self._at
        while len(self._marks) > 1 and self._marks[1][0] <= place:
            self._marks.popleft()
        begin, piece = self._marks[0]
        return piece.offset + (place - begin if self.exact else 0)

    @property
    def after_empty_line(self) -> bool:
        """Whether an empty line stands before the next byte."""
        return self._last.endswith((b"\n\n", b"\n\r\n"))

    def fill(self, count: int) -> int:
        """Have `count` bytes ready, or all that are left of the run; return how many there are."""
        while len(self._data) - self._at < count and self._pull():
            pass
        return min(count, len(self._data) - self._at)

    def peek(self, count: int) -> bytes:
        """Return the next bytes, which stay."""
        self.fill(count)
        return self._data[self._at : self._at + count]

    def skip(self, count: int) -> int:
        """Pass over bytes; return how many."""
        left = count
        while left > 0 and (here := self.fill(min(left, SEARCH_BYTES))):
            self._move(here)
            left -= here
        return count - left

    def skip_newlines(self) -> bool:
        """Pass over line ends; return whether anything follows."""
        while (here := self.peek(64)) and here[0] in b"\r\n":
            self._move(len(here) - len(here.lstrip(b"\r\n")))
        return bool(here)

    def ahead(self, skip: int, count: int) -> bytes:
        """Return `count` bytes that stand behind the next `skip`; all stay."""
        self.fill(skip + count)
        return self._data[self._at + skip : self._at + skip + count]

    def member_begins(self, skip: int, count: int) -> bool:
        """Whether a member begins behind the next `skip` bytes or up to `count` further on."""
        place = self._total + self._at + skip
        return any(piece.begins and place <= at <= place + count for at, piece in self._marks)

    def skip_to_boundary(self) -> None:
        """Pass over bytes up to the next that begin a record, or to the end of the run."""
        while self.fill(SEARCH_BYTES):
            found = _BOUNDARY.search(self._data, self._at)
            if found:
                self._move(found.end() - len(b"WARC/1") - self._at)
                return
            self._move(max(1, len(self._data) - self._at - 16))

    def _move(self, count: int) -> None:
        end = self._at + count
        self._last = (self._last + self._data[max(self._at, end - 3) : end])[-3:]
        self._at = end

    def _pull(self) -> bool:
        if self._next is not None or self.damage is not None:
            return False
        try:
            piece = next(self._pieces, None)
        except (DamageError, MemberDamageError) as damage:
            self.damage = damage
            return False
        if piece is None:
            return False
        if piece.begins and self._total + len(self._data) and _OPENING.match(piece.text):
            self._next = piece
            return False
        self._add(piece)
        return True

    def _add(self, piece: Piece) -> None:
        self._marks.append((self._total + len(self._data), piece))
        keep = self._data[self._at :]
        self._total += self._at
        self._data, self._at = (keep + piece.text if keep else piece.text), 0


def _read_text(text: _Text, place: int, max_bytes: int) -> Iterator[Record | Fault]:
    """Yield what a text holds; `place` is where it begins in the file."""
    owner, more = place, bool(text.fill(1)) or text.next_run()
    while more:
        if not text.exact:
            owner = text.offset
        while text.skip_newlines():
            begins = text.after_empty_line or text.offset == place
            if text.exact and begins and _OPENING.match(text.peek(8)):
                owner = text.offset
            yield _read_record(text, owner, max_bytes)
        more = text.next_run()
    if isinstance(text.damage, DamageError):
        yield Fault(owner, text.damage.trusted, text.damage.cause)


def _read_record(text: _Text, owner: int, max_bytes: int) -> Record | Fault:
    """Read the record here; what is bad is passed over, up to the next that begins."""
    offset = text.offset
    head, length = text.peek(_USUAL_HEADER_BYTES), 0
    try:
        if _HEADER_END.search(head) is None:
            head = text.peek(MAX_HEADER_BYTES)
        size, headers = _parse_header(head)
        length = _content_length(headers)
        text.skip(size)
        content = text.peek(length) if length <= max_bytes else None
        _check_end(text, length, max_bytes)
    except BadValueError as error:
        text.skip_to_boundary()
        return Fault(owner, offset, str(error), head, passed=length > max_bytes)
    if content is not None:
        text.skip(length)
    return Record(owner, offset, headers, length, content)


def _check_end(text: _Text, length: int, max_bytes: int) -> None:
    """Hold what follows the content against the length stated; content that is too long goes."""
    if length <= max_bytes:
        here, left = text.fill(length), length
    else:
        here, left = text.skip(length), 0
    if here < length:
        raise BadValueError(
            f"Content-Length states {length:,} bytes, but the record is cut off after {here:,}"
        )
    behind = text.ahead(left, 64)
    rest = behind.lstrip(b"\r\n")
    ends = behind.startswith((b"\r\n\r\n", b"\n\n")) or _OPENING.match(rest) or not rest
    if not ends and not text.member_begins(left, len(behind)):
        raise BadValueError(
            f"Content-Length states {length:,} bytes, but behind them stands {_shown(rest)}"
        )


def _parse_header(head: bytes) -> tuple[int, dict[str, str]]:
    """Length of the header at the beginning of `head`, and its fields."""
    if not _OPENING.match(head):
        raise BadValueError(f"no WARC record: a line WARC/1.0 is expected, not {_shown(head)}")
    end = _HEADER_END.search(head)
    if end is None:
        raise BadValueError(
            f"the record's header has no end within {min(len(head), MAX_HEADER_BYTES):,} bytes"
        )
    text = head[: end.start()].decode("utf-8", "replace").replace("\r\n", "\n")
    first, *lines = text.split("\n")
    if not _VERSION.match(first.encode()):
        raise BadValueError(f"no WARC version: {first[:_SHOWN_BYTES]!r}")
    headers = parse_fields(lines)
    if not headers.get("warc-type"):
        raise BadValueError(f"the record has no WARC-Type, only {sorted(headers)[:_SHOWN_FIELDS]}")
    return end.end(), headers


def parse_fields(lines: list[str]) -> dict[str, str]:
    """Read `Name: value` lines; a line that begins with a space goes on with the one before.

    returns  by lower-case name; of a name that repeats, the first value
    """
    fields: dict[str, str] = {}
    name = ""
    for line in lines:
        if line[:1] in {" ", "\t"}:
            if name:
                fields[name] = f"{fields[name]} {line.strip()}".strip()
            continue
        name, colon, value = line.partition(":")
        name = name.strip().lower() if colon else ""
        if name in fields:
            name = ""
        if name:
            fields[name] = value.strip()
    return fields


def _content_length(headers: Mapping[str, str]) -> int:
    stated = headers.get("content-length")
    if stated is None:
        raise BadValueError(f"a {headers['warc-type']} record has no Content-Length")
    if not (stated.isascii() and stated.isdigit() and len(stated) < _LONGEST_NUMBER):
        raise BadValueError(f"Content-Length is {stated[:_SHOWN_BYTES]!r}, which is no length")
    return int(stated)


def _shown(text: bytes) -> str:
    return repr(text[:_SHOWN_BYTES])[1:]
