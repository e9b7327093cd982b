"""Block lists over URLs: domains, whole URLs, words in a URL, parts of words.

Lists are files of one entry a line, folders laid out as the UT1 block list of the University of
Toulouse (one folder a category, `domains` and `urls` in it), or those in the installed datatrove.
`preset: datatrove-0.10` decides as datatrove's URLFilter; the default also looks at every parent
domain, at URLs written without their scheme, and at words whatever their case.
"""

import re
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from dolmix.document import BoolArray, Columns, TextBatch
from dolmix.errors import FilterError
from dolmix.filters.base import Filter, OnMissing, Rule, required_file, with_preset
from dolmix.text.url_lists import ROLES, ListFile, ListFiles, UrlLists, load_lists

PRESETS: dict[str, dict[str, Any]] = {
    "dolmix-1": {"domains_match": "parents", "word_case": "lower"},
    "datatrove-0.10": {"domains_match": "registered", "word_case": "as_is"},
}
FLAGS = ("domain", "subdomain", "listed_url", "banned_word", "banned_subword")
NOT_ALNUM = re.compile(r"[^a-zA-Z0-9]+")
SCHEME = re.compile(r"^[a-zA-Z][a-zA-Z0-9+.-]*://")


class Url(Filter):
    """Drop documents whose URL, or a part of it, is on a list."""

    rule_settings = ("min_soft_words", "on_missing")

    type: Literal["url"] = "url"
    preset: Literal["dolmix-1", "datatrove-0.10"] = "dolmix-1"
    """Whose way of comparing."""
    lists: Literal["datatrove"] | None = None
    """Take all lists that the installed datatrove ships, beside those below."""
    ut1: Path | None = None
    """Folder of a UT1 block list: a folder for each category, with files `domains` and `urls`."""
    categories: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """Categories of `ut1` to use; null uses every one."""
    domains: tuple[Path, ...] = ()
    """Files of domains, one a line, plain or .gz."""
    urls: tuple[Path, ...] = ()
    """Files of URLs."""
    banned_words: tuple[Path, ...] = ()
    """Files of words; a URL with one of them between its non-alphanumeric characters is dropped."""
    soft_banned_words: tuple[Path, ...] = ()
    """Files of words of which a URL may have a few."""
    banned_subwords: tuple[Path, ...] = ()
    """Files of character runs that may stand nowhere in a URL's letters and digits."""
    min_soft_words: Annotated[int, Field(ge=1)] | None = 2
    """Drop a URL with so many different soft banned words."""
    domains_match: Literal["parents", "registered"] = "parents"
    """A listed domain stops itself and all below it (`parents`), or is compared with a host and its
    registered domain alone (`registered`; needs tldextract, the extra `url`)."""
    word_case: Literal["lower", "as_is"] = "lower"
    """Compare words of a URL in lower case, or only as they stand with words in lower case."""
    on_missing: OnMissing = "keep"
    """What to do with a document that has no URL."""

    @model_validator(mode="before")
    @classmethod
    def _fill_in_preset(cls, raw: Any) -> Any:
        return with_preset(raw, PRESETS, "dolmix-1")

    @model_validator(mode="after")
    def _has_a_list(self) -> "Url":
        files = (self.domains, self.urls, self.banned_words)
        more = (self.soft_banned_words, self.banned_subwords, self.ut1, self.lists)
        if not any(files) and not any(more):
            raise ValueError(
                "no list; give ut1, domains, urls, banned_words, soft_banned_words or "
                "banned_subwords, or lists: datatrove"
            )
        if self.categories is not None and self.ut1 is None:
            raise ValueError("categories choose folders of ut1; give ut1 too")
        return self

    @property
    def definition(self) -> str:
        """Whose comparison the columns follow."""
        return "datatrove 0.10 URLFilter" if self.preset == "datatrove-0.10" else "dolmix url 1"

    def digests(self) -> dict[str, str]:
        """Digest of the lists, by setting.

        Raises FilterError for a file, a category, or datatrove's lists that are not there.
        """
        return {role: files.digest() for role, files in self._files().items()}

    def column_types(self) -> dict[str, pa.DataType]:
        """Give flags (0 or 1), a count, and the list of the first find; all null without a URL."""
        flags = {name: pa.int8() for name in FLAGS}
        return {**flags, "soft_words": pa.int64(), "list": pa.string()}

    def columns(self, texts: TextBatch) -> Columns:
        """Look every URL up in every list.

        Raises FilterError for a list that cannot be read, or without tldextract where it is needed.
        """
        lists = load_lists(self._files())
        present = np.asarray(texts.urls.is_valid().to_numpy(zero_copy_only=False), np.bool_)
        urls = [url for url in texts.urls.to_pylist() if url is not None]
        found = self._found(urls, lists)
        columns: Columns = {}
        for name, kind in self.column_types().items():
            values = iter(found[name])
            rows = [next(values) if there else None for there in present.tolist()]
            columns[name] = pa.array(rows, kind)
        return columns

    def rules(self) -> Iterator[Rule]:
        """In datatrove's order."""
        for name in (*FLAGS[:4], "soft_words", FLAGS[4]):
            least = self.min_soft_words if name == "soft_words" else 1
            yield Rule(name, at_least=least, on_missing=self.on_missing)

    def _files(self) -> dict[str, ListFiles]:
        """Files of each role, roles without any left out."""
        roles: dict[str, list[ListFile]] = {
            role: [ListFile(path.name, _existing(path, role)) for path in getattr(self, role)]
            for role in ROLES
        }
        for category, folder in self._categories():
            for role in ROLES[:2]:
                if (folder / role).is_file():
                    roles[role].append(ListFile(category, folder / role))
        if self.lists == "datatrove":
            for role, file in _datatrove_lists():
                roles[role].append(file)
        return {role: ListFiles(tuple(files)) for role, files in roles.items() if files}

    def _categories(self) -> Iterator[tuple[str, Path]]:
        if self.ut1 is None:
            return
        there = self.ut1.iterdir() if self.ut1.is_dir() else ()
        names = {path.name: path for path in sorted(there) if path.is_dir()}
        if not names:
            raise FilterError(
                f"ut1: {self.ut1} (from {Path.cwd()}) holds no folder of a category. Unpack a UT1 "
                f"block list there: adult/domains, adult/urls, gambling/domains, ..."
            )
        for name in self.categories or names:
            if name not in names:
                raise FilterError(
                    f"categories: {self.ut1} has no {name!r}; it has {', '.join(names)}"
                )
            yield name, names[name]

    def _found(self, urls: Sequence[str], lists: UrlLists) -> dict[str, list[Any]]:
        hosts = self._hosts(urls)
        domain, which = lists.domains.find([parents for parents, _ in hosts])
        subdomain, which_sub = lists.domains.find([[exact] if exact else [] for _, exact in hosts])
        whole, which_url = lists.urls.find([self._forms(url) for url in urls])
        words = [set(NOT_ALNUM.split(self._cased(url))) for url in urls]
        banned = [not lists.banned_words.isdisjoint(of_url) for of_url in words]
        names = [a or b or c for a, b, c in zip(which, which_sub, which_url, strict=True)]
        return {
            "domain": _bits(domain),
            "subdomain": _bits(subdomain),
            "listed_url": _bits(whole),
            "banned_word": [int(hit) for hit in banned],
            "banned_subword": _bits(lists.has_subword([_squeezed(url) for url in urls])),
            "soft_words": [len(lists.soft_banned_words & of_url) for of_url in words],
            "list": names,
        }

    def _hosts(self, urls: Sequence[str]) -> list[tuple[list[str], str]]:
        """Domains to look up for each URL, and the host to look up as a subdomain."""
        if self.domains_match == "registered":
            extract = _registered_domains()
            return [([domain] if domain else [], host) for domain, host in map(extract, urls)]
        return [(parents(host_of(url)), "") for url in urls]

    def _forms(self, url: str) -> list[str]:
        if self.domains_match == "registered":
            return [url]
        bare = SCHEME.sub("", url).partition("#")[0]
        return list(
            dict.fromkeys([url, bare, bare.rstrip("/"), bare.removeprefix("www.").rstrip("/")])
        )

    def _cased(self, url: str) -> str:
        return url.lower() if self.word_case == "lower" else url


