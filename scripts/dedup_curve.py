"""How often MinHash finds near-duplicates, beside the collision curve that it should follow.

    python scripts/dedup_curve.py [--pairs 1000] [--words 200]

Passages of the reference corpus are edited word by word, with a seed, until about the wanted share
of their 5-word shingles is left; the Jaccard similarity of each pair is then counted. `found` is
the share of pairs with a key in common, `expected` the mean of 1-(1-s^rows)^bands over the same
pairs, `error` their difference in standard errors. Text is lower-case ASCII letters, so that every
definition sees the same words.
"""

import argparse
import math
import random
import re
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import bench_texts  # puts the repository on the path
import numpy as np

from dolmix.dedup import MinHash
from dolmix.document import TextBatch

SIMILARITIES = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0)
NGRAM = 5
LEAST_ERROR = 0.01
"""Standard error, in pairs, below which there is nothing to compare."""
STEPS: dict[str, dict[str, Any]] = {
    "own, 14 x 8": {"bands": 14, "rows": 8},
    "own, 9 x 12 (threshold 0.8)": {"bands": 9, "rows": 12},
    "datatrove, 14 x 8": {"preset": "datatrove-0.10"},
}


def passages(words: int) -> Iterator[list[str]]:
    """Cut the corpus into passages, each once."""
    for record in bench_texts.web_documents([], 0, distinct=False).records:
        found = re.findall("[a-z]+", record["text"].lower())
        for at in range(0, len(found) - words + 1, words):
            yield found[at : at + words]


def edited(words: Sequence[str], similarity: float, draw: random.Random) -> list[str]:
    """Replace words so that about this similarity is left."""
    gone = (1 - similarity) / (1 + similarity)
    count = round(math.log(1 - gone) / math.log(1 - NGRAM / len(words)))
    changed = list(words)
    for at in draw.sample(range(len(words)), count):
        changed[at] = "".join(draw.choices("bcdfgjklmnpqrtvwxz", k=9))
    return changed


def jaccard(left: Sequence[str], right: Sequence[str]) -> float:
    """Count the shingles of both in those of either."""
    a, b = ({tuple(w[n : n + NGRAM]) for n in range(len(w) - NGRAM + 1)} for w in (left, right))
    return len(a & b) / len(a | b)


def found_pairs(step: MinHash, texts: Sequence[str]) -> int:
    """Count neighbours in a list of texts that share a key."""
    values = step.match_keys(TextBatch.of(list(texts))).values
    return int((values[0::2] == values[1::2]).all(axis=2).any(axis=1).sum())


def main() -> None:
    """Print one line a similarity and step."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--pairs", type=int, default=1000, help="pairs of each similarity")
    parser.add_argument("--words", type=int, default=200, help="words of a passage")
    given = parser.parse_args()
    cut = passages(given.words)
    print(f"{given.pairs:,} pairs of {given.words} words each")
    print(f"{'':30} {'similarity':>10} {'found':>7} {'expected':>8} {'error':>6}")
    for similarity in SIMILARITIES:
        draw = random.Random(round(100 * similarity))  # noqa: S311 - nothing secret
        pairs = [(words, edited(words, similarity, draw)) for words in islice(cut, given.pairs)]
        true = np.array([jaccard(a, b) for a, b in pairs])
        texts = [" ".join(words) for pair in pairs for words in pair]
        for name, settings in STEPS.items():
            step = MinHash.model_validate(settings)
            chances = np.array([step.banding.probability(s) for s in true])
            found, error = found_pairs(step, texts), math.sqrt((chances * (1 - chances)).sum())
            off = (found - chances.sum()) / error if error > LEAST_ERROR else 0.0
            share, expected = found / len(pairs), chances.mean()
            print(f"{name:30} {true.mean():10.3f} {share:7.3f} {expected:8.3f} {off:6.1f}")


if __name__ == "__main__":
    main()
