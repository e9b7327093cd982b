"""How often near-duplicates are found: edited real documents against the collision curve."""

import math
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import naive_dedup as naive
import pytest
from near_duplicates import edited, passages
from peers import english_sample, needs

from dolmix.dedup import MinHash
from dolmix.dedup.lsh import Banding
from dolmix.document import TextBatch

SIMILARITIES = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
PAIRS = 60
"""Pairs of each similarity."""
WORDS = 150
"""Words of a document; its 146 shingles are distinct nearly all."""


def datatrove_shingles(text: str, ngram: int) -> list[tuple[str, ...]]:
    """List the runs of words that datatrove has."""
    from datatrove.utils.text import split_into_words

    words = split_into_words(naive.simplified(text))
    return [tuple(words[n : n + ngram]) for n in range(len(words) - ngram + 1)]


FIDELITIES: dict[str, tuple[dict[str, Any], Callable[[str, int], list[tuple[str, ...]]]]] = {
    "own": ({"bands": 14, "rows": 8}, naive.shingles),
    "own 9 x 12": ({"bands": 9, "rows": 12}, naive.shingles),
    "datatrove xxhash": ({"preset": "datatrove-0.10"}, datatrove_shingles),
}


@cache
def pairs_of(shared: Path, similarity: float) -> list[tuple[str, str]]:
    """Passages of real documents and their edited copies."""
    texts = passages(english_sample(shared, 1.5), WORDS, PAIRS)
    return [
        (text, edited(text, similarity, ngram=5, seed=1000 * n + round(10 * similarity)))
        for n, text in enumerate(texts)
    ]


@cache
def jaccards(shared: Path, similarity: float, shingles: Any) -> list[float]:
    """Jaccard similarity of each pair, counted."""
    pairs = pairs_of(shared, similarity)
    return [naive.jaccard(shingles(a, 5), shingles(b, 5)) for a, b in pairs]


def detected(step: MinHash, pairs: list[tuple[str, str]]) -> int:
    """How many pairs share a key."""
    keys = step.match_keys(TextBatch.of([text for pair in pairs for text in pair]))
    return int((keys.values[0::2] == keys.values[1::2]).all(axis=2).any(axis=1).sum())


@pytest.mark.corpus
@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize("fidelity", FIDELITIES)
def test_detection_follows_the_curve(shared: Path, fidelity: str, similarity: float) -> None:
    """Pairs of counted similarity become candidates as often as 1-(1-s^rows)^bands says.

    Within four standard errors of the expected number, and half a pair for rounding.
    """
    settings, shingles = FIDELITIES[fidelity]
    if "preset" in settings:
        needs("spacy")
    step = MinHash.model_validate(settings)
    true = jaccards(shared, similarity, shingles)
    assert abs(sum(true) / PAIRS - similarity) < 0.05
    chances = [step.banding.probability(s) for s in true]
    error = math.sqrt(sum(p * (1 - p) for p in chances))
    assert abs(detected(step, pairs_of(shared, similarity)) - sum(chances)) <= 4 * error + 0.5


def test_curve_is_the_formula() -> None:
    """The curve that is measured against: 14 x 8 as the reference states it."""
    assert Banding(14, 8).probability(0.8) == pytest.approx(0.924, abs=5e-4)
    assert [Banding(2, 1).probability(s) for s in (0.0, 0.5, 1.0)] == [0.0, 0.75, 1.0]
