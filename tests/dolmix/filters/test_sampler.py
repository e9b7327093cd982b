"""A sample depends on ids and seed alone."""

from hypothesis import given, settings
from hypothesis import strategies as st

from dolmix.document import TextBatch
from dolmix.filters import judge
from dolmix.filters.sampler import Sampler


def kept(ids: list[str], frac: float, seed: int = 0) -> set[str]:
    """Ids that a sampler keeps."""
    filter_, batch = Sampler(keep_frac=frac, seed=seed), TextBatch.of([""] * len(ids), ids=ids)
    verdicts = judge(filter_, filter_.columns(batch), batch).to_pylist()
    return {id_ for id_, reason in zip(ids, verdicts, strict=True) if reason is None}


@settings(deadline=None, max_examples=50)
@given(st.lists(st.text(max_size=8), unique=True, min_size=1), st.integers(0, 3), st.randoms())
def test_the_sample_does_not_depend_on_order_or_neighbours(
    ids: list[str], seed: int, draw: object
) -> None:
    """Each document is kept or dropped alike, alone, in any order and in any company."""
    whole = kept(ids, 0.5, seed)
    draw.shuffle(ids)  # type: ignore[attr-defined]
    assert kept(ids, 0.5, seed) == whole
    assert {id_ for id_ in ids if kept([id_], 0.5, seed)} == whole


def test_the_share_is_what_was_asked_and_samples_are_nested() -> None:
    """Of 20,000 ids about the share is kept, all of it by a larger share, other ones by a seed."""
    ids = [f"doc-{n}" for n in range(20_000)]
    tenth, half = kept(ids, 0.1), kept(ids, 0.5)
    assert abs(len(tenth) - 2_000) < 5 * (20_000 * 0.1 * 0.9) ** 0.5
    assert tenth < half
    assert kept(ids, 0.0) == set()
    assert kept(ids, 1.0) == set(ids)
    other = kept(ids, 0.1, seed=1)
    assert abs(len(tenth & other) - 200) < 5 * (20_000 * 0.01 * 0.99) ** 0.5


def test_a_draw_is_fixed_for_good() -> None:
    """What is drawn for an id never changes, or an old sample could not be made again."""
    batch = TextBatch.of(["", ""], ids=["doc-1", "é"])
    draws = Sampler(keep_frac=0.5, seed=7).columns(batch)["draw"].to_pylist()
    assert draws == [0.6112957793912263, 0.1852442121602519]
