"""MinHash: kernels equal their twins, estimates are unbiased, detection follows the s-curve."""

import math

import naive_dedup as naive
import numpy as np
import pytest
from datasketch import MinHash as PeerMinHash
from hypothesis import given, settings
from hypothesis import strategies as st

from dolmix.dedup import MinHash, candidate_pairs, clusters
from dolmix.dedup.minhash import similarity
from dolmix.document import TextBatch

TEXTS = st.lists(st.text(st.sampled_from("ab c\nÉ1.中"), max_size=30), max_size=5)


def overlapping(shared: int, own: int, seed: int) -> tuple[str, str, float]:
    """Make two texts of `shared` common words and `own` further ones each, and their Jaccard."""
    rng = np.random.default_rng(seed)
    letters = rng.integers(ord("a"), ord("z") + 1, (shared + 2 * own, 12), dtype=np.uint8)
    names = [row.tobytes().decode() for row in letters]
    left, right = names[: shared + own], names[:shared] + names[shared + own :]
    rng.shuffle(left)
    rng.shuffle(right)
    return " ".join(left), " ".join(right), shared / (shared + 2 * own)


@given(TEXTS, st.integers(1, 6), st.sampled_from([2, 3, 20]), st.integers(0, 2**63 - 1))
@settings(max_examples=150, deadline=None)
def test_signatures_match_their_twin(
    texts: list[str], ngram: int, num_hashes: int, seed: int
) -> None:
    """Lanes equal the twin's; a document is valid exactly where the twin finds a word."""
    step = MinHash(ngram=ngram, num_hashes=num_hashes, seed=seed, bands=1, rows=2)
    found = step.signatures(TextBatch.of(texts))
    expected = [naive.signature(t, ngram=ngram, num_hashes=num_hashes, seed=seed) for t in texts]
    assert found.valid.tolist() == [lanes is not None for lanes in expected]
    for lanes, twin in zip(found.lanes.tolist(), expected, strict=True):
        assert twin is None or lanes == twin


@given(
    st.text(st.sampled_from("ab c"), min_size=1, max_size=40),
    st.sampled_from([(1, 20), (3, 5), (20, 1)]),
)
@settings(deadline=None)
def test_band_keys_match_their_twin(text: str, banding: tuple[int, int]) -> None:
    """Each band's key chains its own lanes, whatever the shape of the bands."""
    bands, rows = banding
    step = MinHash(num_hashes=20, bands=bands, rows=rows)
    signatures = step.signatures(TextBatch.of([text]))
    expected = naive.band_keys(signatures.lanes[0].tolist(), bands, rows)
    assert step.band_keys(signatures).tolist() == [expected]


def test_signatures_have_not_moved() -> None:
    """The signature of a text under given settings is part of the format."""
    text = "The quick brown fox jumps over 1,234 lazy dogs; it doesn't stop. Café naïve."
    lanes = MinHash().signatures(TextBatch.of([text])).lanes[0]
    assert lanes[:4].tolist() == [7842545, 140225592, 776639374, 577224643]
    assert int(lanes.sum(dtype=np.uint64)) == 33_665_296_383


def test_estimates_are_as_good_as_theory_and_datasketch() -> None:
    """On 300 pairs the errors have mean 0 and the theoretical spread, as datasketch's have.

    Errors are measured in units of sqrt(s (1 - s) / k): their mean lies within 4 / sqrt(300) of 0
    and their root mean square within 15 % of 1 (three and a half standard errors).
    """
    step = MinHash(ngram=1, num_hashes=128, bands=8, rows=16)
    pairs = [overlapping(shared, 60, seed) for seed, shared in enumerate([40, 120, 280, 540] * 75)]
    ours = step.signatures(
        TextBatch.of([text for left, right, _ in pairs for text in (left, right)])
    )
    errors, peer_errors = [], []
    for n, (left, right, true) in enumerate(pairs):
        unit = math.sqrt(true * (1 - true) / 128)
        errors.append((similarity(ours.lanes[2 * n], ours.lanes[2 * n + 1]) - true) / unit)
        peers = [PeerMinHash(num_perm=128) for _ in range(2)]
        for peer, text in zip(peers, (left, right), strict=True):
            peer.update_batch([word.encode() for word in text.split()])
        peer_errors.append((peers[0].jaccard(peers[1]) - true) / unit)
    spread, peer_spread = (math.sqrt(np.mean(np.square(e))) for e in (errors, peer_errors))
    assert abs(np.mean(errors)) < 4 / math.sqrt(len(pairs))
    assert abs(spread - 1) < 0.15
    assert spread < 1.25 * peer_spread


