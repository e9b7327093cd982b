"""A second run in a folder uses what the first one measured, and ends where a fresh one does."""

import json
import shutil
from pathlib import Path
from typing import Any

import builders
import pytest

from dolmix.config import parse
from dolmix.files.commit import file_digest
from dolmix.filters.gopher import Gopher
from dolmix.filters.lines import Lines
from dolmix.filters.word_share import WordShare
from dolmix.pipeline.engine import run_pipeline
from dolmix.pipeline.passes import filter as filter_pass
from dolmix.pipeline.plan import PRIOR_PLAN_FILE, Plan, make_plan
from dolmix.pipeline.prior import find_prior, keep_prior_plan
from dolmix.pipeline.records import RecordBook
from dolmix.pipeline.reports import failure_path
from dolmix.pipeline.spec import Pipeline
from dolmix.pipeline.worker import run_task
from dolmix.sources import PartReader

LINES = {"type": "lines", "min_repeated_bytes": 5}
GOPHER = {"type": "gopher", "min_word_count": 60}
SHARE = {"type": "word_share"}
DATATROVE = {"type": "datatrove", "filter": "LambdaFilter"}
FILTERS: list[dict[str, Any]] = [LINES, GOPHER, SHARE]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Write documents of many lengths, some with repeated lines, in files of several kinds."""
    records = [builders.document(n, text_of(n)) for n in range(90)]
    builders.write_jsonl(tmp_path / "in" / "a.jsonl", [*records[:40], b"{broken", *records[40:50]])
    builders.write_jsonl(tmp_path / "in" / "b.jsonl.gz", records[50:70])
    builders.write_parquet(tmp_path / "in" / "c.parquet", records[70:])
    return tmp_path


def text_of(number: int) -> str:
    """Make a text of 20 to 110 words; every third has lines that repeat."""
    text = builders.prose(number, 20 + number)
    return f"{text}\nSubscribe now\nSubscribe now\n" if number % 3 == 0 else text


def planned(folder: Path, tokenizer: Path, filters: list[dict[str, Any]], **more: Any) -> Plan:
    """Plan a run over the files, cut into several parts."""
    source = {"inputs": [str(folder / "in" / "*")], "filters": filters, **more.pop("source", {})}
    settings = {"part_bytes": 9_000, "on_bad_record": {"policy": "skip", "max_frac": 0.1}, **more}
    output = Path(settings.pop("output", folder / "run"))
    raw = builders.pipeline(output, tokenizer, sources={"web": source}, **settings)
    return make_plan(parse(Pipeline, raw, origin="test"))


def judged(plan: Plan) -> dict[str, str]:
    """Do the filter pass here, as `dolmix run` begins; digests of all files and counts."""
    keep_prior_plan(plan)
    plan.write()
    run, found = plan.pipeline.output, {}
    for task in plan.passes["filter"]:
        run_task(plan, task)
        failure = failure_path(run, task)
        assert not failure.exists(), failure.read_text()
        record = RecordBook(run).read("filter", task.key)
        for path in record.outputs.values():
            found[path] = file_digest(run / path)
        found[task.key] = json.dumps(record.counts)
    return found


def no_text(*_: object) -> Any:
    """Stand for what must not be called."""
    pytest.fail("a text was read, or a column computed")


def forbid_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail from now on where anything of a text is read or measured."""
    for cls in (Gopher, WordShare, Lines):
        monkeypatch.setattr(cls, "columns", no_text)
    monkeypatch.setattr(PartReader, "__iter__", no_text)


CHANGES: dict[str, list[dict[str, Any]]] = {
    "tighter": [LINES, {**GOPHER, "min_word_count": 90}, SHARE],
    "off": [LINES, GOPHER, {**SHARE, "max_top2_frac": None}],
    "edit's rule": [{**LINES, "max_removed_frac": 0.5}, GOPHER, SHARE],
    "last left out": [LINES, GOPHER],
    "middle left out of a tighter one": [LINES, {**GOPHER, "max_word_count": 80}],
}
DEEPER: dict[str, list[dict[str, Any]]] = {
    "looser": [LINES, {**GOPHER, "min_word_count": 40}, SHARE],
    "added": [LINES, GOPHER, {"type": "sampler", "keep_frac": 0.5}, SHARE],
    "reordered": [SHARE, GOPHER, LINES],
    "edit changed": [{**LINES, "min_repeated_bytes": 50}, GOPHER, SHARE],
    "edit left out": [GOPHER, SHARE],
    "named": [LINES, {**GOPHER, "name": "prose"}, SHARE],
}


@pytest.mark.parametrize("filters", CHANGES.values(), ids=CHANGES.keys())
def test_a_threshold_reads_no_text(
    folder: Path,
    tiny_tokenizer: Path,
    monkeypatch: pytest.MonkeyPatch,
    filters: list[dict[str, Any]],
) -> None:
    """Where nothing new is needed no record is read and no column computed; same files and counts.

    Bad records and their counts are carried over.
    """
    judged(planned(folder, tiny_tokenizer, FILTERS))
    fresh = judged(planned(folder, tiny_tokenizer, filters, output=folder / "fresh"))
    forbid_reading(monkeypatch)
    again = judged(planned(folder, tiny_tokenizer, filters))
    assert again == fresh
    assert any(path.startswith("bad-records") for path in again)


