"""URL lists against datatrove's own filter, with the lists that it ships."""

import functools
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from peers import corpus_urls, needs

from dolmix.document import TextBatch
from dolmix.filters import judge
from dolmix.filters.url import Url

pytestmark = [
    pytest.mark.conformance,
    pytest.mark.filterwarnings("ignore:The 'registered_domain' property:DeprecationWarning"),
]

REASONS = {
    "domain": "url.domain",
    "subdomain": "url.subdomain",
    "url": "url.listed_url",
    "hard_blacklisted": "url.banned_word",
    "soft_blacklisted": "url.soft_words",
    "blacklisted_subword": "url.banned_subword",
}
"""Datatrove's reasons, and ours."""
ODD = (
    *("http://1.2.3.4/", "http://[::1]:8/x", "x", "http://", "//a.b", "http://co.uk/"),
    *("http://EXAMPLE.co.uk./", "http://xn--p1ai.xn--p1ai/", "http://пример.рф/путь"),
    *("ftp://user:pw@sex.com:21/", "mailto:a@b.c", "http://a.org?sex", "HTTP://A.ORG/SEX"),
)


@pytest.fixture
def theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Datatrove's filter with its lists unpacked here, and public suffixes without the network."""
    for package in ("tldextract", "ahocorasick", "fasteners"):
        needs(package)
    import tldextract
    from datatrove.pipeline.filters import URLFilter, url_filter

    local = functools.partial(tldextract.TLDExtract, suffix_list_urls=())
    monkeypatch.setattr(tldextract, "TLDExtract", local)
    monkeypatch.setattr(url_filter, "cached_assets_path", lambda **_: str(tmp_path))
    filter_ = URLFilter()
    filter_.download_data()
    return filter_


def made_urls(theirs: Any) -> list[str]:
    """URLs on and beside datatrove's lists: 6,000 of them, the same every time."""
    draw = random.Random(7)
    words = sorted(theirs.banned_words | theirs.soft_banned_words | theirs.banned_subwords)
    domains = draw.sample(sorted(theirs.block_listed_domains), 2000)
    urls = [
        f"http{draw.choice(['', 's'])}://{draw.choice(['', 'www.', 'a.b.', 'x'])}{domain}"
        f"{draw.choice(['', '/', '/x?y=1', ':80/'])}"
        for domain in domains
    ]
    for n in range(3000):
        first, then = draw.choice(words), draw.choice(words)
        then = then.title() if n % 3 == 0 else then
        urls.append(f"https://site{n}.org/{first}{draw.choice(['-', '/', '', 'X'])}{then}")
    listed = draw.sample(sorted(theirs.block_listed_url), 500)
    return [*urls, *listed, *(f"http://{url}" for url in listed), *ODD]


def test_decisions_are_datatroves(shared: Path, theirs: Any) -> None:
    """The same verdict and reason for every URL of the corpus, for made ones, and for odd ones."""
    from datatrove.data import Document

    urls = [*corpus_urls(shared), *made_urls(theirs)]
    answers = [theirs.filter(Document(text="", id="", metadata={"url": url})) for url in urls]
    expected = [None if answer is True else REASONS[answer[1]] for answer in answers]
    made = TextBatch.of([""] * len(urls))
    batch = TextBatch(made.text, made.ids, pa.array(urls, pa.string()), made.records, made.fields)
    filter_ = Url(preset="datatrove-0.10", lists="datatrove")
    assert judge(filter_, filter_.columns(batch), batch).to_pylist() == expected
    assert {reason for reason in expected if reason} == {*REASONS.values()}
