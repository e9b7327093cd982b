"""Dedup against the index of an older run: what dedup of both together would do."""

import json
from pathlib import Path
from typing import Any

import builders
import pytest
from dedup_runs import dropped, pipeline, run, source, varied

from dolmix.dedup.index import FOLDER, MANIFEST
from dolmix.errors import ConfigError
from dolmix.pipeline.plan import Plan, make_plan

STEPS: list[dict[str, Any]] = [
    {"type": "exact"},
    {"type": "minhash", "bands": 8, "rows": 4, "keep_by": ["source_priority", "-num_bytes", "id"]},
]


def old_records() -> list[dict[str, Any]]:
    """Twenty texts, some of them near each other and one twice."""
    records = [builders.document(n, varied(n, 0)) for n in range(20)]
    records += [builders.document(100 + n, varied(n, 10 + n)) for n in range(4)]
    return [*records, builders.document(150, varied(7, 0))]


def new_records() -> list[dict[str, Any]]:
    """Make copies and near copies of old texts, of dropped ones, of each other; and new ones."""
    records = [builders.document(1000 + n, varied(n, 0)) for n in range(2, 5)]
    records += [builders.document(1100 + n, varied(n, 10 + n)) for n in range(4)]
    records += [builders.document(1200 + n, varied(n, 40 + n, " more")) for n in range(5, 9)]
    records += [builders.document(1300 + n, varied(50 + n // 2, n, "!" * n)) for n in range(6)]
    return records + [builders.document(1400 + n, varied(90 + n, 0)) for n in range(5)]


def against(path: Path, **settings: Any) -> list[dict[str, Any]]:
    """Give the steps, compared against an older run."""
    return [{**step, "against": str(path), **settings} for step in STEPS]


@pytest.fixture
def older(tmp_path: Path, tiny_tokenizer: Path) -> Plan:
    """Run over the old documents, with an index."""
    sources = {"old": source(tmp_path, "old", old_records())}
    settings = {"sources": sources, "dedup": STEPS, "dedup_index": True}
    return run(pipeline(tmp_path, tiny_tokenizer, "a", **settings), last="index")


def of(name: str, found: set[tuple[Any, ...]]) -> set[tuple[Any, ...]]:
    """Rows of one source."""
    return {row for row in found if row[0] == name}


def test_incremental_equals_dedup_of_the_union_with_the_old_side_protected(
    tmp_path: Path, tiny_tokenizer: Path, older: Plan
) -> None:
    """The same documents go, for the same reasons and survivors, and no file of the old run moves.

    New documents near one that the old run dropped go too: clusters hang together through it.
    """
    files = [p for p in older.pipeline.output.rglob("*") if p.is_file()]
    before = {p: p.stat().st_mtime_ns for p in files}
    new = source(tmp_path, "new", new_records())
    both = {"old": source(tmp_path, "old", old_records()), "new": new}
    union = run(pipeline(tmp_path, tiny_tokenizer, "union", sources=both, dedup=STEPS))
    steps = against(older.pipeline.output)
    alone = run(pipeline(tmp_path, tiny_tokenizer, "b", sources={"new": new}, dedup=steps))
    assert dropped(alone) == of("new", dropped(union))
    assert {row[2] for row in dropped(alone)} == {"exact.duplicate", "minhash.duplicate"}
    assert 10 <= len(dropped(alone)) < len(new_records())
    assert {p: p.stat().st_mtime_ns for p in before} == before


def test_runs_go_on_from_each_other(tmp_path: Path, tiny_tokenizer: Path, older: Plan) -> None:
    """A third run against the second one's index knows the first one's documents too."""
    sources = {"old": source(tmp_path, "old", old_records())}
    path = older.pipeline.output
    for name, records in (("b", new_records()[::2]), ("c", new_records()[1::2])):
        sources[name] = source(tmp_path, name, records)
        settings = {"sources": {name: sources[name]}, "dedup": against(path), "dedup_index": True}
        plan = run(pipeline(tmp_path, tiny_tokenizer, name, **settings), last="index")
        path = plan.pipeline.output / FOLDER  # an index itself is as good as its run
    union = run(pipeline(tmp_path, tiny_tokenizer, "union", sources=sources, dedup=STEPS))
    assert dropped(plan) == of("c", dropped(union))
    assert len(dropped(plan)) > 4


def test_a_column_that_the_older_run_lacks_is_missing_there(
    tmp_path: Path, tiny_tokenizer: Path, older: Plan
) -> None:
    """`keep_by` may name a filter of this run alone: old documents stay, the rest goes by it."""
    plain, long = varied(70, 0), varied(70, 0, " with some words more")
    records = [builders.document(n, text) for n, text in enumerate((plain, long, varied(3, 0)))]
    sources = {"new": source(tmp_path, "new", records) | {"filters": [{"type": "gopher"}]}}
    steps = [{**STEPS[1], "keep_by": ["-gopher.word_count"], "against": str(older.pipeline.output)}]
    plan = run(pipeline(tmp_path, tiny_tokenizer, "b", sources=sources, dedup=steps))
    stays = {row[1]: (row[3], row[4]) for row in dropped(plan)}
    assert stays == {"doc-0": ("new", "doc-1"), "doc-2": ("old", "doc-3")}


def test_drop_none_reports_and_drops_nothing(
    tmp_path: Path, tiny_tokenizer: Path, older: Plan
) -> None:
    """With `drop: none` every document stays, and what would go is written aside."""
    new = {"new": source(tmp_path, "new", new_records())}
    path = older.pipeline.output
    gone = run(pipeline(tmp_path, tiny_tokenizer, "b", sources=new, dedup=against(path)[:1]))
    steps = against(path, drop="none")[:1]
    kept = run(pipeline(tmp_path, tiny_tokenizer, "c", sources=new, dedup=steps))
    assert dropped(kept) == set()
    assert dropped(kept, "reported") == dropped(gone)
    assert len(dropped(gone)) > 2


def test_the_index_pass_alone_is_added_to_a_finished_run(
    tmp_path: Path, tiny_tokenizer: Path
) -> None:
    """Asking for an index later redoes no other pass."""
    sources = {"old": source(tmp_path, "old", old_records())}
    settings = {"sources": sources, "dedup": STEPS}
    before = make_plan(pipeline(tmp_path, tiny_tokenizer, "a", **settings))
    after = make_plan(pipeline(tmp_path, tiny_tokenizer, "a", dedup_index=True, **settings))
    new = {n: [t.key for t in ts] for n, ts in after.passes.items() if n != "index"}
    assert new == {n: [t.key for t in ts] for n, ts in before.passes.items()}


def test_an_index_is_that_of_the_current_configuration(
    tmp_path: Path, tiny_tokenizer: Path
) -> None:
    """Going to other settings and back makes the index again, never leaves the other one's."""
    sources = {"old": source(tmp_path, "old", old_records())}
    manifests = []
    for seed in (1, 2, 1):
        settings = {"sources": sources, "dedup": [{**STEPS[1], "seed": seed}], "dedup_index": True}
        plan = run(pipeline(tmp_path, tiny_tokenizer, "a", **settings), last="index")
        manifests.append((plan.pipeline.output / FOLDER / MANIFEST).read_bytes())
    assert manifests[0] == manifests[2] != manifests[1]


def test_one_index_cannot_hold_two(tmp_path: Path, tiny_tokenizer: Path, older: Plan) -> None:
    """A run whose steps are compared against different things makes no index, and says why."""
    sources = {"new": source(tmp_path, "new", new_records())}
    steps = [against(older.pipeline.output)[0], STEPS[1]]
    settings = {"sources": sources, "dedup": steps, "dedup_index": True}
    with pytest.raises(AssertionError, match="compared against different indexes"):
        run(pipeline(tmp_path, tiny_tokenizer, "b", **settings), last="index")


def test_other_settings_are_refused_field_by_field(
    tmp_path: Path, tiny_tokenizer: Path, older: Plan
) -> None:
    """A step that makes other keys cannot use the index; what differs is named with both values."""
    step = {"type": "minhash", "bands": 10, "rows": 4, "seed": 3}
    step["against"] = str(older.pipeline.output)
    sources = {"new": source(tmp_path, "new", new_records())}
    with pytest.raises(ConfigError) as caught:
        make_plan(pipeline(tmp_path, tiny_tokenizer, "b", sources=sources, dedup=[step]))
    message = str(caught.value)
    assert "dedup.0.against" in message
    assert "bands is 8 there, 10 here" in message
    assert "seed is 1 there, 3 here" in message
    assert "ngram" not in message


def test_choices_may_differ_from_the_index(
    tmp_path: Path, tiny_tokenizer: Path, older: Plan
) -> None:
    """`keep_by` and the name change no key, so they are free."""
    step = {**STEPS[1], "keep_by": ["id"], "name": "near", "against": str(older.pipeline.output)}
    sources = {"new": source(tmp_path, "new", new_records())}
    make_plan(pipeline(tmp_path, tiny_tokenizer, "b", sources=sources, dedup=[step]))


def test_a_run_is_not_compared_against_itself(
    tmp_path: Path, tiny_tokenizer: Path, older: Plan
) -> None:
    """The run's own folder is no older run."""
    sources = {"old": source(tmp_path, "old", old_records())}
    steps = against(older.pipeline.output)
    with pytest.raises(ConfigError, match="is this run itself"):
        make_plan(pipeline(tmp_path, tiny_tokenizer, "a", sources=sources, dedup=steps))


@pytest.mark.parametrize("damage", ["absent", "format", "text", "size"])
def test_a_damaged_index_is_refused(
    tmp_path: Path, tiny_tokenizer: Path, older: Plan, damage: str
) -> None:
    """No index, another format, a broken manifest, a short file: each said with its place."""
    folder = older.pipeline.output / FOLDER
    manifest = json.loads((folder / MANIFEST).read_bytes())
    if damage == "format":
        (folder / MANIFEST).write_text(json.dumps({**manifest, "format": "dolmix-dedup-index-0"}))
    elif damage == "text":
        (folder / MANIFEST).write_text("{")
    elif damage == "size":
        (folder / "clusters" / "1.i64").write_bytes(b"")
    path = tmp_path / "nowhere" if damage == "absent" else older.pipeline.output
    said = {
        "absent": "no dedup index in",
        "format": "'dolmix-dedup-index-0'",
        "text": "is no manifest",
        "size": "has 0 bytes",
    }
    sources = {"new": source(tmp_path, "new", new_records())}
    with pytest.raises(ConfigError, match=said[damage]):
        make_plan(pipeline(tmp_path, tiny_tokenizer, "b", sources=sources, dedup=against(path)))
