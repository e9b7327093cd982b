"""Survivors: the best living document of each cluster, by the stated key."""

import naive_dedup as naive
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dolmix.dedup import sort_keys, survivors

DOCUMENT = st.tuples(
    st.integers(0, 3),  # the cluster's name
    st.booleans(),  # alive
    st.none() | st.sampled_from([0.0, 1.0, 2.0, float("nan")]),
    st.none() | st.integers(0, 2),
)


def roots(names: list[int]) -> list[int]:
    """Smallest document of each document's cluster."""
    return [names.index(name) for name in names]


@given(st.lists(DOCUMENT, max_size=24), st.booleans(), st.booleans())
@settings(max_examples=300, deadline=None)
def test_survivors_match_their_twin(
    documents: list[tuple[int, bool, float | None, int | None]], first: bool, second: bool
) -> None:
    """Kept documents and the survivors of dropped ones are the twin's, ascending and descending."""
    cluster = roots([d[0] for d in documents])
    alive, scores, counts = ([d[n] for d in documents] for n in (1, 2, 3))
    keep_by = ["-score" if first else "score", "-count" if second else "count"]
    columns = {"score": pa.array(scores, pa.float64()), "count": pa.array(counts, pa.int32())}
    kept, duplicate_of = survivors(
        np.array(cluster, np.int64), np.array(alive, np.bool_), sort_keys(keep_by, columns)
    )
    expected = naive.survivors(cluster, alive, [(scores, first), (counts, second)])
    assert (kept.tolist(), duplicate_of.tolist()) == expected


@given(st.permutations(range(8)))
@settings(deadline=None)
def test_the_survivor_does_not_depend_on_document_numbers(order: list[int]) -> None:
    """With a key that tells all documents apart, the same documents survive in any numbering."""
    ids = [f"d{n}" for n in order]
    cluster = roots([n % 2 for n in order])
    keys = sort_keys(["id"], {"id": pa.array(ids)})
    kept, duplicate_of = survivors(np.array(cluster), np.ones(8, np.bool_), keys)
    assert {ids[n] for n in np.flatnonzero(kept)} == {"d0", "d1"}
    assert all(ids[d] == f"d{order[n] % 2}" for n, d in enumerate(duplicate_of) if d >= 0)


@given(st.lists(DOCUMENT, min_size=1, max_size=24))
@settings(deadline=None)
def test_each_cluster_keeps_exactly_one_living_document(
    documents: list[tuple[int, bool, float | None, int | None]],
) -> None:
    """One document survives of each cluster that has a living one; every drop names it."""
    cluster = np.array(roots([d[0] for d in documents]))
    alive = np.array([d[1] for d in documents])
    kept, duplicate_of = survivors(
        cluster, alive, [pa.array([d[3] for d in documents], pa.int64())]
    )
    assert np.bincount(cluster[kept], minlength=1).max() <= 1
    assert set(cluster[kept].tolist()) == set(cluster[alive].tolist())
    dropped = duplicate_of >= 0
    assert (dropped == (alive & ~kept)).all()
    assert kept[duplicate_of[dropped]].all()
    assert (cluster[duplicate_of[dropped]] == cluster[dropped]).all()


@pytest.mark.parametrize(
    ("key", "best"), [("priority", 1), ("-length", 2), ("length", 0), ("-date", 2), ("flag", 0)]
)
def test_the_stated_key_decides(key: str, best: int) -> None:
    """On a cluster made for it, each kind of column picks the document that it should."""
    columns = {
        "priority": np.array([1, 0, 1]),
        "length": pa.array([10, None, 30], pa.int64()),
        "date": pa.array(["2020-01", None, "2024-05"]),
        "flag": pa.array([False, True, None]),
    }
    kept, _ = survivors(np.zeros(3, np.int64), np.ones(3, np.bool_), sort_keys([key], columns))
    assert np.flatnonzero(kept).tolist() == [best]


def test_ties_end_at_the_earliest_document() -> None:
    """Where no column tells documents apart, the smallest document number survives."""
    columns = {"a": pa.array([None, None, None], pa.float64()), "b": np.ones(3)}
    _, duplicate_of = survivors(
        np.zeros(3, np.int64), np.ones(3, np.bool_), sort_keys(["-a", "b"], columns)
    )
    assert duplicate_of.tolist() == [-1, 0, 0]


def test_dictionary_columns_sort_by_their_text() -> None:
    """A dictionary-encoded column ranks by its values, not by the order of its dictionary."""
    values = pa.array(["b", "a", "c"]).dictionary_encode()
    assert sort_keys(["x"], {"x": values})[0].tolist() == [2, 1, 3]
