"""Domains of URLs: hosts as the URL filter reads them, registered domains where they are known."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dolmix.filters.url import host_of
from dolmix.report import domains
from dolmix.report.domains import Domains, domain_of, hosts

PIECES = st.sampled_from(
    ["http://", "https://", "HTTP://", "//", "a.org", "B.org", "b_c.de", "x", ":80", "@", "/",
     "?q=a.b", "#", ".", " ", "[::1]", "\\", "user:pw", "\n", "é.fr"]
)  # fmt: skip
URLS = st.lists(st.lists(PIECES, max_size=5).map("".join), max_size=6)


@settings(deadline=None, max_examples=300)
@given(URLS)
def test_hosts_are_those_of_the_url_filter(urls: list[str]) -> None:
    """What Arrow finds at once is what `host_of` reads one by one, of odd URLs too."""
    assert hosts(pa.array(urls, pa.string())).to_pylist() == [host_of(url) for url in urls]


def test_documents_are_counted_by_registered_domain() -> None:
    """Sums go with them; documents without a URL are told apart."""
    pytest.importorskip("tldextract")
    found = Domains("tokens")
    urls = [
        "https://a.bbc.co.uk/1",
        None,
        "https://bbc.co.uk/2",
        "http://10.0.0.1/",
        "https://c.org",
    ]
    found.add(pa.array(urls, pa.string()), np.array([1, 50, 2, 3, 4]))
    found.add(pa.array(["http://d.c.org/x"]), np.array([5]))
    assert found.describe(2) == {
        "unit": "registered domain",
        "documents": 6,
        "without_url": 1,
        "distinct": 3,
        "error": 0,
        "top": [
            {"domain": "bbc.co.uk", "documents": 2, "tokens": 3},
            {"domain": "c.org", "documents": 2, "tokens": 9},
        ],
    }


def test_without_tldextract_a_host_stands_for_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """And the result says that it lists hosts."""
    monkeypatch.setattr(domains, "_extract", lambda: None)
    domain_of.cache_clear()
    found = Domains()
    found.add(pa.array(["https://a.bbc.co.uk/1", "https://bbc.co.uk/2"]))
    told = found.describe(5)
    domain_of.cache_clear()
    assert told["unit"] == "host"
    assert [row["domain"] for row in told["top"]] == ["a.bbc.co.uk", "bbc.co.uk"]
