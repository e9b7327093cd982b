"""`why`: what a run tells of one document, on runs small enough to know the answers."""

from pathlib import Path
from typing import Any

import builders
import pytest

from dolmix.config import parse
from dolmix.errors import UsageError
from dolmix.pipeline.engine import run_pipeline
from dolmix.pipeline.explained import Explanation
from dolmix.pipeline.plan import Plan
from dolmix.pipeline.spec import Pipeline
from dolmix.pipeline.why import explain_part, why
from dolmix.shards import open_store

LINE = "Subscribe to our letter today"
TEXTS = {
    "plain": builders.prose(1),
    "second": builders.prose(1) + " ",
    "short": "Too few words.",
    "symbols": builders.prose(3) + " #" * 60,
    "lines": f"{builders.prose(4)}\n{LINE}\nmore text here\n{LINE}\n{LINE}\nThe end.",
    "shared": f"{builders.prose(5)}\n\n{builders.prose(6)}",
    "shares": f"{builders.prose(6)}\n\n{builders.prose(7)}",
}
FILTERS = [
    {"type": "lines", "max_removed_frac": 0.5},
    {"type": "gopher"},
    {"type": "sampler", "keep_frac": 1.0},
]
DEDUP = [
    {"type": "exact"},
    {"type": "minhash", "name": "near", "drop": "none"},
    {"type": "paragraphs"},
]


def run(folder: Path, tokenizer: Path, **settings: Any) -> Plan:
    """Run over the texts, one bad record among them, cut into two parts."""
    records = [builders.document(n, text) for n, text in enumerate(TEXTS.values())]
    named = [{**r, "id": name} for r, name in zip(records, TEXTS, strict=True)]
    builders.write_jsonl(folder / "in" / "web.jsonl", [*named[:2], b"{broken", *named[2:]])
    source = {
        "inputs": [str(folder / "in" / "*")],
        "filters": FILTERS,
        **settings.pop("source", {}),
    }
    settings = {"dedup": DEDUP, "part_bytes": 1500, **settings}
    raw = builders.pipeline(
        folder / "run", tokenizer, sources={"web": source},
        on_bad_record={"policy": "skip", "max_frac": 0.5}, **settings,
    )  # fmt: skip
    return run_pipeline(parse(Pipeline, raw, origin="test"), quiet=True)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, tiny_tokenizer: Path) -> Plan:
    """Run once for all tests that only look."""
    return run(tmp_path_factory.mktemp("why"), tiny_tokenizer)


def one(plan: Plan, document: str, **options: Any) -> Explanation:
    """Explain the only document of an id."""
    (found,) = why(plan.pipeline.output, document, **options)
    return found


def verdicts(found: Explanation) -> dict[str, str]:
    """Verdict of each rule, by its reason code."""
    return {told.rule: told.verdict for told in found.rules}


def test_a_kept_document_is_found_in_its_store(done: Plan) -> None:
    """Every rule kept it; store and number lead to its tokens' provenance."""
    found = one(done, "plain")
    assert (found.outcome, found.reason) == ("kept", None)
    assert set(verdicts(found).values()) == {"keep"}
    assert found.store is not None
    with open_store(done.pipeline.output / found.store[0]) as store:
        assert store.provenance([found.store[1]])[0].id == "plain"


def test_a_dropped_document_has_the_value_and_the_limit(done: Plan) -> None:
    """The first rule beyond its limit dropped it; later ones are told apart; none after is read."""
    found = one(done, "short")
    assert (found.outcome, found.reason) == ("dropped", "gopher.word_count_low")
    drop = next(told for told in found.rules if told.verdict == "drop")
    assert (drop.rule, drop.column, drop.value, drop.limit) == (
        "gopher.word_count_low", "gopher.word_count", 3, "< 50",
    )  # fmt: skip
    told = verdicts(found)
    assert told["gopher.required_words"] == "beyond too"
    assert told["sampler.draw"] == "not reached"
    assert told["lines.removed_frac"] == "keep"
    assert found.store is None


def test_rules_stand_in_their_order(done: Plan) -> None:
    """Filters in YAML order, rules in each filter's; the same for every document."""
    orders = {tuple(told.column for told in e.rules) for e in explain_part(done, "web", 0)}
    assert len(orders) == 1
    columns = list(orders.pop())
    assert columns[0] == "lines.removed_frac"
    assert columns[-1] == "sampler.draw"


def test_a_filter_without_rules_shows_what_it_measured(
    tmp_path: Path, tiny_tokenizer: Path, lid_model: Path
) -> None:
    """Of a classifier that only reports every value is told, of masks their number."""
    about = {"type": "classifier", "name": "english", "model": str(lid_model), "labels": ["en"]}
    filters = [
        {"type": "gopher"},
        {**about, "report_only": True},
        {"type": "pii", "preset": "dolma-1.2", "max_count": None},
    ]
    plan = run(tmp_path, tiny_tokenizer, source={"filters": filters})
    found = one(plan, "plain")
    told = {t.column: t for t in found.rules if t.filter != "gopher"}
    assert told.pop("pii.count").value == 0
    assert list(told) == ["english.score", "english.label", "english.label_score"]
    assert {t.verdict for t in told.values()} == {"measured"}
    assert told["english.label"].value == "en"
    assert told["english.score"].value == told["english.label_score"].value > 0.5
    dropped = {t.filter: t.verdict for t in one(plan, "short").rules}
    assert dropped["english"] == "not reached"


