"""Whole runs in one process: what is committed, what a rerun does, what stops a run."""

import resource
import shutil
from pathlib import Path
from typing import Any

import builders
import orjson
import pyarrow.parquet as pq
import pytest

from dolmix.config import parse
from dolmix.errors import DataError, DolmixError, StoreError, TaskError, UsageError
from dolmix.pipeline import worker
from dolmix.pipeline.engine import open_tasks, run_pipeline
from dolmix.pipeline.findings import notes, status
from dolmix.pipeline.funnel import funnels
from dolmix.pipeline.plan import Plan
from dolmix.pipeline.spec import Pipeline
from dolmix.shards import open_store

GOPHER = {"type": "gopher"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Write web (a short text, an exact and a near duplicate) and docs (a copy of web's)."""
    near = builders.prose(3).replace("village", "hamlet", 1)
    records = [builders.document(n) for n in range(30)]
    records += [
        builders.document(100, "too short"),
        builders.document(101, "  " + builders.prose(1) + "\n"),
        builders.document(102, near),
    ]
    builders.write_jsonl(tmp_path / "in" / "web.jsonl.gz", records)
    docs = [builders.document(200 + n) for n in range(20)] + [builders.document(5)]
    builders.write_parquet(tmp_path / "in" / "docs.parquet", docs)
    return tmp_path


def run(folder: Path, tokenizer: Path, *overrides: str, **settings: Any) -> Plan:
    """Run the pipeline of this module's documents."""
    sources = {
        "web": {
            "inputs": [str(folder / "in" / "web.jsonl.gz")],
            "fields": {"url": "metadata.url"},
            "filters": [GOPHER],
        },
        "docs": {"inputs": [str(folder / "in" / "docs.parquet")]},
    }
    raw = builders.pipeline(
        folder / "run",
        tokenizer,
        **{
            "sources": sources,
            "dedup": [{"type": "exact"}, {"type": "minhash"}],
            "keep_columns": ["gopher.word_count"],
            **settings,
        },
    )
    return run_pipeline(parse(Pipeline, raw, overrides, origin="test"), quiet=True)


def digests(plan: Plan) -> dict[str, str]:
    """Content hash of every store of a run."""
    return {f.source: f.content_hash for f in funnels(plan)}


def test_a_run_commits_one_store_a_source(folder: Path, tiny_tokenizer: Path) -> None:
    """Every document is in a store or has a reason; provenance leads back to the input."""
    plan = run(folder, tiny_tokenizer)
    web, docs = funnels(plan)
    assert (web.documents, dict(web.dropped)) == (
        33,
        {"gopher.word_count_low": 1, "exact.duplicate": 1, "minhash.duplicate": 1},
    )
    assert (docs.documents, dict(docs.dropped)) == (21, {"exact.duplicate": 1})
    with open_store(folder / "run" / "stores" / "web@1") as store:
        assert store.num_documents == web.kept == 30
        row = store.provenance(store.find_id("doc-7"))[0]
        assert (row.path, row.record, row.url) == ("web.jsonl.gz", 7, "https://example.org/7")
        assert row.columns["gopher.word_count"] == 90


def test_duplicates_name_what_they_duplicate(folder: Path, tiny_tokenizer: Path) -> None:
    """A dropped duplicate points to the document that stays, across sources."""
    plan = run(folder, tiny_tokenizer)
    found = {}
    for path in (plan.pipeline.output / "decisions" / "duplicates").rglob("*.parquet"):
        for row in pq.read_table(path).to_pylist():
            found[row["id"]] = (row["reason"], row["duplicate_of_source"], row["duplicate_of_id"])
    assert found == {
        "doc-101": ("exact.duplicate", "web", "doc-1"),
        "doc-3": ("minhash.duplicate", "web", "doc-102"),  # as text, doc-102 comes first
        "doc-5": ("exact.duplicate", "web", "doc-5"),
    }


def test_keep_by_chooses_the_survivor(folder: Path, tiny_tokenizer: Path) -> None:
    """With docs first in priority, the copy in web goes instead."""
    sources = {
        "docs": {"inputs": [str(folder / "in" / "docs.parquet")]},
        "web": {"inputs": [str(folder / "in" / "web.jsonl.gz")], "filters": [GOPHER]},
    }
    by_name = {f.source: f for f in funnels(run(folder, tiny_tokenizer, sources=sources))}
    assert by_name["docs"].dropped["exact.duplicate"] == 0
    assert by_name["web"].dropped["exact.duplicate"] == 2


def test_a_rerun_does_nothing(folder: Path, tiny_tokenizer: Path) -> None:
    """Every task has its record; no output is written again."""
    plan = run(folder, tiny_tokenizer)
    before = {p: p.stat().st_mtime_ns for p in _outputs(plan)}
    again = run(folder, tiny_tokenizer)
    assert all(not open_tasks(again, name) for name in again.passes)
    assert {p: p.stat().st_mtime_ns for p in _outputs(again)} == before


def test_what_a_killed_run_left_hidden_is_removed(folder: Path, tiny_tokenizer: Path) -> None:
    """Half a file in a folder that the run writes, and half a plan beside them."""
    left = [
        folder / "run" / "records" / "filter" / ".a.json.0123456789ab.part",
        folder / "run" / ".plan.json.0123456789ab.part",
    ]
    for path in left:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{")
    run(folder, tiny_tokenizer)
    assert not [path for path in left if path.exists()]


def test_a_deleted_output_is_made_again_with_the_same_bytes(
    folder: Path, tiny_tokenizer: Path
) -> None:
    """Losing intermediates and a store costs their tasks, not the result."""
    plan = run(folder, tiny_tokenizer)
    want = digests(plan)
    shutil.rmtree(plan.pipeline.output / "work")
    shutil.rmtree(plan.pipeline.output / "stores" / "web@1")
    assert digests(run(folder, tiny_tokenizer)) == want


@pytest.mark.parametrize("part_bytes", [2000, 5000, 10**9])
def test_parts_do_not_change_a_store(folder: Path, tiny_tokenizer: Path, part_bytes: int) -> None:
    """Stores, records and provenance are the same however the input is cut."""
    records = [builders.document(n) for n in range(30)]
    builders.write_jsonl(folder / "in" / "plain.jsonl", [*records[:9], b"", *records[9:]])
    sources = {"web": {"inputs": [str(folder / "in" / "plain.jsonl")], "filters": [GOPHER]}}
    plan = run(folder, tiny_tokenizer, sources=sources, part_bytes=part_bytes)
    with open_store(folder / "run" / "stores" / "web@1") as store:
        rows = store.provenance(range(store.num_documents))
        assert {r.id: r.record for r in rows} == {f"doc-{n}": n + (n >= 9) for n in range(30)}
        hashes = {folder.name: store.content_hash}
    assert (len(plan.parts["web"]) > 1) == (part_bytes < 10**9)
    whole = run(folder, tiny_tokenizer, "output=" + str(folder / "whole"), sources=sources)
    assert digests(whole) == {"web": hashes[folder.name]}


def test_dropped_texts_are_written_when_asked(folder: Path, tiny_tokenizer: Path) -> None:
    """`keep_dropped` writes every dropped text with its reason and place."""
    plan = run(folder, tiny_tokenizer, keep_dropped=True)
    files = (plan.pipeline.output / "excluded" / "web").glob("*.parquet")
    rows = [row for path in files for row in pq.read_table(path).to_pylist()]
    assert {(r["id"], r["reason"]) for r in rows} == {
        ("doc-100", "gopher.word_count_low"),
        ("doc-101", "exact.duplicate"),
        ("doc-3", "minhash.duplicate"),
    }
    assert next(r["text"] for r in rows if r["id"] == "doc-100") == "too short"


def test_bad_records_are_set_aside_and_counted(folder: Path, tiny_tokenizer: Path) -> None:
    """Under `skip` a broken line is kept with file, line and cause; the rest goes on."""
    lines = [builders.document(1), b'{"id": "x", "text": ', b'{"id": "y"}', builders.document(2)]
    builders.write_jsonl(folder / "in" / "broken.jsonl", lines)
    sources = {"web": {"inputs": [str(folder / "in" / "broken.jsonl")]}}
    skip = {"policy": "skip", "max_frac": 0.5}
    plan = run(folder, tiny_tokenizer, sources=sources, on_bad_record=skip, keep_columns=[])
    assert (funnels(plan)[0].bad_records, funnels(plan)[0].kept) == (2, 2)
    aside = next((plan.pipeline.output / "bad-records" / "web").iterdir()).read_bytes()
    rows = [orjson.loads(line) for line in aside.splitlines()]
    assert [(r["path"], r["line"]) for r in rows] == [("broken.jsonl", 2), ("broken.jsonl", 3)]
    assert rows[0]["raw"] == '{"id": "x", "text": '
    assert "text" in rows[1]["cause"]


def test_too_many_bad_records_stop_the_run(folder: Path, tiny_tokenizer: Path) -> None:
    """Over the cap the run fails with the numbers, and no store is committed."""
    builders.write_jsonl(folder / "in" / "broken.jsonl", [builders.document(1), b"nonsense"])
    sources = {"web": {"inputs": [str(folder / "in" / "broken.jsonl")]}}
    skip = {"policy": "skip", "max_frac": 0.1}
    with pytest.raises(DataError, match=r"sources\.web: 1 of 2 records cannot be read \(50\.00%\)"):
        run(folder, tiny_tokenizer, sources=sources, on_bad_record=skip, keep_columns=[])
    assert not (folder / "run" / "stores").exists()


def test_a_failing_task_lets_the_others_finish(folder: Path, tiny_tokenizer: Path) -> None:
    """Under `fail` the run stops at the barrier and names file, line and cause; records stay."""
    builders.write_jsonl(folder / "in" / "broken.jsonl", [builders.document(1), b"nonsense"])
    sources = {
        "bad": {"inputs": [str(folder / "in" / "broken.jsonl")]},
        "web": {"inputs": [str(folder / "in" / "web.jsonl.gz")]},
    }
    with pytest.raises(TaskError) as caught:
        run(folder, tiny_tokenizer, sources=sources, keep_columns=[])
    assert "filter: 1 of 2 tasks failed" in str(caught.value)
    assert "broken.jsonl" in str(caught.value)
    assert len(list((folder / "run" / "records" / "filter").iterdir())) == 1


def test_other_content_under_a_committed_version_is_refused(
    folder: Path, tiny_tokenizer: Path
) -> None:
    """A changed pipeline cannot replace `web@1`; the message says to raise the version."""
    run(folder, tiny_tokenizer)
    with pytest.raises(DolmixError, match="version"):
        run(folder, tiny_tokenizer, "sources.web.filters.gopher.min_word_count=95")
    run(folder, tiny_tokenizer, "sources.web.filters.gopher.min_word_count=95", "seed=8",
        "sources.web.version=2", "sources.docs.version=2")  # fmt: skip


def test_a_store_of_another_configuration_is_not_taken_for_ours(
    folder: Path, tiny_tokenizer: Path
) -> None:
    """A store pass counts as done only if the store holds the content that it committed."""
    stricter = "sources.web.filters.gopher.min_word_count=91"
    path = str(folder / "in" / "web.jsonl.gz")
    sources = {"web": {"inputs": [path], "filters": [GOPHER]}}
    store = folder / "run" / "stores" / "web@1"
    first = digests(run(folder, tiny_tokenizer, sources=sources))
    shutil.rmtree(store)
    assert digests(run(folder, tiny_tokenizer, stricter, sources=sources)) != first
    with pytest.raises(DolmixError, match="version"):
        run(folder, tiny_tokenizer, sources=sources)
    shutil.rmtree(store)
    assert digests(run(folder, tiny_tokenizer, sources=sources)) == first


def test_results_of_another_configuration_are_set_aside(folder: Path, tiny_tokenizer: Path) -> None:
    """After a run, reading every file of decisions/ counts each document once."""
    run(folder, tiny_tokenizer)
    versions = ("sources.web.version=2", "sources.docs.version=2")
    plan = run(folder, tiny_tokenizer, "sources.web.filters.gopher.min_word_count=80", *versions)
    files = list((plan.pipeline.output / "decisions" / "web").glob("*.parquet"))
    assert sum(pq.read_metadata(path).num_rows for path in files) == 33
    assert list((plan.pipeline.output / "work" / "old" / "decisions" / "web").iterdir())


def test_an_input_changed_during_a_run_is_noticed(
    folder: Path, tiny_tokenizer: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Documents that the filters did not judge never reach a store: the run fails and says why."""
    from dolmix.pipeline import engine

    path = folder / "in" / "plain.jsonl"
    records = [builders.document(n) for n in range(30)]
    builders.write_jsonl(path, records)
    sources = {"web": {"inputs": [str(path)], "filters": [GOPHER]}}

    def change_input(plan: Plan) -> None:
        """Swap the file after the filter pass."""
        del plan
        builders.write_jsonl(path, records[:9] + records[10:])

    monkeypatch.setattr(engine, "check_bad_records", change_input)
    with pytest.raises(TaskError, match=r"plain\.jsonl"):
        run(folder, tiny_tokenizer, sources=sources)
    assert not (folder / "run" / "stores").exists()


def test_an_output_that_cannot_be_written_is_explained(folder: Path, tiny_tokenizer: Path) -> None:
    """A folder below a file is no output: one sentence, no traceback."""
    (folder / "file").write_text("x")
    with pytest.raises(StoreError, match="cannot write here"):
        run(folder, tiny_tokenizer, f"output={folder / 'file' / 'run'}")


def test_many_parts_need_few_open_files(folder: Path, tiny_tokenizer: Path) -> None:
    """A source of more parts than a process may have open files is committed all the same."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    spare = sum(1 for _ in Path("/dev/fd").iterdir()) + 70
    records = [builders.document(n) for n in range(130)]
    builders.write_jsonl(folder / "in" / "many.jsonl", records)
    sources = {"web": {"inputs": [str(folder / "in" / "many.jsonl")]}}
    resource.setrlimit(resource.RLIMIT_NOFILE, (spare, hard))
    try:
        plan = run(folder, tiny_tokenizer, sources=sources, part_bytes=700, keep_columns=[])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert len(plan.parts["web"]) > 100
    assert funnels(plan)[0].kept == 130


def test_memory_goes_back_from_pass_to_pass(
    folder: Path, tiny_tokenizer: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once between two passes that have tasks, in the process that runs them; not for the first."""
    begun: list[str] = []
    monkeypatch.setattr(worker, "return_memory", lambda: begun.append("pass"))
    worker._plan_once.cache_clear()
    plan = run(folder, tiny_tokenizer, executor={"workers": 1})
    assert set(plan.passes) == {
        *("filter", "signatures", "candidates", "clusters", "tokenize", "store")
    }
    assert len(begun) == 4  # filter tasks sign on the way: no signature task is left


def test_rules_that_decide_nothing_are_reported(folder: Path, tiny_tokenizer: Path) -> None:
    """A rule that never fired is named, and so is a filter that dropped everything."""
    plan = run(folder, tiny_tokenizer)
    assert any("never fired" in line and "gopher" in line for line in notes(plan))
    sources = {
        "web": {
            "inputs": [str(folder / "in" / "web.jsonl.gz")],
            "filters": [{"type": "gopher", "min_word_count": 1000}],
        }
    }
    other = run(folder, tiny_tokenizer, f"output={folder / 'none'}", sources=sources)
    assert "web: gopher dropped all 33 documents" in notes(other)


def test_status_counts_tasks(folder: Path, tiny_tokenizer: Path) -> None:
    """A finished run has all tasks done; a folder without a plan is refused."""
    run(folder, tiny_tokenizer)
    facts = status(folder / "run")
    assert all(p["done"] == p["tasks"] for p in facts["passes"])
    with pytest.raises(UsageError, match=r"no plan\.json"):
        status(folder)
    (folder / "run" / "plan.json").write_text('{"pipeline": ')
    with pytest.raises(UsageError, match="no plan that this version"):
        status(folder / "run")


def _outputs(plan: Plan) -> list[Path]:
    """Files of results and records."""
    folders = ("records", "decisions", "stores", "work/tokens", "work/signatures")
    return sorted(p for f in folders for p in (plan.pipeline.output / f).rglob("*") if p.is_file())
