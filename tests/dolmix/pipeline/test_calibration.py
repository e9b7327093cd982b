"""Limits that a run finds in its own data: which, among whom, and the same for every task."""

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import builders
import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from ngram_models import tiny_model

from dolmix.config import parse
from dolmix.document import F64Array
from dolmix.errors import ConfigError, UsageError
from dolmix.files.commit import file_digest
from dolmix.filters.base import Quantile, Rule
from dolmix.filters.gopher import Gopher
from dolmix.filters.perplexity import Perplexity
from dolmix.pipeline.engine import run_pipeline
from dolmix.pipeline.findings import status
from dolmix.pipeline.limits import judging_filters, limits_of
from dolmix.pipeline.plan import Plan, make_plan
from dolmix.pipeline.prior import keep_prior_plan
from dolmix.pipeline.records import RecordBook
from dolmix.pipeline.reports import failure_path
from dolmix.pipeline.spec import Pipeline
from dolmix.pipeline.whatif import whatif
from dolmix.pipeline.why import why
from dolmix.pipeline.worker import run_task
from dolmix.sources import PartReader

DOCUMENTS = 120
GOPHER = {"type": "gopher", "min_word_count": 30}
PASSES = ("calibrate", "limits", "filter")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write documents of several lengths, letters of every third mixed up, and a model."""
    folder = tmp_path_factory.mktemp("calibration")
    records = [builders.document(n, text_of(n)) for n in range(DOCUMENTS)]
    builders.write_jsonl(folder / "in" / "a.jsonl", records[:80])
    builders.write_jsonl(folder / "in" / "b.jsonl.gz", records[80:])
    tiny_model(folder)
    return folder


def text_of(number: int) -> str:
    """Make a text of 20 to 80 words; the more noise in it, the higher its number modulo 3."""
    text = builders.prose(number, 20 + number % 60)
    return text if number % 3 else text.replace("e", "xq").replace("a", f"z{number}")


def planned(folder: Path, tokenizer: Path, output: Path, *filters: Any, **settings: Any) -> Plan:
    """Plan a run over the documents with some filters behind Gopher's."""
    source = {"inputs": [str(folder / "in" / "*")], "filters": [GOPHER, *filters]}
    settings = {"part_bytes": 9_000, **settings}
    raw = builders.pipeline(output, tokenizer, sources={"web": source}, **settings)
    return make_plan(parse(Pipeline, raw, origin="test"))


def perplexity(folder: Path, **settings: Any) -> dict[str, Any]:
    """Filter by the small model."""
    return {"type": "perplexity", "model": str(folder / "web.ngram"), **settings}


def judged(plan: Plan, *, backwards: bool = False) -> dict[str, str]:
    """Do the passes up to the filters here; digests of what is in them, by path."""
    keep_prior_plan(plan)
    plan.write()
    run = plan.pipeline.output
    for pass_name in PASSES:
        tasks = plan.passes.get(pass_name, [])
        for task in reversed(tasks) if backwards else tasks:
            if not RecordBook(run).has(pass_name, task.key):
                run_task(plan, task)
            failure = failure_path(run, task)
            assert not failure.exists(), failure.read_text()
    records = [RecordBook(run).read("filter", t.key) for t in plan.passes["filter"]]
    paths = sorted(path for record in records for path in record.outputs.values())
    return {path: file_digest(run / path) for path in paths}


def decided(plan: Plan) -> list[dict[str, Any]]:
    """Rows of all decisions."""
    run, book = plan.pipeline.output, RecordBook(plan.pipeline.output)
    tasks = plan.passes["filter"]
    paths = [run / book.read("filter", t.key).outputs["decisions"] for t in tasks]
    return [row for path in paths for row in pq.read_table(path).to_pylist()]