def test_every_document_s_reason_is_that_of_its_first_drop(done: Plan) -> None:
    """Explained part by part, each document's reason follows from the values shown."""
    seen = []
    for number in range(len(done.parts["web"])):
        for found in explain_part(done, "web", number):
            drops = [told.rule for told in found.rules if told.verdict == "drop"]
            by_dedup = [d.reason for d in found.duplicates if d.drops]
            assert ([*drops, *by_dedup] or [None])[0] == found.reason
            seen.append(found.id)
    assert seen == list(TEXTS)


def test_file_and_record_name_a_document_in_any_part(done: Plan) -> None:
    """Records count from 0 over the whole file, bad ones among them, however it is cut."""
    assert len(done.parts["web"]) > 1
    for number, name in enumerate([*list(TEXTS)[:2], None, *list(TEXTS)[2:]]):
        found = one(done, f"web.jsonl:{number}")
        assert found.record == number
        if name is None:
            assert found.outcome == "bad record"
            assert found.reason
        else:
            assert found == one(done, name)


def test_duplicates_name_the_one_that_stays(done: Plan) -> None:
    """An exact duplicate has a Jaccard of 1; a step that drops nothing only reports."""
    found = one(done, "second")
    assert (found.outcome, found.reason) == ("dropped", "exact.duplicate")
    exact = next(d for d in found.duplicates if d.step == "exact")
    assert (exact.of_source, exact.of_id, exact.jaccard, exact.estimated) == (
        "web", "plain", 1.0, False,
    )  # fmt: skip
    for other in found.duplicates:
        assert other.drops == (other.step == "exact")


def test_an_edit_is_shown_as_a_diff(done: Plan) -> None:
    """Each change has what went, from where, and by whom; the text is read for it."""
    found = one(done, "lines")
    assert [(e.filter, e.counts["lines_repeated"]) for e in found.edits] == [("lines", 2)]
    assert found.edits[0].removed_bytes == sum(len(h.removed) for h in found.diff)
    text = TEXTS["lines"]
    for hunk in found.diff:
        assert text[hunk.start : hunk.stop] == hunk.removed
        assert hunk.by == ("lines",)
        assert LINE in hunk.removed
        assert any(line == f"-{LINE}" for line in hunk.lines())
    assert found.text is None
    assert one(done, "lines", text=True).text == text


def test_paragraphs_of_other_documents_are_told(done: Plan) -> None:
    """What paragraph dedup took out is counted and shown, with the step's name."""
    found = one(done, "shares")
    assert found.paragraphs is not None
    assert found.paragraphs["duplicate_units"] == 1
    assert found.edits[-1].filter == "paragraphs"
    assert builders.prose(6) in "".join(h.removed for h in found.diff)
    assert found.outcome == "kept"


def test_an_unknown_id_is_answered_with_what_is_like_it(done: Plan) -> None:
    """A slip of the pen is recognised; a record beyond the file is none."""
    run_folder = done.pipeline.output
    with pytest.raises(UsageError, match=r"'symbol': .* Did you mean 'symbols'\?"):
        why(run_folder, "symbol")
    with pytest.raises(UsageError, match=r"no document 'web.jsonl:99'"):
        why(run_folder, "web.jsonl:99")
    with pytest.raises(UsageError, match="no run of"):
        why(run_folder / "work", "plain")


def test_an_input_that_is_gone_leaves_all_but_the_diff(
    tmp_path: Path, tiny_tokenizer: Path
) -> None:
    """Values, reasons and counts do not need the text; the note says what is missing."""
    plan = run(tmp_path, tiny_tokenizer, dedup=[])
    (tmp_path / "in" / "web.jsonl").unlink()
    found = one(plan, "lines")
    assert found.diff == ()
    assert found.edits[0].counts["lines_repeated"] == 2
    assert "cannot be read" in found.note


def test_held_out_documents_are_in_their_own_store(tmp_path: Path, tiny_tokenizer: Path) -> None:
    """A held-out document says so and names the store beside."""
    plan = run(tmp_path, tiny_tokenizer, dedup=DEDUP[:1], source={"holdout": {"documents": 1}})
    found = [e for n in range(len(plan.parts["web"])) for e in explain_part(plan, "web", n)]
    held = [e for e in found if e.outcome == "held out"]
    assert len(held) == 1
    assert held[0].store is not None
    assert held[0].store[0] == "stores/web-valid@1"
    with open_store(plan.pipeline.output / held[0].store[0]) as store:
        assert store.provenance([held[0].store[1]])[0].id == held[0].id
