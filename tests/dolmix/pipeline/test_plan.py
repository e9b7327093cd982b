"""The plan: keys change exactly when results do."""

import os
from pathlib import Path
from typing import Any

import builders
import pytest

from dolmix.config import parse
from dolmix.errors import ConfigError, DataError, UsageError
from dolmix.pipeline.plan import PASSES, Plan, make_plan, read_plan
from dolmix.pipeline.spec import Pipeline


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Two sources of a few documents each."""
    records = [builders.document(n) for n in range(40)]
    builders.write_jsonl(tmp_path / "in" / "web.jsonl", records)
    builders.write_parquet(tmp_path / "in" / "docs.parquet", records)
    return tmp_path


def plan_of(corpus: Path, tokenizer: Path, **settings: Any) -> Plan:
    """Plan a run over the corpus."""
    sources = {
        "web": {"inputs": [str(corpus / "in" / "*.jsonl")], "filters": [{"type": "gopher"}]},
        "docs": {"inputs": [str(corpus / "in" / "*.parquet")]},
    }
    raw = builders.pipeline(
        corpus / "run",
        tokenizer,
        **{"sources": sources, "dedup": [{"type": "exact"}], "part_bytes": 4096, **settings},
    )
    return make_plan(parse(Pipeline, raw, origin="test"))


def keys(plan: Plan) -> dict[str, list[str]]:
    """Task keys by pass."""
    return {name: [t.key for t in tasks] for name, tasks in plan.passes.items()}


def test_a_plan_is_a_function_of_file_and_inputs(corpus: Path, tiny_tokenizer: Path) -> None:
    """Planning twice gives the same tasks; large files are cut into several."""
    first, second = plan_of(corpus, tiny_tokenizer), plan_of(corpus, tiny_tokenizer)
    assert keys(first) == keys(second)
    assert list(first.passes) == [name for name in PASSES if name in first.passes]
    assert len(first.parts["web"]) > 2


def test_a_plan_has_the_passes_that_it_needs(corpus: Path, tiny_tokenizer: Path) -> None:
    """Every dedup step brings its own passes, in the order of all."""
    exact = {"type": "exact"}
    checked = {"type": "minhash", "verify": True}
    paragraphs = {"type": "paragraphs", "tasks": 3}
    between = {
        "documents": ["signatures", "candidates", "clusters"],
        "checked": ["signatures", "candidates", "shingles", "verify", "clusters"],
        "paragraphs": ["paragraph_hashes", "paragraph_groups", "paragraph_marks"],
    }
    everything = plan_of(corpus, tiny_tokenizer, dedup=[checked, paragraphs], dedup_index=True)
    absent = {"calibrate", "limits", "holdout", "valid"}
    assert list(everything.passes) == [name for name in PASSES if name not in absent]
    assert len(everything.passes["paragraph_groups"]) == 3
    steps_of = {"documents": [exact], "checked": [checked], "paragraphs": [paragraphs]}
    for name, steps in steps_of.items():
        passes = list(plan_of(corpus, tiny_tokenizer, dedup=steps).passes)
        assert passes == ["filter", *between[name], "tokenize", "store"]
    assert list(plan_of(corpus, tiny_tokenizer, dedup=[]).passes) == ["filter", "tokenize", "store"]


def test_workers_and_cap_change_no_key(corpus: Path, tiny_tokenizer: Path) -> None:
    """What cannot change a result stays out of the keys."""
    other = plan_of(
        corpus,
        tiny_tokenizer,
        executor={"type": "local", "workers": 4},
        on_bad_record={"policy": "fail", "max_frac": 0.5},
    )
    assert keys(other) == keys(plan_of(corpus, tiny_tokenizer))


def test_a_dedup_setting_leaves_the_filter_pass_alone(corpus: Path, tiny_tokenizer: Path) -> None:
    """Changing a later pass never redoes an earlier one."""
    before = keys(plan_of(corpus, tiny_tokenizer))
    after = keys(plan_of(corpus, tiny_tokenizer, dedup=[{"type": "minhash"}]))
    assert before["filter"] == after["filter"]
    for name in ("signatures", "clusters", "tokenize", "store"):
        assert not set(before[name]) & set(after[name])


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        ({"keep_by": ["id"]}, ("signatures", "candidates")),
        ({"drop": "none"}, ("signatures", "candidates")),
        ({"verify": True}, ("signatures",)),
        ({"seed": 2}, ()),
    ],
    ids="-".join,
)
def test_a_choice_among_candidates_redoes_no_signature(
    corpus: Path, tiny_tokenizer: Path, settings: dict[str, Any], kept: tuple[str, ...]
) -> None:
    """Passes before the one that a dedup setting is for keep their results."""
    before = keys(plan_of(corpus, tiny_tokenizer, dedup=[{"type": "minhash"}]))
    after = keys(plan_of(corpus, tiny_tokenizer, dedup=[{"type": "minhash", **settings}]))
    same = [n for n in ("signatures", "candidates", "clusters") if before[n] == after[n]]
    assert tuple(same) == kept


def test_memory_for_clusters_changes_no_key(corpus: Path, tiny_tokenizer: Path) -> None:
    """Clusters are the same whichever way they are found, so nothing is redone."""
    before, after = (
        keys(plan_of(corpus, tiny_tokenizer, dedup_memory=size)) for size in (1 << 20, 1 << 40)
    )
    assert before == after


def test_a_filter_setting_redoes_its_source_only(corpus: Path, tiny_tokenizer: Path) -> None:
    """Another source's filter tasks keep their keys."""
    before = plan_of(corpus, tiny_tokenizer)
    sources = {
        "web": {
            "inputs": [str(corpus / "in" / "*.jsonl")],
            "filters": [{"type": "gopher", "min_word_count": 51}],
        },
        "docs": {"inputs": [str(corpus / "in" / "*.parquet")]},
    }
    after = plan_of(corpus, tiny_tokenizer, sources=sources)
    for source, same in (("web", False), ("docs", True)):
        old, new = ([t.key for t in p.tasks("filter", source)] for p in (before, after))
        assert (old == new) is same