@given(
    arrays(np.float64, st.integers(0, 40), elements=st.sampled_from([0.0, 0.25, 0.5, 1.0, 3.0])),
    st.sampled_from([0.001, 0.1, 0.15, 1 / 3, 0.5, 0.99]),
    st.sampled_from(["low", "high"]),
)
def test_a_limit_drops_its_share_and_no_more(values: F64Array, frac: float, worst: Any) -> None:
    """At most the share is beyond the limit, and with the limit's own value more would be."""
    limit = Quantile("x", "x", frac, worst).limit_of(values)
    if limit is None:
        assert not values.size
        return
    sign = 1 if worst == "low" else -1
    beyond, there = sign * values < sign * limit, sign * values <= sign * limit
    allowed = Fraction(str(frac)) * values.size
    assert int(beyond.sum()) <= allowed
    assert int(there.sum()) > allowed or int(there.sum()) == values.size


@given(st.integers(0, 2**32), st.sampled_from([0.02, 0.15, 0.5]))
def test_a_limit_holds_on_the_other_half(seed: int, frac: float) -> None:
    """Of 100,000 values found in one half, the limit drops the share of the other within 1 pp."""
    values = np.random.default_rng(seed).lognormal(4.0, 1.5, 100_000)
    limit = Quantile("x", "x", frac, "high").limit_of(values[::2])
    assert abs(float(np.mean(values[1::2] > limit)) - frac) < 0.01


def test_the_share_is_of_the_documents_that_the_filter_judges(
    folder: Path, tmp_path: Path, tiny_tokenizer: Path
) -> None:
    """Those that an earlier filter drops do not count; the worst of the others go, by the limit."""
    filter_ = perplexity(folder, drop_worst_frac=0.15)
    plan = planned(folder, tiny_tokenizer, tmp_path / "run", filter_)
    judged(plan)
    rows = [row for row in decided(plan) if row["reached"] == "perplexity"]
    assert 0 < len(rows) < DOCUMENTS
    dropped = {r["perplexity.perplexity"] for r in rows if r["reason"] is not None}
    kept = {r["perplexity.perplexity"] for r in rows if r["reason"] is None}
    assert len(dropped) == int(0.15 * len(rows))
    assert min(dropped) > max(kept)
    found = limits_of(plan, "web")
    assert found is not None
    assert found["documents"] == DOCUMENTS
    assert [(x["documents"], x["beyond"]) for x in found["limits"]] == [(len(rows), len(dropped))]
    assert found["limits"][0]["limit"] == max(kept)


def test_the_limit_is_told_where_it_decides(
    folder: Path, tmp_path: Path, tiny_tokenizer: Path
) -> None:
    """In the columns' metadata, in `status` and its notes, in `why` beside the value."""
    filter_ = perplexity(folder, drop_worst_frac=0.2)
    plan = planned(folder, tiny_tokenizer, tmp_path / "run", filter_)
    judged(plan)
    limit = (limits_of(plan, "web") or {})["limits"][0]["limit"]
    path = next((tmp_path / "run" / "decisions").rglob("*.parquet"))
    about = pq.read_schema(path).field("perplexity.perplexity").metadata
    assert json.loads(about[b"limits"]) == {"max_perplexity": limit}
    facts = status(tmp_path / "run")
    assert facts["limits"]["web"][0]["limit"] == limit
    assert any("perplexity.max_perplexity is" in note for note in facts["notes"])
    rule = next(r for r in facts["rules"]["web"] if r["rule"] == "perplexity.perplexity")
    assert rule["limit"] == Rule("x", above=limit).limit
    dropped = next(r for r in decided(plan) if r["reason"] == "perplexity.perplexity")
    told = why(tmp_path / "run", dropped["id"])[0].rules[-1]
    assert (told.value, told.limit) == (dropped["perplexity.perplexity"], rule["limit"])
    assert told.verdict == "drop"


def test_a_later_limit_is_found_among_those_that_an_earlier_one_leaves(
    folder: Path, tmp_path: Path, tiny_tokenizer: Path
) -> None:
    """Two filters that drop 20 % leave 80 % of 80 %, and a filter between them counts too."""
    first = perplexity(folder, name="first", drop_worst_frac=0.2)
    between = {"type": "sampler", "keep_frac": 0.5}
    second = perplexity(folder, name="second", drop_worst_frac=0.2)
    plan = planned(folder, tiny_tokenizer, tmp_path / "run", first, between, second)
    judged(plan)
    rows = decided(plan)
    one = [r for r in rows if r["reached"] in {"first", "sampler", "second"}]
    left = [r for r in rows if r["reached"] in {"sampler", "second"}]
    assert len(one) - len(left) == int(0.2 * len(one))
    two = [r for r in rows if r["reached"] == "second"]
    assert sum(r["reason"] is not None for r in two) == int(0.2 * len(two)) > 0


