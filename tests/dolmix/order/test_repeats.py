"""The mask of instances that only repeat themselves."""

from pathlib import Path

import hypothesis.strategies as st
import naive
import numpy as np
import pytest
import store_builder
from hypothesis import given, settings
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from dolmix.order import repeats
from dolmix.order.repeats import make_repeat_mask, open_repeat_mask
from dolmix.shards import Packing, make_pack, open_instances, open_store
from dolmix.text.periodic import periodic_times

LENGTH = 96


@st.composite
def repeating_rows(draw: st.DrawFn) -> NDArray[np.uint32]:
    """Draw rows of few different tokens, most with a span tiled over a part of them."""
    rows = draw(arrays(np.uint32, (3, LENGTH), elements=st.integers(0, 2)))
    for row in rows:
        span = draw(arrays(np.uint32, st.integers(1, 15), elements=st.integers(0, 3)))
        start, stop = sorted(draw(st.tuples(st.integers(0, LENGTH), st.integers(0, LENGTH))))
        row[start:stop] = np.resize(span, stop - start)
    return rows


@settings(deadline=None, max_examples=60)
@given(rows=repeating_rows(), times=st.integers(3, 9))
def test_rows_are_flagged_as_by_the_naive_twin(rows: NDArray[np.uint32], times: int) -> None:
    """A row is flagged exactly where the twin, which compares spans, counts `times` or more."""
    expected = [naive.periodic_times(row.tolist()) >= times for row in rows]
    assert repeats(rows, times=times).tolist() == expected


@settings(deadline=None, max_examples=100)
@given(
    period=st.integers(1, 14),
    extra=st.integers(-2, 2),
    start=st.integers(0, 60),
    seed=st.integers(0, 1000),
)
def test_rows_are_flagged_as_documents_are(period: int, extra: int, start: int, seed: int) -> None:
    """At OLMo's limits the mask is the kernel of the repetition filter, one token around 32 spans.

    The kernel runs over the same rows as documents.
    """
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, 1000, (2, 520), np.uint32)
    span = rng.permutation(1000)[:period].astype(np.uint32)
    length = min(32 * period + extra, 520 - start)
    rows[0, start : start + length] = np.resize(span, length)
    times = periodic_times(rows.ravel(), np.array([0, 520, 1040]))
    assert repeats(rows).tolist() == (times >= 32).tolist()


@pytest.mark.parametrize(("length", "flagged"), [(32 * 13 - 1, False), (32 * 13, True)])
def test_the_limit_is_32_whole_spans(length: int, flagged: bool) -> None:
    """31.9 spans of 13 tokens pass, 32 do not, wherever they stand in the row."""
    rows = np.arange(1000, 1000 + 3 * 450, dtype=np.uint16).reshape(3, 450)
    for row, start in zip(rows, (0, 17, 450 - length), strict=True):
        row[start : start + length] = np.resize(np.arange(13), length)
    assert repeats(rows).tolist() == [flagged] * 3


@pytest.mark.parametrize("shape", [(0, 64), (2, 0), (2, 1), (2, 31)])
def test_short_rows_are_never_flagged(shape: tuple[int, int]) -> None:
    """Rows too short for 32 spans of one token, and no rows at all, give no flags."""
    assert repeats(np.zeros(shape, np.int64)).tolist() == [False] * shape[0]


@pytest.mark.parametrize("packing", ["concat", "bestfit", "pad"])
def test_the_flags_of_a_store_are_those_of_its_instances(tmp_path: Path, packing: Packing) -> None:
    """One bit an instance: exactly the instances whose tokens, padding aside, repeat 32 times."""
    documents = store_builder.documents([90, 3, 140, 60, 75, 2, 130, 200, 9], largest_id=299)
    for start, stop, period in ((10, 60, 1), (95, 190, 2), (300, 365, 2), (430, 640, 6)):
        documents.tokens[start:stop] = np.resize(np.arange(7, 7 + period), stop - start)
    documents.tokens[np.cumsum(documents.lengths) - 1] = store_builder.EOS_ID
    store_builder.write(tmp_path, documents, shard_tokens=300)
    store = open_store(tmp_path / "web@1")
    if packing != "concat":
        make_pack(store, sequence_length=96, packing=packing)
    instances = open_instances(store, 96, packing)
    assert open_repeat_mask(instances) is None
    flags = make_repeat_mask(instances).at(np.arange(len(instances))).tolist()
    kept = open_repeat_mask(instances)
    assert kept is not None
    assert kept.at(np.arange(len(instances))).tolist() == flags
    for number, flag in enumerate(flags):
        used = sum(piece.length for piece in instances.documents(number))
        inputs = instances.tokens(number).tolist()[: min(used, 96)]
        assert flag == (naive.periodic_times(inputs) >= 32)
    assert 1 <= sum(flags) < len(flags)


def test_flags_of_another_packing_are_other_files(tmp_path: Path) -> None:
    """A length, a packing or a pack of its own has flags of its own."""
    store_builder.write(tmp_path, store_builder.documents([90, 3, 140]))
    store = open_store(tmp_path / "web@1")
    for length in (32, 64):
        make_repeat_mask(open_instances(store, length))
        make_pack(store, sequence_length=length, packing="pad")
        make_repeat_mask(open_instances(store, length, "pad"))
    kinds = [path.name.partition("-")[0] for path in (tmp_path / "web@1.derived").iterdir()]
    assert sorted(kinds) == ["pack"] * 2 + ["repeats"] * 4
