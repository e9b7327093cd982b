"""What a window of steps holds, against counting row by row."""

from collections.abc import Iterator
from pathlib import Path

import mix_stores
import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from dolmix.errors import OrderError
from dolmix.mix import read_lock, resolve_file
from dolmix.order import Batches, open_order, parse_steps, stats, step_documents, window_stats
from dolmix.order.pieces import Marks, pieces_of


@pytest.mark.parametrize("steps", [None, "1:2", "7:19", "24:28", "26:", ":13", "35"])
@pytest.mark.parametrize("chunk", [8, 1 << 17])
def test_counts_are_those_of_the_rows(
    lock_file: Path, monkeypatch: pytest.MonkeyPatch, steps: str | None, chunk: int
) -> None:
    """Instances, repeats, documents and epochs of any window are those of the rows in it."""
    monkeypatch.setattr(stats, "CHUNK", chunk)
    told = window_stats(lock_file, steps)
    window = parse_steps(steps, open_order(lock_file).num_steps)
    rows = [row for step in window for row in step_documents(lock_file, step)]
    assert (told.first_step, told.last_step) == (window.start, window.stop - 1)
    assert (told.instances, told.tokens) == (len(rows), 16 * len(rows))
    for name, source in told.sources.items():
        mine = [row for row in rows if row.source == name]
        unique = {row.instance for row in mine}
        documents = {run.document for row in mine for run in row.documents}
        epochs = [row.epoch for row in mine]
        assert (source.instances, source.tokens) == (len(mine), 16 * len(mine))
        assert source.share == len(mine) / len(rows)
        assert (source.unique_instances, source.repeats) == (len(unique), len(mine) - len(unique))
        assert source.unique_documents == len(documents)
        assert source.first_epoch == min(epochs, default=None)
        assert source.last_epoch == max(epochs, default=None)
    assert told.unique_documents == sum(s.unique_documents for s in told.sources.values())


def test_shares_are_the_targets_over_whole_stages(lock_file: Path) -> None:
    """Over a stage the realised share is the target; across stages the target is their mean."""
    order = read_lock(lock_file).order
    for steps, parts in (("1:26", [0]), ("26:36", [1]), (None, [0, 1])):
        told = window_stats(lock_file, steps)
        sizes = [order.stages[n].instances for n in parts]
        assert [stage.instances for stage in told.stages] == sizes
        for name, source in told.sources.items():
            quota = sum(order.stages[n].quotas[name] for n in parts)
            assert source.instances == quota
            assert source.share == pytest.approx(quota / sum(sizes))
            assert source.target_share == pytest.approx(source.share)
            assert source.epochs == quota / order.sources[name].num_instances
    (stage,) = window_stats(lock_file, "20:26").stages
    assert (stage.name, stage.first_step, stage.last_step) == ("main", 20, 25)


def test_a_window_holds_its_target_to_within_its_two_blocks(lock_file: Path) -> None:
    """Blocks are exact, so a window misses its targets by less than the blocks at its edges."""
    for start in range(1, 18):
        told = window_stats(lock_file, f"{start}:{start + 8}")
        for source in told.sources.values():
            assert abs(source.share - source.target_share) * told.instances <= 2 * 8


@pytest.mark.parametrize("steps", ["0:3", "3:3", "5:2", "30:99", "a:b", "", "1:2:3", "-1:2"])
def test_windows_without_steps_of_the_order_are_refused(lock_file: Path, steps: str) -> None:
    """A window is `a:b` within the order, the end left out; anything else is told and refused."""
    with pytest.raises(OrderError, match="1:101"):
        window_stats(lock_file, steps)


def test_windows_are_half_open_and_ends_may_be_left_out() -> None:
    """`a:b` are the steps a to b - 1; one number is one step."""
    texts = {"2:5": (2, 5), ":5": (1, 5), "2:": (2, 11), ":": (1, 11), "7": (7, 8), None: (1, 11)}
    for text, (start, stop) in texts.items():
        assert parse_steps(text, 10) == range(start, stop)


@given(st.integers(1, 200).flatmap(lambda n: st.tuples(
    st.just(n), st.lists(st.lists(st.integers(0, n - 1), max_size=30), max_size=4))),
    st.sampled_from([8, 16, 64]),
)  # fmt: skip
def test_marks_are_a_set_of_numbers(made: tuple[int, list[list[int]]], most: int) -> None:
    """Whatever is added, in any order and repeated, marks hold each number once, ascending."""
    size, parts = made
    marks, expected = Marks(size), set()
    for part in parts:
        marks.add(np.array(part, np.int64))
        expected |= set(part)
    slices = list(marks.slices(most))
    assert [n for piece in slices for n in piece.tolist()] == sorted(expected)
    assert len(marks) == len(expected)
    assert all(piece[-1] - piece[0] < most for piece in slices)


@pytest.fixture(scope="module", params=["concat", "bestfit", "olmo"])
def pieces_batches(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Batches]:
    """Open the stores of the small mix, packed in every way."""
    folder = tmp_path_factory.mktemp("pieces")
    raw = yaml.safe_load(mix_stores.write_small_mix(folder).read_text())
    raw["sources"] = {n: {"store": str(folder / f"stores/{n}@1")} for n in raw["sources"]}
    raw["stages"] = [{"name": "main", "tokens": 320, "weights": {"web": 1, "code": 1, "docs": 1}}]
    if request.param == "olmo":
        raw["order"] = "olmo"
        del raw["stages"][0]["weights"], raw["block"]
    else:
        raw["packing"] = request.param
    (folder / "mix.yaml").write_text(yaml.safe_dump(raw))
    with Batches(resolve_file(folder / "mix.yaml")) as batches:
        yield batches


@given(st.data())
def test_pieces_of_many_are_those_of_each(pieces_batches: Batches, data: st.DataObject) -> None:
    """Columns of many instances, in any order and repeated, list what each instance lists."""
    instances = data.draw(st.sampled_from(pieces_batches.instances))
    numbers = data.draw(st.lists(st.integers(0, len(instances) - 1), max_size=12))
    told = pieces_of(instances, np.array(numbers, np.int64))
    expected = []
    for row, number in enumerate(numbers):
        at = 0
        for piece in instances.documents(number):
            expected.append((row, piece.document, at, at + piece.length, piece.start))
            at += piece.length
    columns = (told.row, told.document, told.start, told.stop, told.document_start)
    assert list(zip(*(c.tolist() for c in columns), strict=True)) == expected