@pytest.mark.parametrize("sample_bytes", [1 << 30, 9_000])
def test_limits_do_not_depend_on_cuts_or_order(
    folder: Path, tmp_path: Path, tiny_tokenizer: Path, sample_bytes: int
) -> None:
    """Whole files or many parts, tasks in any order: the same limits, also of a sample.

    Another seed samples other documents.
    """
    filter_ = perplexity(folder, drop_worst_frac=0.3)
    settings = {"calibration": {"sample_bytes": sample_bytes}}
    found = {}
    runs = {"a": (9_000, 7), "b": (9_000, 7), "c": (1 << 20, 7), "d": (9_000, 8)}
    for name, (part_bytes, seed) in runs.items():
        more = {**settings, "part_bytes": part_bytes, "seed": seed}
        plan = planned(folder, tiny_tokenizer, tmp_path / name, filter_, **more)
        files = judged(plan, backwards=name == "b")
        found[name] = limits_of(plan, "web"), files
    assert found["a"] == found["b"]
    whole = sample_bytes == 1 << 30
    assert (found["a"][0] == found["d"][0]) == whole
    if whole:
        assert found["a"][0] == found["c"][0]
    else:
        assert 0 < found["a"][0]["documents"] < DOCUMENTS


def test_parts_of_the_sample_follow_from_the_file_alone(
    folder: Path, tmp_path: Path, tiny_tokenizer: Path
) -> None:
    """Of many parts so many are chosen as the setting says, before anything is read."""
    filter_ = perplexity(folder, drop_worst_frac=0.3)
    every = planned(folder, tiny_tokenizer, tmp_path / "a", filter_)
    few = planned(folder, tiny_tokenizer, tmp_path / "b", filter_, calibration={"parts": 2})
    assert len(every.passes["calibrate"]) == len(every.parts["web"]) > 3
    assert len(few.passes["calibrate"]) == 2
    assert len(few.passes["filter"]) == len(every.parts["web"])
    judged(few)
    assert judging_filters(few, "web")[-1].max_perplexity > 0  # type: ignore[attr-defined]
    plain = planned(folder, tiny_tokenizer, tmp_path / "c", perplexity(folder, max_perplexity=9))
    assert next(iter(plain.passes)) == "filter"


def no_text(*_: object) -> Any:
    """Stand for what must not be called."""
    pytest.fail("a text was read, or a column computed")


