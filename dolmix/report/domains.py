"""Domains of URLs: the registered domain where tldextract is installed, else the host.

A registered domain is what somebody can register, by the public suffix list that tldextract brings
along: `bbc.co.uk` for `news.bbc.co.uk`. A host without one (an address, `localhost`) stands for
itself.
"""

from collections.abc import Callable, Sequence
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dolmix.document import I64Array
from dolmix.filters.url import host_of
from dolmix.report.counting import TopValues

USUAL = r"^https?://(?P<host>[a-z0-9-]+(?:\.[a-z0-9-]+)+)(?::[0-9]+)?(?:[/?#]|$)"
"""URLs whose host Arrow finds as `host_of` does; the others are read one by one."""
KNOWN_HOSTS = 1 << 18


class Domains:
    """Counts documents by domain, and sums of something else."""

    def __init__(self, *sums: str) -> None:
        """Start empty; `sums` names what is summed beside documents."""
        self._sums = sums
        self._found = TopValues(len(sums))
        self._documents = self._without = 0

    def add(self, urls: pa.Array, *amounts: I64Array) -> None:
        """Add documents by their URLs, (N,) text or null, with (N,) of each sum."""
        self._documents += len(urls)
        self._without += urls.null_count
        there = urls.is_valid().to_numpy(zero_copy_only=False)
        found = hosts(urls.drop_null()).dictionary_encode()
        which = found.indices.to_numpy()
        names = [domain_of(host) for host in found.dictionary.to_pylist()]
        counts = np.bincount(which, minlength=len(names)).tolist()
        summed = [np.zeros(len(names), np.int64) for _ in amounts]
        for total, amount in zip(summed, amounts, strict=True):
            np.add.at(total, which, amount[there])
        self._found.add(*_joined(names, counts, *(total.tolist() for total in summed)))

    @cached_property
    def unit(self) -> str:
        """What a domain is here."""
        return "registered domain" if _extract() is not None else "host"

    def describe(self, top: int) -> dict[str, Any]:
        """Give the most frequent domains as plain data."""
        rows = [
            {"domain": name, **dict(zip(("documents", *self._sums), counts, strict=True))}
            for name, counts in self._found.top(top)
        ]
        return {
            "unit": self.unit,
            "documents": self._documents,
            "without_url": self._without,
            "distinct": self._found.num_distinct,
            "error": self._found.error,
            "top": rows,
        }


def hosts(urls: pa.Array) -> pa.Array:
    """(N,) text: host of each of (N,) URLs, none null; empty for one that has none."""
    matched = pc.extract_regex(urls.cast(pa.large_string()), USUAL)
    odd = matched.is_null().to_numpy(zero_copy_only=False)
    found = pc.struct_field(matched, "host")
    if odd.any():
        mask = pa.array(odd)
        read = [host_of(url) for url in urls.filter(mask).to_pylist()]
        found = pc.replace_with_mask(found, mask, pa.array(read, pa.large_string()))
    return found


@lru_cache(maxsize=KNOWN_HOSTS)
def domain_of(host: str) -> str:
    """Give the registered domain of a host; itself where it has none, or nobody can tell."""
    extract = _extract()
    return host if extract is None else extract(host) or host


@lru_cache(maxsize=1)
def _extract() -> Callable[[str], str] | None:
    try:
        from tldextract import TLDExtract
    except ImportError:
        return None
    # its own snapshot of the list: the same on every machine, without a network or a cache
    extract = TLDExtract(suffix_list_urls=(), cache_dir=None)
    return lambda host: str(extract(host).top_domain_under_public_suffix)


def _joined(names: Sequence[str], *amounts: Sequence[int]) -> list[list[Any]]:
    """Add up what belongs to one name: names, then each amount, in the order of first sight."""
    found: dict[str, list[int]] = {}
    for name, *more in zip(names, *amounts, strict=True):
        sums = found.setdefault(name, [0] * len(more))
        for place, amount in enumerate(more):
            sums[place] += amount
    columns = zip(*found.values(), strict=True) if found else [()] * len(amounts)
    return [list(found), *(list(column) for column in columns)]
