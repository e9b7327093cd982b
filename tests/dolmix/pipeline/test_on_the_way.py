"""What the filter task makes on the way is what later tasks would make by reading again."""

import shutil
from pathlib import Path
from threading import current_thread, main_thread
from typing import Any

import builders
import pyarrow.parquet as pq
import pytest
from dedup_runs import pipeline, run, run_one, source, varied

from dolmix.document import Columns, TextBatch
from dolmix.filters.gopher import Gopher
from dolmix.pipeline.plan import Plan, make_plan
from dolmix.pipeline.records import RecordBook
from dolmix.pipeline.scratch import TEXTS
from dolmix.pipeline.spec import Pipeline
from dolmix.pipeline.warm import warm_up

GOPHER = {"type": "gopher", "min_word_count": 60}
LINES = {"type": "c4", "terminal_punct": False, "min_sentences": None}
DEDUP = [{"type": "exact"}, {"type": "minhash", "bands": 8, "rows": 4}]


def made(folder: Path, tokenizer: Path, **settings: Any) -> Pipeline:
    """Two sources of several parts; some documents are short, some repeat, some are edited."""
    records = [
        builders.document(n, varied(n // 2, n % 2 * 17) + "\nlorem { }\nshort" * (n % 3 == 0))
        for n in range(60)
    ]
    records += [builders.document(100 + n, "too short") for n in range(5)]
    sources = {
        "web": source(folder, "web", records) | {"filters": [LINES, GOPHER]},
        "docs": source(folder, "docs", records[::4]) | {"filters": [GOPHER]},
    }
    return pipeline(folder, tokenizer, "run", **{"sources": sources, "dedup": DEDUP, **settings})


def outputs(plan: Plan, pass_name: str) -> dict[str, bytes]:
    """Bytes of every output of a pass."""
    book = RecordBook(plan.pipeline.output)
    records = [book.read(pass_name, task.key) for task in plan.passes[pass_name]]
    paths = [plan.pipeline.output / path for r in records for path in r.outputs.values()]
    return {path.name: path.read_bytes() for path in paths}


def counts(plan: Plan, pass_name: str) -> list[Any]:
    """Give the counts of every task of a pass."""
    book = RecordBook(plan.pipeline.output)
    return [book.read(pass_name, task.key).counts for task in plan.passes[pass_name]]


def done_again(
    plan: Plan, pass_name: str, *, threads: int = 1
) -> tuple[dict[str, bytes], list[Any]]:
    """Forget a pass and run its tasks."""
    shutil.rmtree(plan.pipeline.output / "records" / pass_name)
    for task in plan.passes[pass_name]:
        run_one(plan, task, threads=threads)
    return outputs(plan, pass_name), counts(plan, pass_name)


@pytest.mark.parametrize("tag", ["reached", "all"])
def test_signatures_are_those_of_the_signature_pass(
    tmp_path: Path, tiny_tokenizer: Path, tag: str
) -> None:
    """Filter tasks leave every signature task done; doing one by itself gives the same bytes."""
    plan = run(made(tmp_path, tiny_tokenizer, tag=tag), last="filter")
    first = outputs(plan, "signatures"), counts(plan, "signatures")
    assert sum(one["documents"] for one in first[1]) > 50
    assert len(plan.passes["signatures"]) > 3
    assert done_again(plan, "signatures") == first


def test_texts_set_aside_are_those_that_reading_gives(tmp_path: Path, tiny_tokenizer: Path) -> None:
    """Tokens and rows are the same bytes from the texts set aside and from the inputs."""
    plan = run(made(tmp_path, tiny_tokenizer), last="tokenize")
    aside = list((plan.pipeline.output / TEXTS).rglob("*.arrow"))
    assert len(aside) == len(plan.passes["filter"])
    first = outputs(plan, "tokenize")
    shutil.rmtree(plan.pipeline.output / TEXTS)
    again = done_again(plan, "tokenize")[0]
    tokens = {name for name in first if name.endswith(".tok")}
    assert {n: first[n] for n in tokens} == {n: again[n] for n in tokens}
    assert first.keys() == again.keys()


def many(folder: Path, tokenizer: Path) -> Pipeline:
    """One part of several batches, of which each drops and edits something."""
    records = [
        builders.document(n, "too short" if n % 7 == 0 else varied(n, n % 5) + "\nlorem { }")
        for n in range(4500)
    ]
    web = source(folder, "many", records) | {"filters": [LINES, GOPHER]}
    return made(folder, tokenizer, sources={"web": web}, part_bytes=1 << 30)


def test_threads_of_a_filter_task_change_nothing(tmp_path: Path, tiny_tokenizer: Path) -> None:
    """Decisions, signatures and texts set aside are the same bytes, in one thread or in four."""
    plan = run(many(tmp_path, tiny_tokenizer), last="filter")
    folder = plan.pipeline.output

    def everything() -> list[Any]:
        (aside,) = (folder / TEXTS).rglob("*.arrow")
        (decided,) = (folder / "decisions").rglob("*.parquet")
        assert pq.ParquetFile(decided).num_row_groups > 4
        passes = ("filter", "signatures")
        return [*((outputs(plan, p), counts(plan, p)) for p in passes), aside.read_bytes()]

    first = everything()
    for name in ("decisions", "work/signatures", "records/signatures", TEXTS):
        shutil.rmtree(folder / name)
    done_again(plan, "filter", threads=4)
    assert everything() == first


@pytest.mark.parametrize("state", [False, True])
def test_a_filter_with_a_state_is_asked_in_the_tasks_own_thread(
    tmp_path: Path, tiny_tokenizer: Path, monkeypatch: pytest.MonkeyPatch, state: bool
) -> None:
    """However many threads there are; others are asked in threads, from the second batch on."""
    asked: list[bool] = []
    columns = Gopher.columns

    def watched(self: Gopher, texts: TextBatch) -> Columns:
        asked.append(current_thread() is main_thread())
        return columns(self, texts)

    monkeypatch.setattr(Gopher, "has_state", state)
    monkeypatch.setattr(Gopher, "columns", watched)
    plan = make_plan(many(tmp_path, tiny_tokenizer))
    plan.write()
    run_one(plan, plan.passes["filter"][0], threads=4)
    assert asked[0]  # loads what there is to load, once
    assert set(asked[1:]) == {state}
    assert len(asked) > 4


def test_texts_are_not_set_aside_where_others_are_needed(
    tmp_path: Path, tiny_tokenizer: Path
) -> None:
    """Where dropped texts are written too, the tokenize pass reads everything anyway."""
    plan = run(made(tmp_path, tiny_tokenizer, keep_dropped=True), last="filter")
    assert not (plan.pipeline.output / TEXTS).exists()


def test_a_change_of_what_dedup_chooses_signs_nothing_again(
    tmp_path: Path, tiny_tokenizer: Path
) -> None:
    """Other `keep_by`: filter and signature tasks keep their records."""
    plan = run(made(tmp_path, tiny_tokenizer))
    book = RecordBook(plan.pipeline.output)
    keep_by = {"keep_by": ("-gopher.word_count", "id")}
    chosen = tuple(step.model_copy(update=keep_by) for step in plan.pipeline.dedup)
    changed = make_plan(plan.pipeline.model_copy(update={"dedup": chosen}))
    for name in ("filter", "signatures"):
        assert [t.key for t in changed.passes[name]] == [t.key for t in plan.passes[name]]
        assert all(book.has(name, task.key) for task in changed.passes[name])
    assert changed.passes["clusters"][0].key != plan.passes["clusters"][0].key


def test_loading_ahead_asks_every_filter_and_step_once(
    tmp_path: Path, tiny_tokenizer: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each filter and each dedup step gets a text; one that fails stops none of the others."""
    from dolmix.dedup import MinHash
    from dolmix.filters.c4 import C4

    asked: list[str] = []

    def fail(step: object, texts: TextBatch) -> None:
        asked.append(f"{type(step).__name__} {len(texts)}")
        raise OSError("not here")

    for kind, method in ((C4, "columns"), (Gopher, "columns"), (MinHash, "sign")):
        monkeypatch.setattr(kind, method, fail)
    warm_up(made(tmp_path, tiny_tokenizer))
    assert asked == ["C4 1", "Gopher 1", "Gopher 1", "MinHash 1"]