def test_another_share_reads_no_text(
    folder: Path, tmp_path: Path, tiny_tokenizer: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limits are found anew in what was measured; the files are those of a fresh run."""
    first, then = (perplexity(folder, drop_worst_frac=frac) for frac in (0.15, 0.4))
    judged(planned(folder, tiny_tokenizer, tmp_path / "run", first))
    fresh = judged(planned(folder, tiny_tokenizer, tmp_path / "fresh", then))
    for cls in (Gopher, Perplexity):
        monkeypatch.setattr(cls, "columns", no_text)
    monkeypatch.setattr(PartReader, "__iter__", no_text)
    assert judged(planned(folder, tiny_tokenizer, tmp_path / "run", then)) == fresh


def test_whatif_finds_the_limit_that_a_run_would_find(
    folder: Path, tmp_path: Path, tiny_tokenizer: Path
) -> None:
    """Another share without a run: the documents that go are those that such a run drops."""
    first, then = (perplexity(folder, drop_worst_frac=frac) for frac in (0.15, 0.4))
    judged(planned(folder, tiny_tokenizer, tmp_path / "run", first))
    other = planned(folder, tiny_tokenizer, tmp_path / "other", then)
    judged(other)
    change = whatif(tmp_path / "run", ["web.perplexity.drop_worst_frac=0.4"])
    assert change.sources[0].exact
    assert change.sources[0].kept_after == sum(r["reason"] is None for r in decided(other))
    assert any("max_perplexity is" in note for note in change.notes)
    plain = planned(
        folder, tiny_tokenizer, tmp_path / "plain", perplexity(folder, max_perplexity=1e9)
    )
    judged(plain)
    with pytest.raises(UsageError, match="measured no sample for perplexity"):
        whatif(
            tmp_path / "plain",
            ["web.perplexity.drop_worst_frac=0.4", "web.perplexity.max_perplexity=null"],
        )


def test_without_a_value_there_is_no_limit(tmp_path: Path, tiny_tokenizer: Path) -> None:
    """Documents without units: the rule is off, nothing is dropped, and the run says so."""
    (tmp_path / "in").mkdir()
    builders.write_jsonl(
        tmp_path / "in" / "a.jsonl", [builders.document(n, "\n") for n in range(3)]
    )
    tiny_model(tmp_path)
    source = {
        "inputs": [str(tmp_path / "in" / "*")],
        "filters": [perplexity(tmp_path, drop_worst_frac=0.5)],
    }
    raw = builders.pipeline(tmp_path / "run", tiny_tokenizer, sources={"web": source})
    plan = make_plan(parse(Pipeline, raw, origin="test"))
    judged(plan)
    assert [row["reason"] for row in decided(plan)] == [None] * 3
    assert any("nothing is dropped by it" in note for note in status(tmp_path / "run")["notes"])


def test_buckets_are_cut_where_the_shares_say(
    folder: Path, tmp_path: Path, tiny_tokenizer: Path
) -> None:
    """Head, middle and tail hold their shares of the documents judged; only kept ones stay."""
    filter_ = perplexity(folder, buckets=[0.25, 0.75], keep=["head", "middle"])
    plan = planned(folder, tiny_tokenizer, tmp_path / "run", filter_, tag="all")
    judged(plan)
    rows = [row for row in decided(plan) if row["reached"] == "perplexity"]
    of = {b: [r for r in rows if r["perplexity.bucket"] == b] for b in ("head", "middle", "tail")}
    for bucket, share in (("head", 0.25), ("middle", 0.5), ("tail", 0.25)):
        assert abs(len(of[bucket]) - share * len(rows)) < 2
    assert {r["reason"] for r in of["head"] + of["middle"]} == {None}
    assert {r["reason"] for r in of["tail"]} == {"perplexity.bucket_high"}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"drop_worst_frac": 0.1, "max_perplexity": 9}, "drop_worst_frac 0.1 and max_perplexity 9"),
        ({"keep": ["head"]}, "give buckets, as"),
        ({"buckets": [0.6, 0.4]}, "bucket head ends at"),
        ({"buckets": [0.3, 0.6], "keep": ["head", "tail"]}, "neighbouring"),
        ({"head_at_most": 4}, "give both head"),
        ({"buckets": [0.3, 0.6], "head_at_most": 4, "middle_at_most": 5}, "one of the two"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(
    folder: Path, tmp_path: Path, tiny_tokenizer: Path, settings: dict[str, Any], said: str
) -> None:
    """Each with what to give instead, when the file is loaded."""
    with pytest.raises(ConfigError, match=said):
        planned(folder, tiny_tokenizer, tmp_path, perplexity(folder, **settings))


def test_a_run_with_two_workers_ends_as_with_one(
    folder: Path, tmp_path: Path, tiny_tokenizer: Path
) -> None:
    """The whole run through the engine: same limits, decisions and stores, byte for byte."""
    filter_ = perplexity(folder, drop_worst_frac=0.15)
    found = []
    for workers in (1, 2):
        output = tmp_path / str(workers)
        executor = {"type": "local", "workers": workers}
        plan = planned(folder, tiny_tokenizer, output, filter_, executor=executor)
        run_pipeline(plan.pipeline, quiet=True)
        kept = [*(output / "calibration").rglob("*"), *(output / "decisions").rglob("*.parquet")]
        manifest = json.loads((output / "stores" / "web@1" / "manifest.json").read_bytes())
        files = {str(p.relative_to(output)): file_digest(p) for p in kept if p.is_file()}
        found.append((files, manifest["content_hash"]))
    assert found[0] == found[1]
    assert len(list((tmp_path / "1" / "calibration").iterdir())) == 1
