"""`show` and `find` against a twin that lists every token of every row of whole small runs."""

import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import mix_stores
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_order import NaiveStage, instance_at

from dolmix.mix import (
    BatchPhase,
    Ledger,
    Lock,
    LockSource,
    LockStage,
    OrderSource,
    OrderSpec,
    OrderStage,
    read_lock,
    resolve_file,
)
from dolmix.order import Batches, find_document, open_order, step_documents, step_rows
from dolmix.shards import count_instances

SEED = 11
# step, place, token of the row -> source, document, token of the document
Rows = dict[tuple[int, int, int], tuple[str, int, int]]


@dataclass(frozen=True)
class SmallRun:
    """A whole run to write down: documents of each source, stages in steps, sizes of batches."""

    lengths: dict[str, list[int]]
    sequence_length: int
    block: int
    phases: list[tuple[int, int]]
    stages: list[tuple[str, str, int, list[int]]] = field(default_factory=list)
    """(name, order, steps, how the stage's instances are shared out)"""

    def supply(self, source: str) -> int:
        """Instances of a source."""
        return max(0, (sum(self.lengths[source]) - 1) // self.sequence_length)

    def naive_stages(self) -> list[NaiveStage]:
        """Stages with whole quotas: the weights' shares, the rest to the last source."""
        names, stages, step = sorted(self.lengths), [], 0
        for name, order, steps, weights in self.stages:
            size = sum(self.batch(step + n + 1) for n in range(steps))
            shares = [size * w // sum(weights) for w in weights]
            shares[-1] += size - sum(shares)
            stages.append(NaiveStage(name, size, order, dict(zip(names, shares, strict=True))))
            step += steps
        return stages

    def batch(self, step: int) -> int:
        """Instances of a step."""
        return [size for first, size in self.phases if first <= step][-1]


def write_lock(run: SmallRun, folder: Path) -> Lock:
    """Write the stores of a run, in several shards, and its lock."""
    pins, sources = {}, {}
    for source, lengths in run.lengths.items():
        manifest = mix_stores.write_store(folder, source, lengths, shard_tokens=40)
        supply = count_instances(sum(lengths), run.sequence_length)
        pins[source] = OrderSource(content_hash=manifest.content_hash, num_instances=supply)
        sources[source] = LockSource(
            path=f"{source}@1", version=1, tokens=sum(lengths), documents=len(lengths),
            epochs=(0.0,) * len(run.stages),
        )  # fmt: skip
    spec = OrderSpec(
        seed=SEED,
        sequence_length=run.sequence_length,
        block=run.block,
        batch_size=tuple(BatchPhase(from_step=f, instances=n) for f, n in run.phases),
        sources=pins,
        stages=tuple(
            OrderStage(name=s.name, instances=s.size, order=s.order, quotas=dict(s.quotas))
            for s in run.naive_stages()
        ),
    )
    lock = Lock(
        name="run", order=spec, order_hash=spec.hash, sources=sources,
        stages={s.name: LockStage(asked_tokens=1) for s in spec.stages}, mix="",
    )  # fmt: skip
    lock.at(folder).write(folder / "run.lock.json")
    return read_lock(folder / "run.lock.json")


def listed(run: SmallRun) -> Rows:
    """Every token of every row, by the twin of the order and by counting tokens one at a time."""
    owners = {
        source: [(d, t) for d, length in enumerate(lengths) for t in range(length)]
        for source, lengths in run.lengths.items()
    }
    stages = run.naive_stages()
    supply = {source: run.supply(source) for source in run.lengths}
    rows: Rows = {}
    k = 0
    for step in range(1, sum(stage[2] for stage in run.stages) + 1):
        for place in range(run.batch(step)):
            source, _, instance = instance_at(stages, supply, k, seed=SEED, block=run.block)
            for n in range(run.sequence_length + 1):
                token = instance * run.sequence_length + n
                rows[step, place, n] = (source, *owners[source][token])
            k += 1
    return rows


def shown(lock: Lock, steps: range) -> Rows:
    """Every token of every row, as `show` tells it."""
    return {
        (step, row.place, n): (row.source, run.document, run.document_start + n - run.start)
        for step in steps
        for row in step_documents(lock, step)
        for run in row.documents
        for n in range(run.start, run.stop)
    }


def found(lock: Lock, lengths: dict[str, int]) -> Iterator[tuple[tuple[int, int, int], object]]:
    """Every token of every row, as `find` tells it document by document."""
    for source, count in lengths.items():
        for document in range(count):
            (told,) = find_document(lock, f"{source}-{document}", source=source)
            for seen in told.sightings:
                for n in range(seen.start, seen.stop):
                    at = seen.document_start + n - seen.start
                    yield (seen.step, seen.place, n), (source, told.document, at)


@st.composite
def small_runs(draw: st.DrawFn) -> SmallRun:
    """Draw runs of a few dozen instances: documents of one token and of many instances, reuse.

    Batches grow on the way; a source may give a stage nothing; supplies are so small that most
    runs go through several epochs.
    """
    length = draw(st.integers(1, 6))
    names = draw(st.sampled_from([["a"], ["b", "a"], ["web", "a-1", "c"]]))
    documents = st.lists(st.integers(1, 3 * length + 2), min_size=1, max_size=7)
    lengths = {
        name: draw(documents.filter(lambda found: sum(found) > 2 * length)) for name in names
    }
    phases = draw(st.sampled_from([[(1, 3)], [(1, 2), (3, 5)], [(1, 1), (2, 4), (4, 2)]]))
    stages = [
        (
            f"s{n}",
            draw(st.sampled_from(["fresh", "reuse"])),
            draw(st.integers(1, 3)),
            draw(st.lists(st.integers(0, 3), min_size=len(names), max_size=len(names)).filter(any)),
        )
        for n in range(draw(st.integers(1, 3)))
    ]
    return SmallRun(lengths, length, draw(st.integers(2, 7)), phases, stages)


@given(run=small_runs())
@settings(max_examples=40)
def test_show_and_find_tell_every_token_of_a_run(
    tmp_path_factory: pytest.TempPathFactory, run: SmallRun
) -> None:
    """Token by token, `show` over all steps, `find` over all documents and a plain listing agree.

    Labels are among them: the last token of a row is also the first of the next instance.
    """
    folder = tmp_path_factory.mktemp("run")
    lock, expected = write_lock(run, folder), listed(run)
    assert shown(lock, range(1, lock.order.num_steps + 1)) == expected
    places = list(found(lock, {source: len(ls) for source, ls in run.lengths.items()}))
    assert dict(places) == expected
    assert len(places) == len(expected), "find told a token of a row twice"
    shutil.rmtree(folder)


@given(run=small_runs())
@settings(max_examples=25)
def test_documents_say_how_much_of_them_is_in_no_instance(
    tmp_path_factory: pytest.TempPathFactory, run: SmallRun
) -> None:
    """Tokens of the tail are counted, document by document; the status names what never trains."""
    folder = tmp_path_factory.mktemp("run")
    lock, expected = write_lock(run, folder), listed(run)
    trained = {value[:2] for value in expected.values()}
    for source, lengths in run.lengths.items():
        end = run.supply(source) * run.sequence_length + 1
        for document, (start, stop) in enumerate(pairwise(np.cumsum([0, *lengths]).tolist())):
            (told,) = find_document(lock, f"{source}-{document}", source=source)
            assert told.left_out_tokens == max(0, stop - max(start, end))
            status = "tail, never trained" if start >= end else "never drawn in this mix"
            assert told.status == ("trained" if (source, document) in trained else status)
    shutil.rmtree(folder)


def test_every_kind_of_document_is_among_the_runs(tmp_path: Path) -> None:
    """One run that has them all: spanning, one-token, label-only, tail, repeated, never drawn."""
    run = SmallRun(
        lengths={"a": [4, 1, 18, 3, 3, 2], "b": [9, 30, 9]},
        sequence_length=4,
        block=3,
        phases=[(1, 2), (4, 4)],
        stages=[("main", "fresh", 4, [9, 1]), ("anneal", "reuse", 2, [1, 0])],
    )
    lock, expected = write_lock(run, tmp_path), listed(run)
    assert shown(lock, range(1, 7)) == expected
    told = [find_document(lock, f"a-{n}", source="a")[0] for n in range(6)]
    assert dict(found(lock, {"a": 6, "b": 3})) == expected
    assert {(seen.start, seen.stop) for seen in told[1].sightings} == {(4, 5), (0, 1)}
    assert len({seen.instance for seen in told[2].sightings}) == 5
    assert max(Counter(s.instance for s in told[2].sightings).values()) > 1
    assert {seen.stage for seen in told[0].sightings} == {"main", "anneal"}
    assert (told[5].status, told[5].left_out_tokens) == ("tail, never trained", 2)
    statuses = {find_document(lock, f"b-{n}", source="b")[0].status for n in range(3)}
    assert "never drawn in this mix" in statuses


def mix_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *overrides: str) -> Lock:
    """Resolve the small mix with other settings."""
    monkeypatch.chdir(tmp_path)
    return resolve_file(mix_stores.write_small_mix(tmp_path), overrides)


def everything_agrees(lock: Lock) -> Rows:
    """Compare `show`, `find` and the tokens that are read over a whole run; return it."""
    expected = shown(lock, range(1, lock.order.num_steps + 1))
    counts = {source: entry.documents for source, entry in lock.sources.items()}
    places = list(found(lock, counts))
    assert dict(places) == expected
    assert len(places) == len(expected), "find told a token of a row twice"
    with Batches(lock) as batches:
        stores = dict(zip(batches.order.sources, batches.stores, strict=True))
        for step in range(1, lock.order.num_steps + 1):
            for place, row in enumerate(batches.tokens(step).tolist()):
                for n, token in enumerate(row):
                    if (step, place, n) not in expected:
                        assert token == mix_stores.EOS, "padding is EOS"
                        continue
                    source, document, at = expected[step, place, n]
                    start, _ = stores[source].document_span(document)
                    assert stores[source].tokens(start + at, start + at + 1).tolist() == [token]
    return expected


@pytest.mark.parametrize(
    "overrides",
    [
        ["packing=bestfit"],
        ["packing=pad", "stages.main.tokens=640", "sources.docs.max_epochs=9"],
        ["window={chunk: 4, chunks: 3}"],
    ],
    ids=["bestfit", "pad", "window"],
)
def test_show_and_find_agree_for_other_packings_and_draws(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overrides: list[str]
) -> None:
    """However documents fill instances and instances are drawn, the two are inverse."""
    lock = mix_of(tmp_path, monkeypatch, *overrides)
    rows = everything_agrees(lock)
    assert len({key[:2] for key in rows}) == lock.order.num_instances


def test_show_and_find_agree_in_olmos_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In `order: olmo` rows have L tokens and no label of their own; find and show agree."""
    monkeypatch.chdir(tmp_path)
    mix_stores.write_small_mix(tmp_path)
    (tmp_path / "olmo.yaml").write_text(OLMO_MIX)
    lock = resolve_file(tmp_path / "olmo.yaml")
    rows = everything_agrees(lock)
    assert {n for _, _, n in rows} == set(range(16))
    assert max(epoch for step in (1, lock.order.num_steps) for epoch in epochs(lock, step)) == 1


def epochs(lock: Lock, step: int) -> set[int]:
    """Epochs that a step draws from."""
    return {row.epoch for row in step_rows(lock, step)}


OLMO_MIX = """\
name: olmo
seed: 6198
sequence_length: 16
order: olmo
batch_size: 8
sources:
  web: {store: stores/web@1, max_epochs: 2}
  code: {store: stores/code@1, max_epochs: 2}
stages:
  - {name: main, tokens: 2_000}
"""


def test_show_and_find_follow_the_ledger(lock_file: Path) -> None:
    """With a run's ledger both tell the changed order, and agree; before the cut nothing moves."""
    lock = read_lock(lock_file)
    ledger = Ledger(lock.order)
    rest = lock.order.stages[0].instances - 5 * lock.order.block
    quotas = {"web": rest - 10, "code": 10, "docs": 0}
    ledger.append("main", 5, quotas, inputs={})
    ledger.write(lock_file.parent / "ledger.jsonl")
    path = lock_file.parent / "ledger.jsonl"
    steps = range(1, lock.order.num_steps + 1)
    plain = {step: step_rows(lock, step) for step in steps}
    changed = {step: step_documents(lock, step, ledger=path) for step in steps}
    cut = open_order(lock).schedule.step_of(5 * lock.order.block)
    for step in steps:
        same = [r.model_dump(exclude={"documents"}) for r in changed[step]] == [
            r.model_dump() for r in plain[step]
        ]
        assert same or step >= cut
    assert changed[cut] != plain[cut]
    sighted = {
        (s.step, s.place, s.start, source, told.document)
        for source, entry in lock.sources.items()
        for n in range(entry.documents)
        for told in find_document(lock, f"{source}-{n}", ledger=path)
        for s in told.sightings
    }
    assert sighted == {
        (step, row.place, run.start, row.source, run.document)
        for step in steps
        for row in changed[step]
        for run in row.documents
    }
    # a run that is named brings its ledger along
    (path.parent / "metrics.jsonl").write_text('{"step": 20}\n')
    (told,) = find_document(lock, "web-3", at=str(path.parent))
    assert [told] == find_document(lock, "web-3", at=20, ledger=path)
    assert [told] != find_document(lock, "web-3", at=20)