def test_a_changed_input_changes_its_key(corpus: Path, tiny_tokenizer: Path) -> None:
    """Content at the ends of the file, its size, and its time are its identity."""
    before = keys(plan_of(corpus, tiny_tokenizer))["filter"]
    path = corpus / "in" / "web.jsonl"
    stat = path.stat()
    path.write_bytes(path.read_bytes().replace(b"doc-0", b"doc-O"))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert keys(plan_of(corpus, tiny_tokenizer))["filter"] != before


def test_inputs_that_match_nothing_are_named(corpus: Path, tiny_tokenizer: Path) -> None:
    """A pattern without a file is an error at plan time, with the source it belongs to."""
    sources = {"web": {"inputs": [str(corpus / "nothing" / "*.jsonl")]}}
    with pytest.raises(DataError, match=r"sources\.web\.inputs: .*nothing"):
        plan_of(corpus, tiny_tokenizer, sources=sources)


def test_a_plan_reads_back(corpus: Path, tiny_tokenizer: Path) -> None:
    """What workers read from `plan.json` is the plan, sources in their order."""
    plan = plan_of(corpus, tiny_tokenizer)
    plan.write()
    again = read_plan(corpus / "run")
    assert again == plan
    assert list(again.pipeline.sources) == ["web", "docs"]


def test_a_plan_of_another_format_is_refused(corpus: Path, tiny_tokenizer: Path) -> None:
    """A plan that another version wrote is named with both formats."""
    plan = plan_of(corpus, tiny_tokenizer)
    plan.write()
    path = corpus / "run" / "plan.json"
    path.write_text(path.read_text().replace("dolmix-plan-1", "dolmix-plan-9"))
    with pytest.raises(UsageError, match=r"'dolmix-plan-9'.*reads 'dolmix-plan-1'"):
        read_plan(corpus / "run")


def test_a_model_counts_by_its_content(corpus: Path, tiny_tokenizer: Path) -> None:
    """Moving a star table changes no key; changing it does."""

    def key(table: Path) -> str:
        filters = [{"type": "stars", "table": str(table)}]
        sources = {"web": {"inputs": [str(corpus / "in" / "*.jsonl")], "filters": filters}}
        return plan_of(corpus, tiny_tokenizer, sources=sources).passes["filter"][0].key

    here, there, other = corpus / "a.csv", corpus / "b.csv", corpus / "c.csv"
    here.write_text("repo,stars\nx/y,7\n")
    there.write_text("repo,stars\nx/y,7\n")
    other.write_text("repo,stars\nx/y,8\n")
    assert key(here) == key(there) != key(other)


def test_a_missing_model_is_named_with_its_path_in_the_file(
    corpus: Path, tiny_tokenizer: Path
) -> None:
    """A configuration error that points to the filter."""
    filters = [{"type": "stars", "table": str(corpus / "none.csv")}]
    sources = {"web": {"inputs": [str(corpus / "in" / "*.jsonl")], "filters": filters}}
    with pytest.raises(ConfigError, match=r"sources\.web\.filters\.0: .*none\.csv"):
        plan_of(corpus, tiny_tokenizer, sources=sources)
