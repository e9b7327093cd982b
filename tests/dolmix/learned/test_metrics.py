"""Average precision and thresholds, against plain definitions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dolmix.learned.calibrate import dropped, threshold_of
from dolmix.learned.metrics import at_threshold, average_precision, thresholds

scored = st.lists(
    st.tuples(st.booleans(), st.sampled_from([0.0, 0.1, 0.5, 0.5001, 1.0])), max_size=30
)


def plain_average_precision(rows: list[tuple[bool, float]]) -> float | None:
    """Sum over distinct scores, from the highest: precision there times the recall it adds."""
    total = sum(good for good, _ in rows)
    if not total:
        return None
    area, before = 0.0, 0.0
    for limit in sorted({score for _, score in rows}, reverse=True):
        taken = [good for good, score in rows if score >= limit]
        recall = sum(taken) / total
        area += (recall - before) * sum(taken) / len(taken)
        before = recall
    return area


@given(scored)
def test_average_precision_is_its_definition(rows: list[tuple[bool, float]]) -> None:
    """The fast sum and the plain one agree, with ties and without positives."""
    positive = np.array([good for good, _ in rows], np.bool_)
    scores = np.array([score for _, score in rows], np.float64)
    found, expected = average_precision(positive, scores), plain_average_precision(rows)
    assert found == expected if expected is None else found == pytest.approx(expected)


@given(scored.filter(len))
def test_a_constant_scores_the_share_of_positives(rows: list[tuple[bool, float]]) -> None:
    """The baseline that knows nothing gets the prior."""
    positive = np.array([good for good, _ in rows], np.bool_)
    found = average_precision(positive, np.zeros(len(rows)))
    assert found is None if not positive.any() else found == pytest.approx(positive.mean())


def test_figures_at_a_threshold() -> None:
    """Counted by hand: 3 called, 2 of them right, 1 missed, of 5."""
    positive = np.array([True, True, True, False, False])
    found = at_threshold(positive, np.array([0.9, 0.8, 0.1, 0.7, 0.2]), 0.5)
    assert found == {"precision": 2 / 3, "recall": 2 / 3, "accuracy": 3 / 5, "share": 3 / 5}


@pytest.mark.parametrize("worst", ["high", "low"])
def test_a_table_of_thresholds_drops_the_bad_end(worst: str) -> None:
    """Dropping the worst half of perfect scores drops bad rows alone, from either end."""
    scores = np.linspace(0, 1, 100)
    positive = scores > 0.4 if worst == "high" else scores > 0.6
    rows = {row["dropped"]: row for row in thresholds(positive, scores, worst=worst)}
    assert rows[0.50]["precision"] == 1.0
    assert rows[0.50]["share"] == pytest.approx(0.5)
    assert all(row["share"] <= row["dropped"] for row in rows.values())


@given(
    st.lists(st.sampled_from([0.0, 0.25, 0.25, 0.9]) | st.floats(0, 1), min_size=1, max_size=80),
    st.floats(0.01, 0.99),
    st.sampled_from(["low", "high"]),
)
def test_a_calibrated_threshold_drops_the_share_and_no_more(
    values: list[float], frac: float, worst: str
) -> None:
    """At most the share goes, ties or not; a limit one score further in would drop more of it."""
    scores = np.array(values)
    limit = threshold_of(scores, frac=frac, worst=worst)  # type: ignore[arg-type]
    assert dropped(scores, limit, worst=worst) <= frac  # type: ignore[arg-type]
    kept = scores[scores > limit] if worst == "low" else scores[scores < limit]
    if kept.size:
        further = kept.min() if worst == "low" else kept.max()
        assert dropped(scores, float(further), worst=worst) > frac - 1 / len(values)  # type: ignore[arg-type]


@pytest.mark.parametrize("frac", [0.02, 0.15, 0.5, 0.9])
@pytest.mark.parametrize("shape", [(0.3, 0.3), (2.0, 5.0), (8.0, 1.0)])
@pytest.mark.parametrize("worst", ["low", "high"])
def test_a_threshold_holds_on_the_other_half(
    frac: float, shape: tuple[float, float], worst: str
) -> None:
    """Of 40,000 scores, the limit of one half drops the share of the other, within a point."""
    draws = np.random.default_rng(3).beta(*shape, 40_000)
    limit = threshold_of(draws[::2], frac=frac, worst=worst)  # type: ignore[arg-type]
    assert abs(dropped(draws[1::2], limit, worst=worst) - frac) < 0.01  # type: ignore[arg-type]
