"""Whole runs with paragraph dedup: what the stores hold, however the work is cut or killed."""

import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import builders
import naive_edits
import naive_paragraphs as naive
import pyarrow.parquet as pq
import pytest
from commands import environment

from dolmix.config import parse
from dolmix.errors import ConfigError, DataError, TaskError
from dolmix.pipeline.engine import run_pipeline
from dolmix.pipeline.findings import notes
from dolmix.pipeline.funnel import funnels
from dolmix.pipeline.plan import Plan, make_plan
from dolmix.pipeline.spec import Pipeline
from dolmix.shards import open_store
from dolmix.tokenizer import Tokenizer

STEP: dict[str, Any] = {"type": "paragraphs", "tasks": 3}
FEW_WORDS: dict[str, Any] = {"type": "gopher", "min_word_count": 10_000}
PASSES = ("paragraph_hashes", "paragraph_groups", "paragraph_marks")


def text_of(number: int) -> str:
    """Five paragraphs of a stock of some dozens, and one too short to compare."""
    paragraphs = [builders.prose(number * k % 53, 12) for k in range(1, 6)]
    return "\n\n".join([*paragraphs, "The end."])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two sources of two files each, a repeated document and an empty one among them."""
    for source, first in (("web", 0), ("wiki", 100)):
        for file in range(2):
            numbers = range(first + 20 * file, first + 20 * file + 20)
            records = [builders.document(n, text_of(n)) for n in numbers]
            builders.write_jsonl(tmp_path / "in" / source / f"{file}.jsonl", records)
    odd = [builders.document(900, text_of(3)), builders.document(901, "")]
    builders.write_jsonl(tmp_path / "in" / "web" / "2.jsonl", odd)
    return tmp_path


def pipeline(folder: Path, tokenizer: Path, run: str = "run", **settings: Any) -> Pipeline:
    """Both sources; exact dedup, then paragraphs."""
    sources = {n: {"inputs": [str(folder / "in" / n / "*.jsonl")]} for n in ("web", "wiki")}
    dedup = [{"type": "exact"}, STEP]
    raw = builders.pipeline(
        folder / run, tokenizer, **{"sources": sources, "dedup": dedup, **settings}
    )
    return parse(Pipeline, raw, origin="test")


def stored(plan: Plan) -> dict[str, str]:
    """Text by id of every document of both stores, decoded from its tokens."""
    tokenizer = Tokenizer(plan.pipeline.tokenizer)
    found = {}
    for name in plan.pipeline.sources:
        with open_store(plan.pipeline.output / "stores" / f"{name}@1") as store:
            for number in range(store.num_documents):
                text = tokenizer.decode(store.tokens(*store.document_span(number)))
                found[store.provenance([number])[0].id] = text.removesuffix(builders.EOS)
    return found


def expected(texts: Iterable[tuple[str, str]], *, paragraphs: bool = True) -> dict[str, str]:
    """Cut documents in corpus order as the twin does; those with nothing left are gone."""
    left = {}
    documents = list(texts)
    units = [
        naive.units(text, paragraphs=paragraphs, normalize="whitespace", min_bytes=20)
        for _, text in documents
    ]
    marks = naive.duplicates(units)
    for (name, text), found, out in zip(documents, units, marks, strict=True):
        if not (found and all(out)):
            left[name] = naive.without(text, found, out)
    return left


def corpus() -> list[tuple[str, str]]:
    """All documents in corpus order, less the one that exact dedup drops."""
    numbers = [*range(40), *range(100, 140)]
    documents = [(f"doc-{n}", text_of(n)) for n in numbers]
    documents.insert(40, ("doc-901", ""))
    seen: set[str] = set()
    return [(n, t) for n, t in documents if not (t in seen or seen.add(t))]  # type: ignore[func-returns-value]


def hashes(plan: Plan) -> list[str]:
    """Content of both stores."""
    return [funnel.content_hash for funnel in funnels(plan)]


def test_stores_hold_what_the_twin_leaves(folder: Path, tiny_tokenizer: Path) -> None:
    """First occurrences over both sources stay, all later paragraphs are gone from the tokens."""
    plan = run_pipeline(pipeline(folder, tiny_tokenizer), quiet=True)
    assert stored(plan) == expected(corpus())
    web, wiki = funnels(plan)
    assert web.dropped["exact.duplicate"] == 1
    for funnel in (web, wiki):
        assert funnel.kept + sum(funnel.dropped.values()) == funnel.documents
        assert funnel.edits["paragraphs"]["documents"] > 0
    assert web.judged["paragraphs"] == 41
    assert "edited " in wiki.edit_of("paragraphs")


@pytest.mark.parametrize(
    "settings",
    [
        {"dedup": [{"type": "exact"}, {**STEP, "tasks": 1}]},
        {"dedup": [{"type": "exact"}, {**STEP, "tasks": 8}], "part_bytes": 6000},
        {"executor": {"type": "local", "workers": 2}, "part_bytes": 9000},
    ],
    ids=["one task", "eight tasks, small parts", "two workers"],
)
def test_the_cut_of_the_work_changes_nothing(
    folder: Path, tiny_tokenizer: Path, settings: dict[str, Any]
) -> None:
    """Stores are the same for any number of tasks, parts and workers."""
    plain = run_pipeline(pipeline(folder, tiny_tokenizer), quiet=True)
    other = pipeline(folder, tiny_tokenizer, "other", **settings)
    assert hashes(run_pipeline(other, quiet=True)) == hashes(plain)


def test_lines_and_a_filter_s_edits(folder: Path, tiny_tokenizer: Path) -> None:
    """Units are those of the texts that filters left, and the edit is one of the original."""
    c4 = {"type": "c4", "preset": "dolma-1.2"}
    inputs = [str(folder / "in" / "lines.jsonl")]
    good = [f"{builders.prose(n, 12)}" for n in range(6)]
    texts = [
        f"no end\n{good[0]}\n{good[1]}",
        f"{good[1]}\nno end either\n{good[2]}\n{good[0]}",
        f"{good[0]}\nno end\n{good[1]}",
    ]
    builders.write_jsonl(
        folder / "in" / "lines.jsonl", [builders.document(n, t) for n, t in enumerate(texts)]
    )
    sources = {"web": {"inputs": inputs, "filters": [c4]}}
    step = {**STEP, "unit": "line"}
    plan = run_pipeline(pipeline(folder, tiny_tokenizer, sources=sources, dedup=[step]), quiet=True)
    assert stored(plan) == {"doc-0": f"{good[0]}\n{good[1]}", "doc-1": good[2]}
    (marks,) = (folder / "run" / "decisions" / "paragraphs" / "web").glob("*.parquet")
    rows = pq.read_table(marks).to_pylist()
    spans = [[(s["start"], s["stop"]) for s in row["paragraphs.edit"] or []] for row in rows]
    kept = naive_edits.edited(texts[1], [(start, stop, 0) for start, stop in spans[1]])
    assert kept == good[2]
    assert [row["reason"] for row in rows] == [None, None, "paragraphs.all_duplicate"]
    assert spans[0] == []


def test_a_bloom_filter_gives_the_same_where_it_errs_never(
    folder: Path, tiny_tokenizer: Path
) -> None:
    """At a rate of 10^-12 a few hundred units meet no false positive; the filters are kept."""
    bloom = {**STEP, "method": "bloom", "capacity": 1000, "false_positive_rate": 1e-12}
    plain = run_pipeline(pipeline(folder, tiny_tokenizer), quiet=True)
    other = pipeline(folder, tiny_tokenizer, "other", dedup=[{"type": "exact"}, bloom])
    assert hashes(run_pipeline(other, quiet=True)) == hashes(plain)
    assert len(list((folder / "other" / "work" / "paragraphs").rglob("*.bloom"))) == 3


def test_a_run_is_compared_with_an_earlier_one(folder: Path, tiny_tokenizer: Path) -> None:
    """New data against an earlier run's filters loses what both together would have lost.

    The earlier run is left alone; filters of other settings are refused.
    """
    bloom = {**STEP, "method": "bloom", "capacity": 1000, "false_positive_rate": 1e-12}
    both = pipeline(folder, tiny_tokenizer, "both", dedup=[bloom])
    sources = {n: {"inputs": [str(folder / "in" / n / "*.jsonl")]} for n in ("web", "wiki")}
    old, new = ({name: sources[name]} for name in sources)
    first = pipeline(folder, tiny_tokenizer, "old", sources=old, dedup=[bloom])
    run_pipeline(first, quiet=True)
    filters = folder / "old" / "work" / "paragraphs" / "ranges"
    before = {path: path.read_bytes() for path in filters.iterdir()}
    against = {**bloom, "against": str(filters)}
    second = pipeline(folder, tiny_tokenizer, "new", sources=new, dedup=[against])
    whole = run_pipeline(both, quiet=True)
    assert hashes(run_pipeline(second, quiet=True)) == hashes(whole)[1:]
    assert before == {path: path.read_bytes() for path in filters.iterdir()}
    for settings, cause in (
        ({"unit": "line"}, r"0000-.*\.bloom: .*unit line.*and of.*unit paragraph"),
        ({"capacity": 2000}, "bits"),
        ({"tasks": 2}, "3 files .*2 ranges"),
        ({"against": str(folder)}, "0 files"),
    ):
        other = pipeline(
            folder, tiny_tokenizer, "other", sources=new, dedup=[{**against, **settings}]
        )
        with pytest.raises((TaskError, DataError), match=cause):
            run_pipeline(other, quiet=True)


def test_an_overfull_filter_fails_with_what_to_do(folder: Path, tiny_tokenizer: Path) -> None:
    """More units than `capacity` would break the stated rate: the run stops and says so."""
    bloom = {**STEP, "tasks": 1, "method": "bloom", "capacity": 20}
    with pytest.raises(TaskError, match=r"made for 20; .*Raise capacity above 20"):
        run_pipeline(pipeline(folder, tiny_tokenizer, dedup=[bloom]), quiet=True)


def test_a_threshold_redoes_no_hash(folder: Path, tiny_tokenizer: Path) -> None:
    """Keys of a pass depend on what its result does: deciding otherwise compares nothing again."""
    steps = (STEP, {**STEP, "max_duplicate_frac": 0.5}, {**STEP, "tasks": 2})
    plans = [make_plan(pipeline(folder, tiny_tokenizer, dedup=[step])) for step in steps]
    first, strict, recut = ({p: [t.key for t in plan.passes[p]] for p in PASSES} for plan in plans)
    assert {p for p in PASSES if first[p] == strict[p]} == set(PASSES[:2])
    assert {p for p in PASSES if first[p] == recut[p]} == set(PASSES[:1])


def test_too_large_a_share_of_duplicates_drops(folder: Path, tiny_tokenizer: Path) -> None:
    """Documents beyond `max_duplicate_frac` go, with a reason of their own and their share."""
    step = {**STEP, "max_duplicate_frac": 0.5, "name": "said_before"}
    plan = run_pipeline(pipeline(folder, tiny_tokenizer, dedup=[step]), quiet=True)
    paths = (folder / "run" / "decisions" / "paragraphs").rglob("*.parquet")
    rows = [row for path in sorted(paths) for row in pq.read_table(path).to_pylist()]
    shares = [row["said_before.duplicate_frac"] for row in rows]
    reasons = [row["reason"] for row in rows]
    assert {*reasons} == {None, "said_before.duplicate_frac"} | {
        "said_before.all_duplicate" for share in shares if share == 1.0
    }
    assert [r is not None for r in reasons] == [share > 0.5 for share in shares]
    counted: Counter[str] = sum((funnel.dropped for funnel in funnels(plan)), Counter())
    assert counted == Counter(reason for reason in reasons if reason)


def test_alarms_are_said(folder: Path, tiny_tokenizer: Path) -> None:
    """A step that finds nothing, and one that drops more than `warn_drop_frac`, are noted."""
    nothing = run_pipeline(
        pipeline(folder, tiny_tokenizer, dedup=[{**STEP, "min_bytes": 10_000}]), quiet=True
    )
    assert any("found no duplicate among 82 documents: 0 of " in note for note in notes(nothing))
    step = {**STEP, "max_duplicate_frac": 0.01}
    much = pipeline(folder, tiny_tokenizer, "much", dedup=[step], warn_drop_frac=0.3)
    said = notes(run_pipeline(much, quiet=True))
    assert any("paragraphs dropped " in note and "stand earlier in" in note for note in said)


def test_urls_drop_what_text_does_not(folder: Path, tiny_tokenizer: Path) -> None:
    """Two pages of one address are one, whatever they say; without addresses nothing matches."""
    urls = ["https://www.example.org/a/", "http://example.org/a?utm_source=x", "", None]
    records = [
        {"id": f"doc-{n}", "text": builders.prose(n), "metadata": {"url": url}}
        for n, url in enumerate(urls)
    ]
    path = builders.write_jsonl(folder / "in" / "pages.jsonl", records)
    source = {"inputs": [str(path)], "fields": {"url": "metadata.url"}}
    plan = run_pipeline(
        pipeline(folder, tiny_tokenizer, sources={"web": source}, dedup=[{"type": "urls"}]),
        quiet=True,
    )
    assert funnels(plan)[0].dropped == {"urls.duplicate": 1}
    assert sorted(stored(plan)) == ["doc-0", "doc-2", "doc-3"]


@pytest.mark.parametrize("texts", [[""], ["", " \n"], ["Short."]], ids=["empty", "blank", "short"])
def test_parts_without_units_stay(folder: Path, tiny_tokenizer: Path, texts: list[str]) -> None:
    """Documents without anything to compare are kept, in a part that has no others too."""
    for name, rows in (("a", texts), ("b", ["x" * 40]), ("c", [text_of(1), text_of(1)])):
        records = [builders.document(n, text) | {"id": f"{name}{n}"} for n, text in enumerate(rows)]
        builders.write_jsonl(folder / "in" / "few" / f"{name}.jsonl", records)
    inputs = {"inputs": [str(folder / "in" / "few" / "*.jsonl")]}
    dropping = {"inputs": [str(folder / "in" / "few" / "c.jsonl")], "filters": [FEW_WORDS]}
    sources = {"few": inputs, "none": dropping}
    plan = run_pipeline(pipeline(folder, tiny_tokenizer, sources=sources, dedup=[STEP]), quiet=True)
    left = {**{f"a{n}": text for n, text in enumerate(texts)}, "b0": "x" * 40, "c0": text_of(1)}
    # its last paragraph, too short to compare, is all that stays of the second copy
    assert stored(plan) == {**left, "c1": "The end."}


def test_paragraphs_come_last(folder: Path, tiny_tokenizer: Path) -> None:
    """A step behind it would see other texts than it: refused, with the way out."""
    for dedup in ([STEP, {"type": "exact"}], [STEP, {**STEP, "name": "again"}]):
        with pytest.raises(ConfigError, match="put it last, and only one such step"):
            pipeline(folder, tiny_tokenizer, dedup=dedup)


KILLED = """
import os, signal, sys
from dolmix.config import load
from dolmix.files import commit
from dolmix.pipeline import worker
from dolmix.pipeline.engine import run_pipeline
from dolmix.pipeline.spec import Pipeline

