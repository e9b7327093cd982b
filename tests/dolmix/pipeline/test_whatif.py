"""`whatif` equals a real run with the settings, or says where it does not know."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import builders
import pyarrow.parquet as pq
import pytest

from dolmix.config import parse
from dolmix.errors import ConfigError, UsageError
from dolmix.filters.gopher import Gopher
from dolmix.pipeline.engine import run_pipeline
from dolmix.pipeline.plan import Plan
from dolmix.pipeline.spec import Pipeline
from dolmix.pipeline.whatif import SourceChange, changed_pipeline, whatif
from dolmix.sources import PartReader

FILTERS: list[dict[str, Any]] = [
    {"type": "lines", "min_repeated_bytes": 5},
    {"type": "gopher", "min_word_count": 60},
    {"type": "word_share", "max_top1_frac": 0.12},
    {"type": "rule", "column": "gopher.word_count", "above": 100},
]


def text_of(number: int) -> str:
    """Make a text of 20 to 110 words; every third has lines that repeat."""
    text = builders.prose(number, 20 + number)
    return f"{text}\nSubscribe now\nSubscribe now\n" if number % 3 == 0 else text


def run(folder: Path, tokenizer: Path, name: str = "run", **settings: Any) -> Plan:
    """Run over two sources of ninety documents each."""
    sources = {}
    for source in ("web", "books"):
        records = [builders.document(n, text_of(n)) for n in range(90)]
        path = folder / "in" / source / "a.jsonl"
        if not path.exists():
            builders.write_jsonl(path, records)
        fields = {"url": "metadata.url"}
        sources[source] = {"inputs": [str(path)], "fields": fields, "filters": FILTERS}
    raw = builders.pipeline(folder / name, tokenizer, sources=sources, part_bytes=9_000, **settings)
    return run_pipeline(parse(Pipeline, raw, origin="test"), quiet=True)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, tiny_tokenizer: Path) -> Plan:
    """Run once for all tests that only look."""
    return run(tmp_path_factory.mktemp("whatif"), tiny_tokenizer)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, tiny_tokenizer: Path) -> Plan:
    """Run once with every column for every document."""
    return run(tmp_path_factory.mktemp("whole"), tiny_tokenizer, tag="all")


def reasons(plan: Plan, source: str) -> dict[str, str | None]:
    """Reason of each document after the filters, by id."""
    files = (plan.pipeline.output / "decisions" / source).glob("*.parquet")
    rows = [
        row for path in files for row in pq.read_table(path).select(["id", "reason"]).to_pylist()
    ]
    return {row["id"]: row["reason"] for row in rows}


def real(plan: Plan, settings: list[str], name: str) -> Plan:
    """Run with the settings in a folder of its own."""
    pipeline = changed_pipeline(plan, settings)
    output = plan.pipeline.output.parent / name
    return run_pipeline(pipeline.model_copy(update={"output": output}), quiet=True)


def amounts(change: SourceChange) -> dict[str, dict[str, int]]:
    """Documents that come and go, by reason."""
    groups = {"come": change.come, "go": change.go}
    return {kind: {r: a.documents for r, a in g.items()} for kind, g in groups.items()}


def differences(before: dict[str, str | None], after: dict[str, str | None]) -> dict[str, Any]:
    """Count what really came and went."""
    come = Counter(r for d, r in before.items() if r is not None and after[d] is None)
    go = Counter(r for d, r in after.items() if r is not None and before[d] is None)
    return {"come": dict(come), "go": dict(go)}


EXACT = {
    "tighter": ["web.gopher.min_word_count=80"],
    "last looser": ["web.gopher-word_count.above=105"],
    "last off": ["web.gopher-word_count.above=null"],
    "an edit's rule": ["web.lines.max_removed_frac=0.3"],
    "two at once": ["web.gopher.max_word_count=90", "web.word_share.max_top1_frac=0.09"],
}


@pytest.mark.parametrize("settings", EXACT.values(), ids=EXACT.keys())
def test_it_equals_a_real_run_where_no_later_filter_depends_on_it(
    done: Plan, settings: list[str], request: pytest.FixtureRequest
) -> None:
    """Documents and bytes by reason, of those that come and go, are those of a run in truth."""
    (change,) = whatif(done.pipeline.output, settings).sources
    assert change.exact
    after = reasons(real(done, settings, request.node.name), "web")
    before = reasons(done, "web")
    assert amounts(change) == differences(before, after)
    assert change.kept_before == list(before.values()).count(None)
    assert change.kept_after == list(after.values()).count(None)
    assert change.moved == sum(
        None not in (before[d], after[d]) and before[d] != after[d] for d in before
    )
    assert (change.source, change.documents) == ("web", 90)
    assert change.come or change.go


LOOSER = ["web.gopher.min_word_count=40"]


def test_it_says_who_is_undecided(done: Plan) -> None:
    """Documents that would newly reach a filter are counted, not guessed; the others are right."""
    found = whatif(done.pipeline.output, LOOSER)
    (change,) = found.sources
    before, after = reasons(done, "web"), reasons(real(done, LOOSER, "looser"), "web")
    let_on = [d for d, r in before.items() if r == "gopher.word_count_low"
              and after[d] != "gopher.word_count_low"]  # fmt: skip
    assert not change.exact
    assert {k: a.documents for k, a in change.undecided.items()} == {"word_share": len(let_on)}
    decided = {d: r for d, r in after.items() if d not in let_on}
    expected = differences({d: before[d] for d in decided}, decided)
    assert amounts(change) == expected
    assert any("estimate" in note and "word_share" in note for note in found.notes)


def test_with_every_column_nobody_is_undecided(whole: Plan) -> None:
    """After a run with `tag: all` any threshold is decided exactly."""
    (change,) = whatif(whole.pipeline.output, LOOSER).sources
    assert change.exact
    after = reasons(real(whole, LOOSER, "looser"), "web")
    assert amounts(change) == differences(reasons(whole, "web"), after)


def test_it_reads_no_text_and_writes_nothing(done: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither inputs nor columns are touched, and the run's folder stays as it is."""

    def forbidden(*_: object) -> Any:
        pytest.fail("a text was read, or a column computed")

    monkeypatch.setattr(PartReader, "__iter__", forbidden)
    monkeypatch.setattr(Gopher, "columns", forbidden)
    output = done.pipeline.output
    files = {p: p.stat().st_mtime_ns for p in output.rglob("*")}
    assert whatif(output, EXACT["tighter"]).sources[0].go
    assert {p: p.stat().st_mtime_ns for p in output.rglob("*")} == files


