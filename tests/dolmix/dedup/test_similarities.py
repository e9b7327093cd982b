"""How alike two documents are: estimated from sketches, exact from shingle sets."""

from pathlib import Path

import naive_clusters as naive
import naive_dedup
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dolmix.dedup import shingles
from dolmix.dedup.shingles import ShingleFiles, shingle_sets
from dolmix.dedup.sketches import estimate, similarities, sketches
from dolmix.document import TextBatch

WORDS = st.lists(st.sampled_from(["a", "b", "ä", "7", "--", "東京"]), max_size=14).map(" ".join)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.8, 1.0])
@pytest.mark.parametrize("kind", [np.uint32, np.uint64])
def test_estimates_are_within_sampling_error(share: float, kind: type[np.unsignedinteger]) -> None:
    """The mean of 4,000 estimates is the share of equal lanes within four standard errors."""
    draw = np.random.default_rng(5)
    lanes = draw.integers(0, 1 << 32, (4000, 112), dtype=kind)
    equal = draw.random(lanes.shape) < share
    other = np.where(equal, lanes, draw.integers(0, 1 << 32, lanes.shape, dtype=kind))
    found = estimate(sketches(lanes), sketches(other))
    p = share + (1 - share) / 256
    error = (p * (1 - p) / 112) ** 0.5 / (1 - 1 / 256)
    bias = 0.004 if share == 0 else 0.0  # an estimate below 0 is shown as 0
    assert abs(found.mean() - share) <= 4 * error / 4000**0.5 + bias
    assert found.std() <= 1.1 * error


def test_sketches_are_found_by_number(tmp_path: Path) -> None:
    """Pairs across parts, one of them empty, read the right rows, in any order."""
    rows = np.random.default_rng(6).integers(0, 3, (9, 16), dtype=np.uint8)
    starts, paths = np.array([0, 4, 4, 9]), []
    for part in range(3):
        paths.append(tmp_path / str(part))
        paths[-1].write_bytes(rows[starts[part] : starts[part + 1]].tobytes())
    pairs = np.array([[8, 0], [3, 4], [5, 5], [0, 8]])
    found = similarities(paths, starts, pairs, 16)
    assert found.tolist() == estimate(rows[pairs[:, 0]], rows[pairs[:, 1]]).tolist()
    assert found[2] == 1.0


@given(st.lists(WORDS, max_size=8), st.integers(1, 4))
def test_shingle_sets_are_those_of_the_twin(texts: list[str], ngram: int) -> None:
    """Each set holds the hashes of the document's shingles, sorted, each once."""
    values, ends = shingle_sets(TextBatch.of(texts), ngram)
    starts = [0, *ends.tolist()][:-1]
    for text, start, end in zip(texts, starts, ends.tolist(), strict=True):
        hashes = {naive_dedup.shingle_hash(s) for s in naive_dedup.shingles(text, ngram)}
        assert values[start:end].tolist() == sorted(hashes)


@given(st.lists(st.sets(st.integers(0, 12)), min_size=2, max_size=12), st.integers(1, 40))
def test_the_similarity_of_sets_on_disk_is_exact(
    tmp_path_factory: pytest.TempPathFactory, sets: list[set[int]], at_once: int
) -> None:
    """Every pair has the very Jaccard similarity of its sets, in whatever stretches it is read."""
    folder = tmp_path_factory.mktemp("sets")
    middle = len(sets) // 2
    for part, mine in enumerate((range(middle), range(middle, len(sets)))):
        values = [v for n in mine for v in sorted(sets[n])]
        np.array(values, "<u8").tofile(folder / f"{part}.u64")
        np.save(folder / f"{part}.documents.npy", np.array(mine, np.int64))
        np.save(folder / f"{part}.ends.npy", np.cumsum([len(sets[n]) for n in mine], dtype=int))
    files = ShingleFiles(np.array([0, middle, len(sets)]), [folder / "0", folder / "1"])
    pairs = [(a, b) for a in range(len(sets)) for b in range(len(sets))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shingles, "SETS_AT_ONCE", at_once)
        found = files.jaccard(np.array(pairs, np.int64))
    assert found.tolist() == [naive.jaccard(sets[a], sets[b]) for a, b in pairs]