publish, run_task = commit.publish, worker.run_task

def die(attempt, final):
    if at_work == sys.argv[2] and final.suffix != ".json":
        os.kill(os.getpid(), signal.SIGKILL)
    publish(attempt, final)

def watch(plan, task, **how):
    global at_work
    at_work = task.pass_name
    run_task(plan, task, **how)

at_work, commit.publish, worker.run_task = "", die, watch
run_pipeline(load(Pipeline, sys.argv[1]), quiet=True)
"""


def test_a_kill_in_any_pass_changes_nothing(folder: Path, tiny_tokenizer: Path) -> None:
    """Kill -9 while each of the three passes writes; the runs after it end in the same stores."""
    plain = run_pipeline(pipeline(folder, tiny_tokenizer), quiet=True)
    again = pipeline(folder, tiny_tokenizer, "again")
    path = folder / "pipeline.yaml"
    path.write_text(again.model_dump_json())
    for name in PASSES:
        done = subprocess.run(
            [sys.executable, "-c", KILLED, str(path), name],
            env=environment(),
            capture_output=True,
            check=False,
        )
        assert done.returncode == -9, done.stderr
    assert hashes(run_pipeline(again, quiet=True)) == hashes(plain)
    assert not list((folder / "again" / "work" / "paragraphs").rglob("*.part"))


def test_what_is_not_looked_for_is_said(folder: Path, tiny_tokenizer: Path) -> None:
    """A run repeats what decontamination cannot see, and drops what it finds."""
    questions = [
        {"task_name": "quiz", "native_id": "q1", "doc": {"query": builders.prose(7, 14)}},
        {"task_name": "quiz", "native_id": "q2", "doc": {"query": "Too short?"}},
    ]
    builders.write_jsonl(folder / "quiz.jsonl", questions)
    filters = [{"type": "decontaminate", "sets": [str(folder / "quiz.jsonl")]}]
    inputs = [str(folder / "in" / "new.jsonl")]
    planted = f"{builders.prose(8)} {builders.prose(7, 14)} {builders.prose(9)}"
    builders.write_jsonl(
        folder / "in" / "new.jsonl", [builders.document(0, planted), builders.document(1)]
    )
    sources = {"web": {"inputs": inputs, "filters": filters}}
    plan = run_pipeline(pipeline(folder, tiny_tokenizer, sources=sources, dedup=[]), quiet=True)
    assert funnels(plan)[0].dropped == {"decontaminate.contaminated": 1}
    said = "1 of the 2 questions of quiz have fewer than 8 words and are not looked for"
    assert f"web: decontaminate: {said}" in notes(plan)
