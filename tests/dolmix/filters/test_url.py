"""Block lists over URLs."""

import gzip
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pydantic import ValidationError

from dolmix.document import TextBatch
from dolmix.errors import FilterError
from dolmix.filters import judge
from dolmix.filters.url import Url, host_of, parents


def batch(urls: list[str | None]) -> TextBatch:
    """Documents with these URLs."""
    made = TextBatch.of([""] * len(urls))
    return TextBatch(made.text, made.ids, pa.array(urls, pa.string()), made.records, made.fields)


def verdicts(asked: list[str | None], **settings: Any) -> list[str | None]:
    """Reasons of a filter."""
    filter_ = Url(**settings)
    reasons: list[str | None] = judge(
        filter_, filter_.columns(batch(asked)), batch(asked)
    ).to_pylist()
    return reasons


def listed(path: Path, *lines: str) -> Path:
    """Write a list, gzipped where its name says so."""
    data = "\n".join(lines).encode() + b"\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def test_a_listed_domain_stops_all_below_it(tmp_path: Path) -> None:
    """A host, its parents, in any case, with user and port; not a domain that only ends alike."""
    path = listed(tmp_path / "domains.gz", "# adult", "bad.org", "", "evil.co.uk")
    hit = "url.domain"
    urls = {
        "https://bad.org/x": hit,
        "http://user@WWW.Bad.org:8080": hit,
        "//a.b.bad.org?q": hit,
        "bad.org/page": hit,
        "https://notbad.org": None,
        "https://org": None,
        "https://good.co.uk": None,
        "https://x.evil.co.uk./": hit,
        "https://good.org/bad.org": None,
    }
    assert verdicts(list(urls), domains=[path]) == list(urls.values())


def test_a_listed_url_is_found_with_and_without_scheme(tmp_path: Path) -> None:
    """As block lists write it: with or without scheme, `www.`, fragment, slash at the end."""
    path = listed(tmp_path / "urls", "a.org/x", "https://b.org/y?z=1")
    hit = "url.listed_url"
    urls = {
        "https://a.org/x": hit,
        "http://www.a.org/x/#part": hit,
        "a.org/x": hit,
        "https://a.org/xy": None,
        "https://b.org/y?z=1": hit,
        "http://b.org/y?z=1": None,
    }
    assert verdicts(list(urls), urls=[path]) == list(urls.values())


def test_words_are_whole_subwords_are_not(tmp_path: Path) -> None:
    """Banned words stand between other characters, soft ones add up, subwords stand anywhere."""
    lists = {
        "banned_words": [listed(tmp_path / "hard", "Porn", "x-x")],
        "soft_banned_words": [listed(tmp_path / "soft", "free", "cam", "girls")],
        "banned_subwords": [listed(tmp_path / "sub", "casino")],
    }
    urls = {
        "https://a.org/porn-video": "url.banned_word",
        "https://a.org/PORN": "url.banned_word",
        "https://a.org/pornography": None,
        "https://a.org/xx": "url.banned_word",
        "https://a.org/free": None,
        "https://a.org/free-free": None,
        "https://a.org/free/cam": "url.soft_words",
        "https://my-ca-sino.org": "url.banned_subword",
        "https://megacasinos.org": "url.banned_subword",
    }
    assert verdicts(list(urls), **lists) == list(urls.values())
    shouted = verdicts(["https://a.org/PORN"], word_case="as_is", **lists)
    assert shouted == [None]


def test_a_ut1_folder_is_taken_whole_or_by_category(tmp_path: Path) -> None:
    """`list` names the category; a category that is not there is refused with those that are."""
    listed(tmp_path / "ut1/adult/domains", "a.org")
    listed(tmp_path / "ut1/gambling/domains", "g.org")
    listed(tmp_path / "ut1/gambling/urls", "h.org/g")
    urls: list[str | None] = [
        "http://a.org",
        "http://g.org",
        "http://h.org/g",
        "http://k.org",
        None,
    ]
    columns = Url(ut1=tmp_path / "ut1").columns(batch(urls))
    assert columns["list"].to_pylist() == ["adult", "gambling", "gambling", None, None]
    assert columns["domain"].to_pylist() == [1, 1, 0, 0, None]
    hit = ["url.domain", "url.listed_url", None, None]
    assert verdicts(urls, ut1=tmp_path / "ut1", categories=["gambling"]) == [None, *hit]
    with pytest.raises(FilterError, match=r"has no 'drugs'; it has adult, gambling"):
        Url(ut1=tmp_path / "ut1", categories=["drugs"]).digests()
    with pytest.raises(FilterError, match="holds no folder of a category"):
        Url(ut1=tmp_path / "none").digests()


def test_lists_are_known_by_their_bytes(tmp_path: Path) -> None:
    """A changed list changes the digest, and with it the task key; a missing one is named."""
    path = listed(tmp_path / "domains", "a.org")
    before = Url(domains=[path]).digests()
    assert verdicts(["http://b.org"], domains=[path]) == [None]
    listed(path, "a.org", "b.org")
    assert Url(domains=[path]).digests() != before
    with pytest.raises(FilterError, match=r"domains: there is no file .*nowhere"):
        Url(domains=[tmp_path / "nowhere"]).digests()
    with pytest.raises(FilterError, match=r"bad\.gz cannot be read"):
        verdicts(["http://b.org"], domains=[_broken(tmp_path / "bad.gz")])


def _broken(path: Path) -> Path:
    path.write_bytes(b"no gzip")
    return path


def test_a_document_without_url_follows_on_missing(tmp_path: Path) -> None:
    """Kept unless asked otherwise."""
    path = listed(tmp_path / "domains", "a.org")
    assert verdicts([None], domains=[path]) == [None]
    assert verdicts([None], domains=[path], on_missing="drop") == ["url.domain_missing"]


def test_a_filter_without_lists_is_refused() -> None:
    """The error says what to give."""
    with pytest.raises(ValidationError, match="no list; give ut1, domains"):
        Url()
    with pytest.raises(ValidationError, match="give ut1 too"):
        Url(categories=["adult"], domains=["x"])


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://user:pw@Example.ORG:80/a@b:c", "example.org"),
        ("example.org", "example.org"),
        ("http://[2001:db8::1]:8080/", "2001:db8::1"),
        (" https://a.org?x=http://b.org ", "a.org"),
        ("https://", ""),
        ("", ""),
        ("mailto:me@a.org", "a.org"),
        ("http://a.org\\@b.org", "a.org"),
    ],
)
def test_hosts(url: str, host: str) -> None:
    """What is taken for the host of a URL."""
    assert host_of(url) == host


def test_parents_go_from_the_host_up() -> None:
    """The host first; nothing has no parent."""
    assert parents("a.b.org") == ["a.b.org", "b.org", "org"]
    assert parents("") == []
