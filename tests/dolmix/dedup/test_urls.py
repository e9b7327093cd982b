"""URL dedup: which addresses are one, by a normalisation that never changes under its name."""

import hashlib

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dolmix.dedup import Urls
from dolmix.dedup.urls import TRACKING, normalized_url
from dolmix.document import TextBatch

VECTORS = {
    "https://example.org": "example.org",
    "HTTP://WWW.Example.ORG:80/a/?b=2&a=1&utm_source=mail#top": "example.org/a?a=1&b=2",
    "//example.org/a": "example.org/a",
    "example.org/a//": "example.org/a",
    " https://example.org:443/a\n": "example.org/a",
    "https://example.org:80/a": "example.org:80/a",
    "http://example.org./Path/To": "example.org/Path/To",
    "http://www.org/": "www.org",
    "http://www.www.example.org/": "www.example.org",
    "http://x.org/%7Euser/%e4%2F": "x.org/~user/%E4%2F",
    "http://x.org/?q=a&q=b&&p": "x.org?p&q=a&q=b",
    "http://x.org/?gclid=1&_ga=2&UTM_Medium=3": "x.org",
    "http://x.org/?": "x.org",
    "http://x.org/#/page": "x.org",
    "http://x.org/#!/page": "x.org#!/page",
    "http://x.org/a?to=http://y.org/": "x.org/a?to=http://y.org/",
    "ftp://WWW.x.org/a/": "ftp://x.org/a",
    "http://user@x.org/a": "user@x.org/a",
    "http://[2001:DB8::1]:8080/": "[2001:db8::1]:8080",
    "mailto:a@b.org": "mailto:a@b.org",
    "http://münchen.example/Straße": "münchen.example/Straße",
}


def batch(urls: list[str | None]) -> TextBatch:
    """Documents with these addresses, all of one text."""
    texts = TextBatch.of(["the same"] * len(urls))
    return TextBatch(texts.text, texts.ids, pa.array(urls, pa.string()), texts.records, {})


@pytest.mark.parametrize("url", list(VECTORS))
def test_dolmix_url_1_is_what_its_name_stands_for(url: str) -> None:
    """The normalisation of these addresses is part of the format."""
    assert normalized_url(url) == VECTORS[url]


def test_tracking_parameters_have_not_changed() -> None:
    """The list belongs to `dolmix-url-1`: another list needs another name."""
    assert len(TRACKING) == 19
    for name in sorted(TRACKING):
        assert normalized_url(f"https://x.org/a?b=1&{name}=7&{name}") == "x.org/a?b=1"


@given(st.lists(st.sampled_from([*VECTORS, None, "", "  "]), max_size=12))
def test_documents_match_exactly_where_their_urls_do(urls: list[str | None]) -> None:
    """Equal normalised addresses share a key; a document without one is not valid."""
    keys, valid = Urls().keys(batch(urls))
    plain = [VECTORS[url] if url and url.strip() else None for url in urls]
    assert valid.tolist() == [p is not None for p in plain]
    for n, url in enumerate(plain):
        if url is not None:
            same = [valid[m] and keys[m].tolist() == keys[n].tolist() for m in range(len(urls))]
            assert same == [p == url for p in plain]


def test_none_compares_bytes() -> None:
    """Under `normalize: none` every byte of an address counts."""
    keys, valid = Urls(normalize="none").keys(
        batch(["http://x.org", "http://x.org/", "http://x.org"])
    )
    assert valid.all()
    assert len(np.unique(keys, axis=0)) == 2
    assert keys[0].tolist() == keys[2].tolist()


def test_keys_have_not_moved() -> None:
    """The key of an address is part of the format: blake2b-128 of the normalised address."""
    found = Urls().match_keys(batch(["https://www.example.org/a/"]))
    assert found.values.shape == (1, 1, 2)
    digest = hashlib.blake2b(b"example.org/a", digest_size=16).digest()
    assert found.values[0, 0].astype("<u8").tobytes() == digest
    assert found.values[0, 0].tolist() == [0x6D596A089676754B, 0xA9F4DC495ED16C9E]


def test_no_documents_have_no_keys() -> None:
    """An empty batch gives arrays of the right shape."""
    found = Urls().match_keys(batch([]))
    assert found.values.shape == (0, 1, 2)
    assert found.valid.shape == (0,)
