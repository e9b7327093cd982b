r"""Personal data in a text: e-mail addresses, IP addresses, phone numbers, as two peers find them.

Python's `re` decides, but never from a place where its time could grow with the square of a run: an
e-mail address is looked for around each `@`, a phone number behind each run of white space. What is
found is what `finditer` of the peer's own expression finds.
"""

import ipaddress
import re
from collections.abc import Iterator
from typing import NamedTuple

LOCAL = r"A-Za-z0-9!#$%&'*+/=?^_`{|}~-"
IP = re.compile(
    r"(?:(?:25[0-5]|2[0-4][0-9]|[01]?[0-9][0-9]?)\.){3}(?:25[0-5]|2[0-4][0-9]|[01]?[0-9][0-9]?)"
)
"""Both peers' expression for an IPv4 address; it may stand inside a longer number."""
LOCAL_PART = re.compile(rf"(?:[{LOCAL}]+\.)*[{LOCAL}]+$")
LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
OCTET = r"(?:25[0-5]|2[0-4][0-9]|[01]?[0-9][0-9]?)"
DOMAIN = re.compile(
    rf"(?:(?:{LABEL}\.)+{LABEL}|\[(?:{OCTET}\.){{3}}(?:{OCTET}|[A-Za-z0-9-]*[A-Za-z0-9]:)])"
)
"""What datatrove takes for a domain; the last alternative is what its expression says."""
WORD_EDGE = re.compile(r"\b")
DOLMA_DOMAIN = re.compile(r"([^\s@,?!;:)(]+?)[.\s@,?!;:)(]?\s")
DOLMA_EDGES = ".@,?!;:)("
PHONE = re.compile(r"(?<=\s)\(?\d{3}\)?[-. ]*\d{3}[-. ]?\d{4}")
PARAGRAPH = re.compile(r"[^\n]*\n|[^\n]+\Z")


class Found(NamedTuple):
    """A run of characters of a text."""

    start: int
    stop: int


def datatrove_emails(text: str) -> Iterator[Found]:
    """Yield e-mail addresses as datatrove 0.10's PIIFormatter finds them."""
    done = 0
    at = text.find("@")
    while at >= 0:
        domain = DOMAIN.match(text, at + 1)
        if domain is not None:
            start = _local_start(text, done, at)
            if start < at:
                done = domain.end()
                yield Found(start, done)
        at = text.find("@", max(at + 1, done))


def public_ips(text: str, *, public_only: bool) -> Iterator[Found]:
    """Yield IPv4 addresses as datatrove's PIIFormatter finds them: valid ones, public if asked."""
    for match in IP.finditer(text):
        try:
            address = ipaddress.ip_address(match[0])
        except ValueError:
            continue
        if address.is_global or not public_only:
            yield Found(*match.span())


def dolma_emails(text: str) -> Iterator[Found]:
    """Yield e-mail addresses as dolma 1.2's pii_regex_with_counts_fast_v2 tags them in a paragraph.

    A span takes in the white space and the punctuation around the address.
    """
    done = 0
    at = text.find("@")
    while at >= 0:
        domain = DOLMA_DOMAIN.match(text, at + 1)
        start = _run_start(text, done, at)
        if domain is not None and start < at:
            local = text[start:at]
            while start > done and (text[start - 1] in DOLMA_EDGES or text[start - 1].isspace()):
                start -= 1
            done = domain.end()
            if not _is_one_bracket(local) and "." in domain[1]:
                yield Found(start, done)
        at = text.find("@", max(at + 1, done))


def dolma_phones(text: str) -> Iterator[Found]:
    """Yield phone numbers of the United States with the white space before them, as dolma does."""
    done = 0
    for match in PHONE.finditer(text):
        start, stop = match.span()
        while start > done and text[start - 1].isspace():
            start -= 1
        done = stop
        yield Found(start, stop)


def dolma_ips(text: str) -> Iterator[Found]:
    """Yield what looks like an IPv4 address, as dolma does."""
    return (Found(*match.span()) for match in IP.finditer(text))


def paragraphs(text: str) -> Iterator[Found]:
    """Yield dolma's paragraphs: lines with their newlines, those of white space alone left out."""
    for match in PARAGRAPH.finditer(text):
        if match[0].strip():
            yield Found(*match.span())


def _local_start(text: str, least: int, at: int) -> int:
    r"""First place from `least` on at which a local part begins that ends at `at`; `at` if none.

    That is `\b[class]+(?:\.[class]+)*` up to an `@`: from the left, the first word edge in the run.
    """
    start = at
    while start > least and (text[start - 1] == "." or text[start - 1] in _LOCAL):
        start -= 1
    part = text.rfind("..", start, at)
    start = start if part < 0 else part + 2
    if at == start or text[at - 1] == ".":
        return at
    for edge in WORD_EDGE.finditer(text, start, at):
        if edge.start() < at and text[edge.start()] != ".":
            return edge.start()
    return at


def _run_start(text: str, least: int, at: int) -> int:
    start = at
    while start > least and text[start - 1] != "@" and not text[start - 1].isspace():
        start -= 1
    return start


def _is_one_bracket(local: str) -> bool:
    """Whether dolma's expression, which leaves out the edges before it, sees `(` alone."""
    return (local.lstrip(DOLMA_EDGES) or local[-1]) == "("


_LOCAL = frozenset(chr(c) for c in range(128) if re.fullmatch(f"[{LOCAL}]", chr(c)))