@pytest.mark.parametrize("tag", ["reached", "all"])
@pytest.mark.parametrize("filters", DEEPER.values(), ids=DEEPER.keys())
def test_what_is_missing_is_computed_and_nothing_else_changes(
    folder: Path, tiny_tokenizer: Path, filters: list[dict[str, Any]], tag: str
) -> None:
    """Any other change ends with the bytes of a fresh run too, from `tag: reached` and to it."""
    judged(planned(folder, tiny_tokenizer, FILTERS))
    fresh = judged(planned(folder, tiny_tokenizer, filters, tag=tag, output=folder / "fresh"))
    assert judged(planned(folder, tiny_tokenizer, filters, tag=tag)) == fresh


def test_only_the_missing_columns_are_computed(
    folder: Path, tiny_tokenizer: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A looser limit lets more documents on: the filters behind it read those, no others."""
    before = judged(planned(folder, tiny_tokenizer, FILTERS))
    measured: list[int] = []
    columns = WordShare.columns

    def counted(self: WordShare, texts: Any) -> Any:
        measured.append(len(texts))
        return columns(self, texts)

    monkeypatch.setattr(WordShare, "columns", counted)
    monkeypatch.setattr(Gopher, "columns", no_text)
    looser = [LINES, {**GOPHER, "min_word_count": 50}, SHARE]
    after = judged(planned(folder, tiny_tokenizer, looser))
    kept = [sum(json.loads(v)["judged"]["word_share"] for k, v in found.items() if "/" not in k)
            for found in (before, after)]  # fmt: skip
    assert sum(measured) == kept[1] - kept[0] > 0


@pytest.mark.parametrize("harm", ["no plan", "no file", "damaged", "other records", "no key"])
def test_a_prior_that_fails_means_computing(
    folder: Path, tiny_tokenizer: Path, harm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Plan or decisions gone, cut short, of other records: the run is as it would be without."""
    filters = DEEPER["looser"]
    fresh = judged(planned(folder, tiny_tokenizer, filters, output=folder / "fresh"))
    if harm == "no key":
        monkeypatch.setattr(filter_pass, "reading_digest", lambda _: "another")
    judged(planned(folder, tiny_tokenizer, FILTERS))
    monkeypatch.undo()
    files = sorted((folder / "run" / "decisions" / "web").glob("*.parquet"))
    if harm == "no plan":
        (folder / "run" / "plan.json").unlink()
    elif harm == "no file":
        files[0].unlink()
    elif harm == "damaged":
        files[0].write_bytes(files[0].read_bytes()[:-100])
    elif harm == "other records":
        shutil.copy(files[1], files[0])
    assert judged(planned(folder, tiny_tokenizer, filters)) == fresh


def test_other_fields_use_nothing(folder: Path, tiny_tokenizer: Path) -> None:
    """Where the text stands elsewhere in the records, everything is read again."""
    judged(planned(folder, tiny_tokenizer, FILTERS))
    source = {"fields": {"text": "metadata.url"}}
    plan = planned(folder, tiny_tokenizer, FILTERS, source=source)
    fresh = planned(folder, tiny_tokenizer, FILTERS, source=source, output=folder / "fresh")
    assert judged(plan) == judged(fresh)


def test_another_policy_or_part_has_no_prior(folder: Path, tiny_tokenizer: Path) -> None:
    """Bad records count again under another policy; other cuts are other parts."""
    plan = planned(folder, tiny_tokenizer, FILTERS)
    judged(plan)
    other = planned(folder, tiny_tokenizer, CHANGES["off"])
    keep_prior_plan(other)
    assert all(find_prior(other, task) for task in other.passes["filter"])
    strict = planned(folder, tiny_tokenizer, CHANGES["off"], on_bad_record={"policy": "fail"})
    assert not any(find_prior(strict, task) for task in strict.passes["filter"])
    cut = planned(folder, tiny_tokenizer, CHANGES["off"], part_bytes=20_000)
    assert find_prior(cut, cut.passes["filter"][0]) is None
    assert find_prior(cut, cut.passes["filter"][-1]) is None


def test_a_run_that_stopped_early_does_not_hide_a_finished_one(
    folder: Path, tiny_tokenizer: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The plan kept is the last whose filter pass was done."""
    judged(planned(folder, tiny_tokenizer, FILTERS))
    stopped = planned(folder, tiny_tokenizer, DEEPER["looser"])
    keep_prior_plan(stopped)
    stopped.write()
    first = (folder / "run" / PRIOR_PLAN_FILE).read_bytes()
    forbid_reading(monkeypatch)
    judged(planned(folder, tiny_tokenizer, CHANGES["off"]))
    assert (folder / "run" / PRIOR_PLAN_FILE).read_bytes() == first


def test_stores_are_those_of_a_fresh_run(folder: Path, tiny_tokenizer: Path) -> None:
    """Whole runs, one after the other in a folder: the same stores, and back again.

    Decisions of the first run, set aside in `work/old/` by the second, are used by a third.
    """
    hashes = []
    for filters in (FILTERS, CHANGES["tighter"], DEEPER["looser"]):
        plan = planned(folder, tiny_tokenizer, filters, source={"version": len(hashes) + 1})
        fresh = planned(folder, tiny_tokenizer, filters, source={"version": len(hashes) + 1},
                        output=folder / f"fresh{len(hashes)}")  # fmt: skip
        for made in (plan, fresh):
            run_pipeline(made.pipeline, quiet=True)
        stores = [p.pipeline.output / "stores" / f"web@{len(hashes) + 1}" for p in (plan, fresh)]
        manifests = [json.loads((s / "manifest.json").read_bytes()) for s in stores]
        assert manifests[0] == manifests[1]
        hashes.append(manifests[0]["content_hash"])
    assert len(set(hashes)) == 3