@pytest.mark.parametrize("shared", [60, 140, 240, 480, 1080])
def test_detection_follows_the_s_curve(shared: int) -> None:
    """The share of pairs that become candidates lies within 4 standard errors of the curve."""
    step = MinHash(ngram=1, bands=14, rows=8)
    count = 300
    pairs = [overlapping(shared, 60, 10_000 + seed) for seed in range(count)]
    keys = step.match_keys(TextBatch.of([t for left, right, _ in pairs for t in (left, right)]))
    found = (keys.values[0::2] == keys.values[1::2]).all(axis=2).any(axis=1)
    expected = step.banding.probability(pairs[0][2])
    error = math.sqrt(max(expected * (1 - expected), 1 / count) / count)
    assert abs(found.mean() - expected) < 4 * error


def test_edited_documents_agree_as_their_shingles_do() -> None:
    """With 5-word shingles the estimate follows the Jaccard similarity of the edited documents."""
    rng = np.random.default_rng(5)
    step = MinHash(num_hashes=512, bands=32, rows=16)
    for edits in (0, 3, 12, 40):
        words = [f"word{''.join(rng.choice(list('abcdef'), 8))}" for _ in range(400)]
        edited = list(words)
        for at in rng.choice(400, edits, replace=False):
            edited[at] = "edited"
        texts = [" ".join(words), " ".join(edited)]
        true = naive.jaccard(*(naive.shingles(text, 5) for text in texts))
        lanes = step.signatures(TextBatch.of(texts)).lanes
        assert abs(similarity(lanes[0], lanes[1]) - true) <= 4 * math.sqrt(true * (1 - true) / 512)


def test_short_and_empty_documents() -> None:
    """Short documents match documents of the same words; those without words match nothing."""
    texts = ["Page 3", "page 12!", "page", "", " \n", "!!!", "page three of this book"]
    keys = MinHash().match_keys(TextBatch.of(texts))
    assert keys.valid.tolist() == [True, True, True, False, False, False, True]
    documents = np.flatnonzero(keys.valid)
    band = keys.values[keys.valid, 0, 0]
    assert candidate_pairs(band, documents).tolist() == [[0, 1]]


def test_keys_do_not_depend_on_the_batch() -> None:
    """A document's keys are the same alone, in a batch, and in a batch cut out of another."""
    texts = ["one two three four five six", "", "seven eight", "中文 文本 很 长 一点"]
    step = MinHash()
    whole = step.match_keys(TextBatch.of(texts)).values
    alone = [step.match_keys(TextBatch.of([text])).values[0].tolist() for text in texts]
    cut = TextBatch.of(["before this", *texts, "after that"]).take(np.arange(1, 5))
    assert whole.tolist() == alone == step.match_keys(cut).values.tolist()


def test_texts_to_clusters() -> None:
    """Through all steps: copies with small edits cluster, other documents stay alone."""
    rng = np.random.default_rng(11)
    originals = [
        " ".join(f"t{w}x{n}".translate(LETTERS) for w in rng.integers(0, 9999, 300))
        for n in range(20)
    ]
    copies = [f"{text} And one more sentence." for text in originals]
    keys = MinHash().match_keys(TextBatch.of([*originals, *copies]))
    documents = np.arange(40)
    pairs = (candidate_pairs(keys.values[:, band], documents) for band in range(9))
    assert clusters(40, pairs).tolist() == [*range(20), *range(20)]


def test_no_documents_have_no_keys() -> None:
    """An empty batch gives arrays of the right shape."""
    keys = MinHash().match_keys(TextBatch.of([]))
    assert keys.values.shape == (0, MinHash().num_bands, 1)
    assert keys.valid.shape == (0,)


LETTERS = str.maketrans("0123456789", "abcdefghij")
"""Spells numbers in letters, since a run of digits counts as one `0`."""