def host_of(url: str) -> str:
    """Host of a URL in lower case, without user, port and the dot at its end; empty for none."""
    rest = SCHEME.sub("", url.strip()).removeprefix("//")
    authority = re.split(r"[/?#\\]", rest, maxsplit=1)[0].rpartition("@")[2]
    if authority.startswith("["):
        return authority.partition("]")[0].removeprefix("[").lower()
    return authority.partition(":")[0].rstrip(".").lower()


def parents(host: str) -> list[str]:
    """Give the host and every domain above it: `a.b.org`, `b.org`, `org`."""
    labels = host.split(".")
    return [".".join(labels[n:]) for n in range(len(labels))] if host else []


def _squeezed(url: str) -> str:
    return NOT_ALNUM.sub("", url).lower()


def _bits(flags: BoolArray) -> list[int]:
    return [int(flag) for flag in flags.tolist()]


def _registered_domains() -> Any:
    """Give a function from a URL to its registered domain and host, by the public suffix list."""
    try:
        from tldextract import TLDExtract
    except ImportError:
        raise FilterError(
            "domains_match: registered needs tldextract, for its copy of the public suffix list: "
            "pip install 'dolmix[url]', or set domains_match: parents"
        ) from None
    extract = TLDExtract(
        suffix_list_urls=()
    )  # its own snapshot: the same on every machine, offline

    def registered(url: str) -> tuple[str, str]:
        parts = extract(url)
        return parts.top_domain_under_public_suffix, parts.fqdn

    return registered


def _existing(path: Path, role: str) -> Path:
    return required_file(
        path, setting=role, advice="It is a list of one entry a line, plain or .gz."
    )


def _datatrove_lists() -> Iterator[tuple[str, ListFile]]:
    """Name the lists in the installed datatrove, which are read where they are."""
    package: Any = find_spec("datatrove")
    assets = Path(package.submodule_search_locations[0]) / "assets"
    archive = assets / "url_filterblacklistsv0_3_0.tar.gz"
    for role in ROLES:
        if role in ("domains", "urls"):
            yield role, ListFile("datatrove", archive, role)
        else:
            yield role, ListFile("datatrove", assets / f"{role}.txt")
