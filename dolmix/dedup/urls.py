"""URL dedup: documents that were fetched from the same address, whatever their texts say.

Addresses of one page differ in what does not lead elsewhere. What of an address does not count is a
named normalisation, exact to the byte and never changed under its name. Keys are 128 bits of
blake2b, as those of exact dedup. A document without an address is not valid and never matches.
"""

import re
from hashlib import blake2b
from typing import ClassVar, Literal

import numpy as np

from dolmix.dedup.base import Dedup, MatchKeys
from dolmix.document import BoolArray, TextBatch, U64Array

UrlNormalize = Literal["none", "dolmix-url-1"]

TRACKING = frozenset(
    (
        *("_ga", "_gl", "dclid", "fbclid", "gbraid", "gclid", "gclsrc", "igshid", "mc_cid"),
        *("mc_eid", "mkt_tok", "msclkid", "ref_src", "ttclid", "twclid", "wbraid", "yclid"),
        *("_hsenc", "_hsmi"),
    )
)
"""Query parameters that say how a reader came, never what is read; with those that begin with
`TRACKING_PREFIX`. Part of `dolmix-url-1`: another list is another name."""
TRACKING_PREFIX = "utm_"
DEFAULT_PORTS = {"http": ":80", "https": ":443"}
UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")

_SCHEME = re.compile(r"(?:([A-Za-z][A-Za-z0-9+.-]*):)?//")
_HOST_END = re.compile(r"[/?#]")
_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})")


class Urls(Dedup):
    """Drop all but one of the documents whose normalised URLs are equal."""

    definition: ClassVar[str] = "dolmix-urls-1"

    type: Literal["urls"] = "urls"
    normalize: UrlNormalize = "dolmix-url-1"
    """What of a URL does not count. `dolmix-url-1`: http or https, `www.`, the port that the scheme
    has anyway, the case of the host, the fragment, tracking parameters and the order of the
    others, slashes at the end. `none`: every byte counts."""

    @property
    def num_bands(self) -> int:
        """One key a document."""
        return 1

    def keys(self, texts: TextBatch) -> tuple[U64Array, BoolArray]:
        """(N, 2) uint64, blake2b-128 of each normalised URL; (N,) bool, which documents have one.

        The key of a document without URL is 0, and means nothing.
        """
        urls = texts.urls.to_pylist()
        digests = bytearray(16 * len(urls))
        valid = np.zeros(len(urls), np.bool_)
        for n, url in enumerate(urls):
            bare = (url or "").strip()
            if bare:
                plain = url if self.normalize == "none" else normalized_url(bare)
                digests[16 * n : 16 * n + 16] = blake2b(plain.encode(), digest_size=16).digest()
                valid[n] = True
        return np.frombuffer(bytes(digests), "<u8").astype(np.uint64).reshape(-1, 2), valid

    def match_keys(self, texts: TextBatch) -> MatchKeys:
        """One key of width 2 a document; a document without URL is not valid."""
        keys, valid = self.keys(texts)
        return MatchKeys(keys[:, None, :], valid)


def normalized_url(url: str) -> str:
    """Normalise a URL by `dolmix-url-1`; the rules stand in docs/dedup.md, in this order.

    Any text is accepted; one that has no scheme is read as if it had `http://`.
    """
    url = url.strip()
    found = _SCHEME.match(url)
    scheme = (found.group(1) or "http").lower() if found else "http"
    rest = url[found.end() :] if found else url
    cut = _HOST_END.search(rest)
    host, rest = (rest, "") if cut is None else (rest[: cut.start()], rest[cut.start() :])
    rest, mark, fragment = rest.partition("#")
    path, _, query = rest.partition("?")
    kept = f"#{fragment}" if mark and fragment.startswith("!") else ""
    known = "" if scheme in DEFAULT_PORTS else f"{scheme}://"
    parameters = _parameters(query)
    asked = f"?{parameters}" if parameters else ""
    return f"{known}{_host(host, scheme)}{_escapes(path).rstrip('/')}{asked}{kept}"


def _host(host: str, scheme: str) -> str:
    host = host.lower().removesuffix(DEFAULT_PORTS.get(scheme, ":")).removesuffix(".")
    bare = host.removeprefix("www.")
    return bare if "." in bare else host


def _parameters(query: str) -> str:
    """Parameters that are no tracking ones, ordered by name, equal names in their order."""
    given = [_escapes(p) for p in query.split("&") if p]
    names = [(p.partition("=")[0], p) for p in given]
    kept = [(name, p) for name, p in names if not _is_tracking(name.lower())]
    return "&".join(p for _, p in sorted(kept, key=lambda item: item[0]))


def _is_tracking(name: str) -> bool:
    return name in TRACKING or name.startswith(TRACKING_PREFIX)


def _escapes(text: str) -> str:
    """Write escapes of unreserved characters as those, all others in upper case (RFC 3986, 6.2)."""
    return _ESCAPE.sub(_escape, text) if "%" in text else text


def _escape(match: re.Match[str]) -> str:
    character = chr(int(match.group(1), 16))
    return character if character in UNRESERVED else match.group().upper()
