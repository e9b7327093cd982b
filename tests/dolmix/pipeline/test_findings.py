"""Findings: which rules decide nothing or too much, with the numbers that say so."""

from collections import Counter
from pathlib import Path
from typing import Any

import builders
import pytest
from typer.testing import CliRunner

from dolmix.cli.main import app
from dolmix.config import parse
from dolmix.filters import Datatrove, Gopher, Language
from dolmix.pipeline.engine import run_pipeline
from dolmix.pipeline.findings import findings, notes, rule_counts, status
from dolmix.pipeline.funnel import Funnel, funnels
from dolmix.pipeline.plan import Plan, make_plan
from dolmix.pipeline.spec import Pipeline

GOPHER = {"type": "gopher"}
LONG = {"type": "rule", "column": "gopher.word_count", "above": 60}
SCORED = {"type": "rule", "column": "gopher.symbol_frac", "at_least": 0.5, "name": "signs"}


def counts(filter_: Any, judged: int, **dropped: int) -> list[tuple[str, int, int]]:
    """Rule, judged and dropped, of a filter that dropped so many for each bare reason."""
    label = filter_.label
    reasons = Counter({f"{label}.{code}": n for code, n in dropped.items()})
    funnel = Funnel("web", (label,), judged=Counter({label: judged}), dropped=reasons)
    return [(r.rule, r.judged, r.dropped) for r in rule_counts(funnel, filter_)]


def test_a_rule_judges_what_the_rules_before_it_left() -> None:
    """The share of a late rule is of the documents that reached it, not of all."""
    filter_ = Gopher(min_word_count=50, max_word_count=100)
    found = counts(filter_, 100, word_count_low=60, word_count_high=30, required_words=5)
    assert found[:3] == [
        ("gopher.word_count_low", 100, 60),
        ("gopher.word_count_high", 40, 30),
        ("gopher.median_word_length_low", 10, 0),
    ]
    assert found[-1] == ("gopher.ellipsis_line_frac", 5, 0)


def test_a_missing_value_that_drops_is_the_rule_firing() -> None:
    """`_missing` is one of a rule's reasons; a rule that is off is none of the rules."""
    filter_ = Language(keep=("en",), min_score=None, model=Path("lid.ftz"))
    assert counts(filter_, 9, label_missing=4) == [("language.label", 9, 4)]


def test_reasons_of_a_column_are_their_rule_s() -> None:
    """A class of datatrove has one rule, and reasons of its own."""
    filter_ = Datatrove(filter="GopherQualityFilter")
    found = counts(filter_, 9, gopher_short_doc=2, dropped=1, error=3)
    assert found == [("datatrove.dropped", 9, 6)]
    funnel = Funnel("web", ("datatrove",), judged=Counter(datatrove=9))
    assert [r.limit for r in rule_counts(funnel, filter_)] == [""]


def plan_of(folder: Path, tokenizer: Path, filters: list[dict[str, Any]], **settings: Any) -> Plan:
    """Plan a run over 30 documents of 90 words and 10 of 20."""
    records = [builders.document(n) for n in range(30)]
    records += [builders.document(n, builders.prose(n, 20)) for n in range(30, 40)]
    if not (folder / "in").exists():
        builders.write_jsonl(folder / "in" / "web.jsonl", records)
    sources = {"web": {"inputs": [str(folder / "in" / "web.jsonl")], "filters": filters}}
    raw = builders.pipeline(folder / "run", tokenizer, sources=sources, **settings)
    return make_plan(parse(Pipeline, raw, origin="test"))


def test_rules_that_decide_nothing_or_too_much_are_found(
    tmp_path: Path, tiny_tokenizer: Path
) -> None:
    """Each with documents judged, dropped, share and limit; the same in `status`, as plain data."""
    plan = plan_of(tmp_path, tiny_tokenizer, [GOPHER, SCORED, LONG])
    assert findings(plan) == []  # nothing ran yet
    run_pipeline(plan.pipeline, quiet=True)
    found = {f.name: f for f in findings(plan)}
    assert "gopher.word_count_low" not in found  # dropped 10 of 40
    never = found["signs.high"]
    assert (never.kind, never.judged, never.dropped, never.limit) == (
        "never_fired",
        30,
        0,
        ">= 0.5",
    )
    much = found["gopher-word_count.high"]
    assert str(much) == (
        "web: gopher-word_count.high (> 60) dropped 30 of the 30 documents that it judged: 100.0%, "
        "warn_drop_frac is 50.0%"
    )
    lines = notes(plan)
    assert str(much) in lines
    assert "web: gopher-word_count dropped all 30 documents" in lines
    assert "web: never fired: signs (high >= 0.5: 0 of 30)" in lines
    (tmp_path / "run").rename(tmp_path / "moved")
    facts = status(tmp_path / "moved")
    assert facts["notes"] == lines
    shown = CliRunner().invoke(app, ["status", str(tmp_path / "moved")], catch_exceptions=False)
    assert shown.stdout.splitlines()[-len(lines) :] == [f"note: {line}" for line in lines]
    assert [f["text"] for f in facts["findings"]] == [str(f) for f in found.values()]
    assert {"rule": "gopher.word_count_low", "limit": "< 50", "judged": 40, "dropped": 10,
            "drop_frac": 0.25} in facts["rules"]["web"]  # fmt: skip


@pytest.mark.parametrize(("limit", "reported"), [(0.2, True), (0.25, False), (None, False)])
def test_the_share_is_a_setting(
    tmp_path: Path, tiny_tokenizer: Path, limit: float | None, reported: bool
) -> None:
    """More than `warn_drop_frac`, not as much; null reports none. No task depends on it."""
    plan = plan_of(tmp_path, tiny_tokenizer, [GOPHER], warn_drop_frac=limit)
    usual = plan_of(tmp_path, tiny_tokenizer, [GOPHER])
    assert plan.passes == usual.passes
    run_pipeline(plan.pipeline, quiet=True)
    assert any(f.kind == "dropped_much" for f in findings(plan)) == reported


def test_edits_are_reported_with_their_numbers(tmp_path: Path, tiny_tokenizer: Path) -> None:
    """Documents edited, bytes taken out, and documents that nothing was left of."""
    args = {"min_num_sentences": -1, "filter_no_terminal_punct": True}
    c4 = {"type": "datatrove", "name": "c4", "filter": "C4QualityFilter", "args": args}
    plan = plan_of(tmp_path, tiny_tokenizer, [c4])
    builders.write_jsonl(
        tmp_path / "in" / "web.jsonl",
        [builders.document(1, "One two three four.\nno end"), builders.document(2, "no end here")],
    )
    plan = make_plan(plan.pipeline)
    run_pipeline(plan.pipeline, quiet=True)
    funnel = funnels(plan)[0]
    assert funnel.describe()["edits"] == {"c4": {"documents": 2, "removed_bytes": 7 + 11}}
    assert (funnel.kept_text_bytes, funnel.emptied, funnel.tokens > 0) == (19, 1, True)
    assert funnel.edit_of("c4") == "edited 2, 18 bytes out"
    assert (
        "web: 1 of the 2 documents kept have no text left after their edits: each is one "
        "end-of-text token"
    ) in notes(plan)
