"""The preset datatrove-0.10: its numbers, blocks within a document, short documents."""

import math
from typing import Any

import naive_dedup as naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from peers import needs
from pydantic import ValidationError

from dolmix.dedup import MinHash
from dolmix.dedup import datatrove_signatures as peer
from dolmix.dedup.datatrove_signatures import draw, find_cuts, scheme_of, sign
from dolmix.dedup.minhash import similarity
from dolmix.document import TextBatch

FOX = "The quick brown fox jumps over 1,234 lazy dogs; it doesn't stop. Café naïve."
VARIANTS = [("xxhash", 64), ("xxhash", 32), ("sha1", 64), ("sha1", 32)]
WORDS = ["a", "cannot", "gonna", "dont", "can", "not", "do", "nt", "Dr", "internationalisation"]
WORDS += ["10km", "we", "ll", "shouldnt", "ve", "straightforwardly", "日本語", "12", "-", "p.m."]


@pytest.fixture(scope="module", autouse=True)
def _spacy() -> None:
    needs("spacy")


def datatrove(**settings: Any) -> MinHash:
    """Make a step of the preset with further settings."""
    return MinHash.model_validate({"preset": "datatrove-0.10", **settings})


def words_of(text: str) -> list[str]:
    """Words as datatrove finds them."""
    from datatrove.utils.text import split_into_words

    return split_into_words(naive.simplified(text))


def expected_lanes(text: str, step: MinHash) -> list[int]:
    """Lanes by plain Python: of all runs of words, or of all the words where they are too few."""
    words, function, bits = words_of(text), step.hash_function or "", step.hash_bits or 0
    if len(words) < step.ngram:
        hashes = [naive.hash_bytes(" ".join(words).encode(), "xxhash", 64)]
    else:
        runs = [words[n : n + step.ngram] for n in range(len(words) - step.ngram + 1)]
        hashes = [naive.hash_bytes(" ".join(run).encode(), function, bits) for run in runs]
    return naive.datatrove_lanes(hashes, step.num_hashes, step.seed, bits)


def test_golden_parameters() -> None:
    """The permutations of the default seed, as the reference has them."""
    factors, addends = draw(1, 112)
    assert factors[:3].tolist() == [775169054918279404, 1758426461858698313, 2109959069025162]
    assert addends[:3].tolist() == [1062448801025099917, 1324811268927594100, 1217488311597731462]
    assert (factors[-1], addends[-1]) == (223865076026037746, 1097409548522419201)


def test_golden_signature() -> None:
    """The lanes of the reference's worked example."""
    lanes = datatrove().signatures(TextBatch.of([FOX])).lanes
    assert lanes.dtype == np.uint64
    assert lanes[0, :8].tolist() == [
        *(85330943174081874, 136499963802022349, 145924909122324651, 18486825704527461),
        *(195761121136553486, 177798951055503585, 30767305394704934, 180620838664708513),
    ]
    assert lanes[0, 104:106].tolist() == [126663334084420070, 283691160921222268]


@pytest.mark.parametrize(("function", "bits"), VARIANTS)
@given(st.lists(st.lists(st.sampled_from(WORDS), max_size=30).map(" ".join), max_size=4))
@settings(max_examples=25)
def test_lanes_match_their_twin(function: str, bits: int, texts: list[str]) -> None:
    """Every hash function, other n-grams and seeds, documents too short for a shingle included."""
    step = datatrove(hash_function=function, hash_bits=bits, ngram=3, bands=2, rows=3, seed=9)
    found = step.signatures(TextBatch.of(texts))
    assert found.lanes.dtype == np.dtype(f"u{bits // 8}")
    assert found.valid.tolist() == [bool(words_of(text)) for text in texts]
    for text, lanes, valid in zip(texts, found.lanes.tolist(), found.valid, strict=True):
        assert not valid or lanes == expected_lanes(text, step)


@given(st.lists(st.sampled_from(WORDS), min_size=1, max_size=120), st.integers(1, 60))
def test_blocks_within_a_document_change_nothing(words: list[str], size: int) -> None:
    """However small the blocks, lanes and numbers of words are those of the whole document."""
    texts = TextBatch.of([" ".join(words), "two words", " ".join(words[::-1])])
    scheme = scheme_of("xxhash", 64, ngram=5, num_hashes=6, seed=1)
    whole, counts = sign(texts, scheme)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(peer, "BLOCK_BYTES", size)
        cut, cut_counts = sign(texts, scheme)
    assert cut.tolist() == whole.tolist()
    assert cut_counts.tolist() == counts.tolist()


