"""How well scores tell one label from the others: average precision, precision and recall.

A score above the threshold says "positive". Average precision is the area under precision over
recall, summed in steps over distinct scores (ties are one step), which for a constant score is the
share of positives.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from dolmix.document import BoolArray, F64Array
from dolmix.learned.examples import Example

DROPPED = (0.01, 0.02, 0.05, 0.10, 0.15, 0.20, 0.30, 0.40, 0.50)
"""Shares that a table of thresholds gives."""
FEWEST = 20
"""Rows of a language below which it gets no figures of its own."""


def average_precision(positive: BoolArray, scores: F64Array) -> float | None:
    """Average precision of N scores; None without a positive or without any.

    positive  (N,) bool
    scores    (N,) float64, higher says positive
    """
    total = int(positive.sum())
    if not total:
        return None
    order = np.argsort(-scores, kind="stable")
    ranked, hits = scores[order], np.cumsum(positive[order])
    last = np.flatnonzero(np.r_[ranked[1:] != ranked[:-1], True])
    precision, recall = hits[last] / (last + 1), hits[last] / total
    return float(np.sum(np.diff(np.r_[0.0, recall]) * precision))


def at_threshold(positive: BoolArray, scores: F64Array, threshold: float) -> dict[str, Any]:
    """Give precision, recall, accuracy and the share called positive, of scores above a threshold.

    Precision is None where nothing is called positive, recall where nothing is.
    """
    called = scores > threshold
    hits, total = int((called & positive).sum()), int(positive.sum())
    return {
        "precision": hits / int(called.sum()) if called.any() else None,
        "recall": hits / total if total else None,
        "accuracy": float((called == positive).mean()) if positive.size else None,
        "share": float(called.mean()) if positive.size else None,
    }


def measure(positive: BoolArray, scores: F64Array, threshold: float) -> dict[str, Any]:
    """Give all figures of N scores, with their number and that of the positives."""
    return {
        "rows": int(positive.size),
        "positive": int(positive.sum()),
        "average_precision": average_precision(positive, scores),
        **at_threshold(positive, scores, threshold),
    }


def by_task(
    examples: Sequence[Example], positive: BoolArray, scores: F64Array, threshold: float
) -> list[dict[str, Any]]:
    """Give the figures of each task, and of its languages with `FEWEST` rows or more."""
    found = []
    for task, rows in _groups(examples, lambda e: e.task):
        langs = sorted({examples[n].lang for n in rows})
        one = {"task": task, "lang": "all" if len(langs) > 1 else langs[0]}
        found.append(one | measure(positive[rows], scores[rows], threshold))
        for lang in langs if len(langs) > 1 else []:
            some = np.array([n for n in rows if examples[n].lang == lang])
            if some.size >= FEWEST:
                one = {"task": task, "lang": lang}
                found.append(one | measure(positive[some], scores[some], threshold))
    return found


def thresholds(positive: BoolArray, scores: F64Array, *, worst: str) -> list[dict[str, Any]]:
    """For each share dropped: the threshold, and how much of what goes is of the bad label.

    worst  `high` drops scores above the threshold, `low` those below; `positive` is the label that
           the score is the probability of
    """
    bad = positive if worst == "high" else ~positive
    badness = scores if worst == "high" else -scores
    found = []
    for share in DROPPED:
        place = min(int(share * scores.size), scores.size - 1)
        limit = float(np.sort(-badness)[place]) * -1.0
        figures = at_threshold(bad, badness, limit)
        threshold = limit if worst == "high" else -limit
        found.append({"dropped": share, "threshold": threshold} | figures)
    return found


def _groups(
    examples: Sequence[Example], key: Callable[[Example], str]
) -> Iterable[tuple[str, np.ndarray[Any, np.dtype[np.int64]]]]:
    places: dict[str, list[int]] = {}
    for n, example in enumerate(examples):
        places.setdefault(key(example), []).append(n)
    return [(name, np.array(places[name], np.int64)) for name in sorted(places)]
