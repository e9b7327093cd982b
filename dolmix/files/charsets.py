"""Bytes of web pages as text: which character encoding, and how to read it.

In this order: a byte order mark; UTF-8 where the bytes are nothing else, since the servers that
state another one by mistake are many; what the server stated; what the page states of itself; UTF-8
again, a few wrong bytes forgiven; what a detector makes of it; else windows-1252, which reads any
bytes. What was stated and does not fit gives way to the next. Labels mean what the WHATWG Encoding
standard says (`iso-8859-1` is windows-1252, `gb2312` gb18030). The same bytes always give the same
text.
"""

import codecs
import re
from collections.abc import Callable, Iterator

_MARKS = ((b"\xef\xbb\xbf", "utf-8"), (b"\xfe\xff", "utf-16-be"), (b"\xff\xfe", "utf-16-le"))
_META = re.compile(rb"""<meta[^>]{0,300}?charset\s*=\s*["']?\s*([A-Za-z0-9_:.-]+)""", re.IGNORECASE)
_XML = re.compile(rb"""\s*<\?xml[^>]{0,200}?encoding\s*=\s*["']([A-Za-z0-9_:.-]+)""")
_STATED = re.compile(r"""charset\s*=\s*["']?\s*([A-Za-z0-9_:.-]+)""", re.IGNORECASE | re.ASCII)
_META_BYTES = 4096
"""Where a page states its encoding; the standard has 1,024 bytes, real pages go further."""
_FALLBACK = "cp1252"
_MEANT = {
    **dict.fromkeys(("ascii", "iso8859-1"), _FALLBACK),
    "iso8859-9": "cp1254",
    **dict.fromkeys(("iso8859-11", "tis-620"), "cp874"),
    **dict.fromkeys(("gb2312", "gbk", "hz"), "gb18030"),
    "shift_jis": "cp932",
    **dict.fromkeys(("euc_kr", "johab"), "cp949"),
    "big5": "big5hkscs",
    "utf-16": "utf-16-le",
}
"""Codec that a label names in Python → the one that pages under it are written in."""
_OF_MANY_BYTES = {"gb18030", "cp932", "cp949", "big5hkscs", "euc_jp", "iso2022_jp"}
"""Their bytes may by chance be UTF-8 too."""
_OF_UNITS = {"utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"}
"""They read any bytes, so they are believed only where there are zero bytes."""
_NO_PAGES = {"idna", "punycode", "utf-7", "unicode_escape", "raw_unicode_escape", "undefined"}
"""Codecs of Python that no page is written in."""
_FORGIVEN_FRAC = 0.001
"""Share of characters that an encoding may fail to read before it gives way."""
_REPLACEMENT = "\ufffd"
_C1 = {
    byte: ord(bytes([byte]).decode(_FALLBACK))
    for byte in range(0x80, 0xA0)
    if byte not in {0x81, 0x8D, 0x8F, 0x90, 0x9D}
}
"""What windows-1252 reads otherwise than Latin-1; the five it lacks are control characters."""

Detector = Callable[[bytes], str | None]


def stated_charset(content_type: str) -> str | None:
    """Read the `charset` of a Content-Type, None without one."""
    found = _STATED.search(content_type)
    return found[1] if found else None


def decode_page(
    raw: bytes, charset: str | None = None, *, markup: bool = True, detect: Detector | None = None
) -> tuple[str, str]:
    """Decode a page.

    charset   what the server stated
    markup    whether the page may state one itself
    detect    guesses an encoding for bytes that no stated one fits
    returns   text, and the encoding by its Python name
    """
    for mark, name in _MARKS:
        if raw.startswith(mark):
            return raw[len(mark) :].decode(name, "replace"), name
    stated = [charset, _of_markup(raw) if markup else None]
    names = [n for n in map(_codec, stated) if n and (b"\0" in raw or n not in _OF_UNITS)]
    if not raw.isascii() and (not names or names[0] not in _OF_MANY_BYTES):
        names.insert(0, "utf-8, nothing else")
    for name in _candidates(names, raw, detect):
        text = _fitting(raw, name)
        if text is not None:
            return text, name.partition(",")[0]
    return raw.decode("latin-1").translate(_C1), _FALLBACK


def _candidates(names: list[str], raw: bytes, detect: Detector | None) -> Iterator[str]:
    yield from dict.fromkeys([*names, "utf-8"])
    found = _codec(detect(raw)) if detect is not None else None
    if found is not None:
        yield found


def _fitting(raw: bytes, name: str) -> str | None:
    """Decode, or give None where this is not the encoding."""
    if name == _FALLBACK:
        return raw.decode("latin-1").translate(_C1)
    if name == "utf-8, nothing else":
        try:
            return raw.decode()
        except UnicodeDecodeError:
            return None
    text = raw.decode(name, "replace")
    wrong = text.count(_REPLACEMENT)
    if name == "utf-8":
        wrong -= raw.count(_REPLACEMENT.encode())
    return text if wrong <= _FORGIVEN_FRAC * len(text) else None


def _of_markup(raw: bytes) -> str | None:
    head = raw[:_META_BYTES]
    found = _XML.match(head) or _META.search(head)
    if found is None:
        return None
    label = found[1].decode("ascii")
    # bytes in which this could be read are no UTF-16
    return "utf-8" if label.lower().startswith("utf-16") else label


def _codec(label: str | None) -> str | None:
    """Name the Python codec that a label means; None for one not known, or not for texts."""
    if label is None:
        return None
    try:
        name = codecs.lookup(label).name
        "".encode(name)  # refuses those that turn bytes into bytes
    except (LookupError, ValueError):
        return None
    return None if name in _NO_PAGES else _MEANT.get(name, name)