def test_long_documents_are_cut() -> None:
    """Cuts stand before long words alone, as far apart as asked; without one there is no cut."""
    text = b"we cannot straightforwardly go on internationalisation " * 50
    data = np.frombuffer(text, np.uint8)
    cuts = find_cuts(data, 0, len(data), 12, 70).tolist()
    assert len(cuts) > 20
    assert min(np.diff([0, *cuts])) >= 70
    assert {text[cut:].split()[0] for cut in cuts} == {
        b"straightforwardly",
        b"internationalisation",
    }
    assert find_cuts(data, 0, len(data), 30, 100).tolist() == []


def test_short_documents_match_the_same_words_only() -> None:
    """With `exact` their keys are those of documents with the same words; `keep` lets them be."""
    texts = TextBatch.of(["Page 3", "page 12!", "page", "", "?!", "page 3 of this book"])
    keys = datatrove().match_keys(texts)
    assert keys.valid.tolist() == [True, True, True, False, False, True]
    first = keys.values[:, :, 0]
    assert (first[0] == first[1]).all()
    assert not (first[0] == first[2]).any()
    assert not (first[0] == first[5]).any()
    kept = datatrove(short="keep").match_keys(texts)
    assert kept.valid.tolist() == [False, False, False, False, False, True]
    assert kept.values[5].tolist() == keys.values[5].tolist()


@pytest.mark.parametrize("short", ["exact", "keep"])
def test_own_definition_has_the_same_switch(short: str) -> None:
    """Without the preset, too, `keep` leaves out what is shorter than a shingle."""
    step = MinHash.model_validate({"short": short})
    texts = TextBatch.of(["one two three four", "one two three four five", ""])
    assert step.signatures(texts).valid.tolist() == [short == "exact", True, False]


@pytest.mark.parametrize(("function", "bits"), VARIANTS)
def test_estimates_follow_the_share_of_common_shingles(function: str, bits: int) -> None:
    """Lanes of 64 and of 32 bits estimate the Jaccard similarity, within four standard errors."""
    step = datatrove(hash_function=function, hash_bits=bits, bands=64, rows=8)
    rng = np.random.default_rng(4)
    words = ["".join(rng.choice(list("bcdfgh"), 7)) for _ in range(300)]
    for edits in (0, 5, 20):
        other = list(words)
        for at in rng.choice(300, edits, replace=False):
            other[at] = "changed"
        runs = [{tuple(w[n : n + 5]) for n in range(296)} for w in (words, other)]
        true = naive.jaccard(*runs)
        lanes = step.signatures(TextBatch.of([" ".join(words), " ".join(other)])).lanes
        error = math.sqrt(true * (1 - true) / 512)
        assert abs(similarity(lanes[0], lanes[1]) - true) <= 4 * error


def test_preset_fills_in_datatrove_settings() -> None:
    """14 x 8 and xxHash of 64 bits unless given; a plan's own form of it loads as the same step."""
    step = datatrove()
    assert (step.banding, step.num_hashes, step.ngram, step.seed) == ((14, 8), 112, 5, 1)
    assert (step.hash_function, step.hash_bits) == ("xxhash", 64)
    other = datatrove(bands=20, rows=450 // 20, hash_function="sha1")
    assert other.num_hashes == 20 * 22
    for made in (step, other):
        again = MinHash.model_validate(made.resolved().model_dump(mode="json"))
        assert again == made
    assert "sha1" in other.definition
    assert step.definition != MinHash().definition


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"hash_bits": 32}, "hash_bits is 32, but only preset datatrove-0.10"),
        ({"preset": "datatrove-0.10", "num_hashes": 128}, "num_hashes is 128, but datatrove has"),
        ({"preset": "datatrove-0.10", "seed": 1 << 40}, "seed is 1,099,511,627,776"),
        ({"preset": "datatrove-0.4"}, "datatrove-0.10"),
    ],
)
def test_settings_that_mean_nothing_are_refused(raw: dict[str, Any], message: str) -> None:
    """The message names the setting, its value, and what would do."""
    with pytest.raises(ValidationError, match=message):
        MinHash.model_validate(raw)


def test_digests_name_what_the_words_depend_on() -> None:
    """Rules of spaCy, datatrove, regex and Unicode enter the key; without the preset, Unicode."""
    assert {*datatrove().digests()} == {"unicode", "words", "datatrove", "regex"}
    assert {*MinHash().digests()} == {"unicode"}
