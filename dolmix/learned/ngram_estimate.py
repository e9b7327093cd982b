"""From counts to probabilities: interpolated modified Kneser-Ney (Chen and Goodman 1998).

Trigrams by how often they occur, bigrams and single units by how many units they follow. What is
kept of an order is written as costs in whole steps; the factors by which shorter n-grams stand in
for what is not kept follow from those rounded costs, so that the probabilities of all units after
any two add up to 1, but for the rounding of the factor itself (2^-15 bits). Bigrams stand for what
is seen once or more, trigrams for what is seen `min_trigram` times.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from dolmix.document import F64Array, I32Array, I64Array, U64Array
from dolmix.text.ngram_model import STEPS, NgramModel
from dolmix.text.ngram_model_tables import ID_BITS, LARGEST, NEUTRAL, ngram_table

ONE_ID = np.uint64((1 << ID_BITS) - 1)
SHIFT = np.uint64(ID_BITS)
FALLBACK = (0.5, 1.0, 1.5)
"""Discounts where so few n-grams are counted that theirs cannot be estimated."""
SMALLEST = 1e-12
"""Share of probability below which there is nothing left to share out."""


@dataclass(frozen=True, eq=False)
class _Order:
    """N-grams of one order that the model keeps, ascending by key.

    keys      (N,) uint64
    contexts  (N,) int64   number of the context of each, among `starts`
    starts    (C,) uint64  keys of the contexts, ascending
    costs     (N,) int64   -log2 P(last unit | context), in steps
    """

    keys: U64Array
    contexts: I64Array
    starts: U64Array
    costs: I64Array


def estimate(
    stream: I32Array,
    *,
    vocabulary: int,
    words: U64Array,
    spelt: I64Array,
    min_trigram: int,
    about: Mapping[str, Any],
) -> NgramModel:
    """Make a model from the ids of units.

    stream       (M,) int32   two boundaries, then texts, each with two boundaries after it
    vocabulary   number of ids
    words        table of words
    spelt        (257, 257) int64   counts of symbols after symbols in unknown units
    min_trigram  trigrams seen fewer times are left out
    """
    trigram_keys, seen = _counted(stream)
    bigram_keys, follows = _distinct(trigram_keys & (ONE_ID << SHIFT | ONE_ID))
    unigrams = _unigrams(bigram_keys, vocabulary)
    costs1 = _cost(unigrams)
    lower = _probability(costs1)

    last = (bigram_keys & ONE_ID).astype(np.int64)
    bigrams = _order(bigram_keys, follows, lower[last])
    back_offs1 = np.zeros(vocabulary, np.int64)
    left = _back_offs(bigrams, lower[last])
    back_offs1[bigrams.starts.astype(np.int64)] = left

    suffix = np.searchsorted(bigram_keys, trigram_keys & (ONE_ID << SHIFT | ONE_ID))
    shorter = _probability(bigrams.costs)[suffix]
    every = _order(trigram_keys, seen, shorter)
    kept = seen >= min_trigram
    trigrams, shorter = _chosen(every, kept), shorter[kept]
    back_offs2 = np.zeros(bigram_keys.size, np.int64)
    factors = _back_offs(trigrams, shorter)
    # a context whose factor is exactly 1 must not look as if no trigram began with it
    back_offs2[np.searchsorted(bigram_keys, trigrams.starts)] = np.where(factors, factors, 1)
    return NgramModel(
        words=words,
        unigram_costs=costs1.astype(np.int32),
        unigram_back_offs=back_offs1.astype(np.int32),
        bigrams=ngram_table(bigrams.keys, bigrams.costs, back_offs2),
        trigrams=ngram_table(trigrams.keys, trigrams.costs),
        spelling=spelling_costs(spelt),
        about={**about, "bigrams": int(bigrams.keys.size), "trigrams": int(trigrams.keys.size)},
    )


def spelling_costs(spelt: I64Array) -> I32Array:
    """(257, 257) int32: -log2 P(symbol | symbol before), in steps (Witten and Bell 1991).

    spelt  (257, 257) int64, counts; interpolated with single symbols, those with equal shares
    """
    singles = spelt.sum(axis=0)
    equal = np.full(singles.size, 1.0 / singles.size)
    alone = _witten_bell(singles[None, :], equal)[0]
    return _cost(_witten_bell(spelt, alone)).astype(np.int32)


def _witten_bell(counts: I64Array, lower: F64Array) -> F64Array:
    """Rows of probabilities from rows of counts, and from what stands in for them."""
    total = counts.sum(axis=1, keepdims=True)
    kinds = np.count_nonzero(counts, axis=1)[:, None]
    divisor = np.maximum(total + kinds, 1)
    shares: F64Array = np.where(total > 0, (counts + kinds * lower) / divisor, lower)
    return shares


def _counted(stream: I32Array) -> tuple[U64Array, I64Array]:
    """Keys of the trigrams of a stream, ascending, and how often each occurs."""
    ids = stream.astype(np.uint64)
    return _distinct(ids[:-2] << SHIFT + SHIFT | ids[1:-1] << SHIFT | ids[2:])


def _distinct(keys: U64Array) -> tuple[U64Array, I64Array]:
    """Different keys, ascending, and how often each occurs."""
    found, counts = np.unique(keys, return_counts=True)
    return found, counts.astype(np.int64)


def _unigrams(bigram_keys: U64Array, vocabulary: int) -> F64Array:
    """(V,) float64: P(unit), from how many units it follows, interpolated with equal shares."""
    last = (bigram_keys & ONE_ID).astype(np.int64)
    follows = np.bincount(last, minlength=vocabulary).astype(np.int64)
    discounted, left = _discounted(follows)
    total = max(int(follows.sum()), 1)
    probabilities: F64Array = (discounted + left.sum() / vocabulary) / total
    return probabilities


def _order(keys: U64Array, counts: I64Array, lower: F64Array) -> _Order:
    """Probabilities of n-grams, all that were counted, as costs.

    counts  (N,) int64     how often each was seen, or how many units it follows
    lower   (N,) float64   probability of its last unit after a context shorter by one
    """
    starts, contexts = np.unique(keys >> SHIFT, return_inverse=True)
    contexts = contexts.astype(np.int64)
    discounted, left = _discounted(counts)
    total = np.bincount(contexts, counts, starts.size)
    shared = np.bincount(contexts, left, starts.size)
    probabilities = (discounted + shared[contexts] * lower) / total[contexts]
    return _Order(keys, contexts, starts, _cost(probabilities))


def _chosen(order: _Order, rows: Any) -> _Order:
    """Keep some n-grams of an order."""
    keys = order.keys[rows]
    starts, contexts = np.unique(keys >> SHIFT, return_inverse=True)
    return _Order(keys, contexts.astype(np.int64), starts, order.costs[rows])


def _back_offs(order: _Order, lower: F64Array) -> I64Array:
    """(C,) int64: -log2 of the factor of each context, in steps, so that all adds up to 1."""
    count = order.starts.size
    left = 1.0 - np.bincount(order.contexts, _probability(order.costs), count)
    free = 1.0 - np.bincount(order.contexts, lower, count)
    nothing = (left < SMALLEST) | (free < SMALLEST)
    ratio = np.where(nothing, SMALLEST, left) / np.where(nothing, 1.0, free)
    steps = np.rint(-np.log2(ratio) * STEPS).astype(np.int64)
    clipped: I64Array = np.clip(steps, 1 - NEUTRAL, LARGEST - NEUTRAL)
    return clipped


def _discounted(counts: I64Array) -> tuple[F64Array, F64Array]:
    """Take discounts, of counts 1, 2, 3 and more; returns what is left, and what was taken."""
    ones, twos, threes, fours = (int(np.count_nonzero(counts == n)) for n in (1, 2, 3, 4))
    found = FALLBACK
    if min(ones, twos, threes) > 0:
        share = ones / (ones + 2 * twos)
        found = (
            1 - 2 * share * twos / ones,
            2 - 3 * share * threes / twos,
            3 - 4 * share * fours / threes,
        )
    discounts = np.array([0.0, *(found if _sound(found) else FALLBACK)])
    taken = discounts[np.minimum(counts, 3)]
    return counts - taken, taken


def _sound(discounts: tuple[float, float, float]) -> bool:
    return all(0 < taken < count for count, taken in enumerate(discounts, 1))


def _cost(probabilities: F64Array) -> I64Array:
    """-log2 of probabilities, in whole steps, at most what an entry holds."""
    steps = np.rint(-np.log2(probabilities) * STEPS).astype(np.int64)
    clipped: I64Array = np.clip(steps, 0, LARGEST)
    return clipped


def _probability(costs: I64Array) -> F64Array:
    """Probabilities that costs in steps stand for."""
    probabilities: F64Array = np.exp2(costs / -STEPS)
    return probabilities