def test_samples_are_of_those_that_come_and_go(done: Plan) -> None:
    """Each has its id, its URL where the run has it, the value, and no text unless asked for.

    The same documents every time.
    """
    settings = ["web.gopher.min_word_count=80", "web.gopher-word_count.above=null"]
    (change,) = whatif(done.pipeline.output, settings, samples=2).sources
    before, after = reasons(done, "web"), reasons(real(done, settings, "sampled"), "web")
    assert Counter(s.kind for s in change.samples) == {"come": 2, "go": 2}
    for sample in change.samples:
        first, then = (before, after) if sample.kind == "come" else (after, before)
        assert (first[sample.id], then[sample.id]) == (sample.reason, None)
        assert sample.column == "gopher.word_count"
        assert (sample.value > 100) if sample.kind == "come" else (sample.value < 80)
        assert sample.text is None
        assert (sample.url is not None) == (sample.kind == "go")
    again = whatif(done.pipeline.output, settings, samples=2, text=True).sources[0].samples
    assert [s.id for s in again] == [s.id for s in change.samples]
    for sample in again:
        number = int(sample.id.removeprefix("doc-"))
        assert sample.text == text_of(number)[:200]
        assert sample.url == f"https://example.org/{number}"


def test_tokens_are_estimated_from_the_kept(done: Plan) -> None:
    """Tokens per byte of the documents in the store, times the bytes; the notes say so."""
    found = whatif(done.pipeline.output, EXACT["tighter"])
    manifest = json.loads(
        (done.pipeline.output / "stores" / "web@1" / "manifest.json").read_bytes()
    )
    kept = [d for d, r in reasons(done, "web").items() if r is None]
    size = sum(len(text_of(int(d.removeprefix("doc-"))).encode()) for d in kept)
    for amount in found.sources[0].go.values():
        assert amount.tokens == round(amount.num_bytes * manifest["totals"]["tokens"] / size)
    assert any("tokens are estimated" in note for note in found.notes)


def test_a_setting_of_columns_leaves_everything_open(done: Plan) -> None:
    """Another word splitter changes values: every document that it would read is undecided."""
    (change,) = whatif(done.pipeline.output, ["books.gopher.words=unicode"]).sources
    assert change.source == "books"
    assert {k: a.documents for k, a in change.undecided.items()} == {"gopher": 90}
    assert (change.come, change.go) == ({}, {})


def test_nothing_changed_is_nothing(done: Plan) -> None:
    """A setting that is what it was names no source."""
    assert whatif(done.pipeline.output, ["web.gopher.min_word_count=60"]).sources == ()


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("web.gopher.min_word_count", "is written source.filter.setting=value"),
        ("web.gopher=3", "is written source.filter.setting=value"),
        ("wev.gopher.min_word_count=3", "no source 'wev'; did you mean 'web'"),
        ("web.goper.min_word_count=3", "web has no filter 'goper'; did you mean 'gopher'"),
        ("web.gopher.name=x", "name says which filter it is"),
    ],
)
def test_an_unknown_name_is_refused(done: Plan, setting: str, said: str) -> None:
    """Sources and filters that are not there are answered with what was probably meant."""
    with pytest.raises(UsageError) as caught:
        whatif(done.pipeline.output, [setting])
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("web.gopher.min_word_cont=3", "did you mean 'min_word_count'"),
        ("web.gopher.max_symbol_frac=high", "max_symbol_frac"),
        ("web.gopher.max_hash_frac=0.5", "measures no such thing"),
    ],
)
def test_an_unknown_setting_or_value_is_refused(done: Plan, setting: str, said: str) -> None:
    """The filter's own schema judges, with its suggestions."""
    with pytest.raises(ConfigError) as caught:
        whatif(done.pipeline.output, [setting])
    assert said in str(caught.value)


def test_dedup_is_not_run_again(tmp_path: Path, tiny_tokenizer: Path) -> None:
    """A run with dedup steps is told so in the notes."""
    plan = run(tmp_path, tiny_tokenizer, dedup=[{"type": "exact"}])
    notes = whatif(plan.pipeline.output, EXACT["tighter"]).notes
    assert any("dedup is not run again" in note for note in notes)
