"""Statistics of a run, held to what its files say read in plain Python."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import builders
import dedup_runs
import pyarrow.parquet as pq
import pytest

from dolmix.errors import UsageError
from dolmix.pipeline.plan import Plan
from dolmix.pipeline.why import explain_part
from dolmix.report import columns
from dolmix.report.stats import describe
from dolmix.report.wanted import Wanted
from dolmix.shards import open_store


@pytest.fixture(scope="module")
def everything(made_run: Plan) -> dict[str, Any]:
    """Describe all documents, with their texts."""
    return describe(str(made_run.pipeline.output), Wanted(ngrams=3, top=4), quiet=True)


@pytest.fixture(scope="module")
def survivors(made_run: Plan) -> dict[str, Any]:
    """Describe the documents that were kept, with their texts."""
    return describe(str(made_run.pipeline.output), Wanted(kept=True, ngrams=2, top=4), quiet=True)


def decisions(plan: Plan, source: str) -> list[dict[str, Any]]:
    """Rows of a source's decisions."""
    folder = plan.pipeline.output / "decisions" / source
    return [
        row for path in sorted(folder.glob("*.parquet")) for row in pq.read_table(path).to_pylist()
    ]


def explained(plan: Plan, source: str) -> list[Any]:
    """Give what `why` says of every document."""
    return [one for n in range(len(plan.parts[source])) for one in explain_part(plan, source, n)]


def texts_of(plan: Plan, source: str) -> list[str]:
    """Texts of a source as they were read."""
    paths = sorted({part.uri for part in plan.parts[source]})
    return [json.loads(line)["text"] for p in paths for line in Path(p).read_text().splitlines()]


def kept_texts(plan: Plan, source: str) -> list[str]:
    """Texts of a source's stores, decoded, held-out ones too."""
    from dolmix.shards.describe import load_pinned

    found = []
    for name in (source, f"{source}-valid"):
        path = plan.pipeline.output / "stores" / f"{name}@1"
        if path.exists():
            with open_store(path) as store:
                tokenizer = load_pinned(store, plan.pipeline.tokenizer.path)
                spans = [store.document_span(n) for n in range(store.num_documents)]
                found += [tokenizer.decode(store.tokens(a, b - 1).tolist()) for a, b in spans]
    return found


def grams(texts: list[str], n: int) -> Counter[str]:
    """Count the n-grams of texts."""
    words = [text.split() for text in texts]
    return Counter(" ".join(w[i : i + n]) for w in words for i in range(len(w) - n + 1))


def test_the_run_has_all_that_is_counted(made_run: Plan) -> None:
    """The other tests mean something: edits, every kind of duplicate, null URLs, several parts."""
    rows = explained(made_run, "web")
    reasons = {one.reason for one in rows}
    assert {
        None,
        "exact.duplicate",
        "near.duplicate",
        "gopher.word_count_low",
        "lang.listed",
    } <= reasons
    assert any(one.edits and one.outcome == "kept" for one in rows)
    assert any(one.outcome == "held out" for one in rows)
    assert len(made_run.parts["web"]) > 2


def test_counts_and_verdicts_are_those_of_the_documents(
    made_run: Plan, everything: dict[str, Any]
) -> None:
    """Documents, bytes, kept ones, reasons in the order of the steps, words that a column has."""
    for source, told in everything["sources"].items():
        rows = explained(made_run, source)
        counts = told["counts"]
        assert counts["documents"] == len(rows)
        assert counts["bytes"] == sum(one.num_bytes for one in rows)
        assert counts["kept"] == sum(one.reason is None for one in rows)
        dropped = Counter(one.reason for one in rows if one.reason)
        assert {v["reason"]: v["documents"] for v in told["verdicts"]} == dropped
    words = [row["gopher.word_count"] for row in decisions(made_run, "web")]
    web = everything["sources"]["web"]["counts"]
    assert web["words"] == sum(n for n in words if n is not None)
    assert (web["words_column"], everything["sources"]["notes"]["counts"]["words"]) == (
        "gopher.word_count", None,
    )  # fmt: skip
    steps = [v["step"] for v in everything["sources"]["web"]["verdicts"]]
    order = ["lines", "gopher", "lang", "exact", "near", "paragraphs"]
    assert steps == sorted(steps, key=order.index)


def test_lengths_add_up(everything: dict[str, Any], survivors: dict[str, Any]) -> None:
    """Bins of bytes hold every document of the view, bins of tokens the kept ones."""
    for view in (everything, survivors):
        for told in view["sources"].values():
            for unit, total in (("bytes", "documents"), ("tokens", "kept")):
                bins = told["lengths"][unit]
                assert sum(row["documents"] for row in bins) == told["counts"][total]
                assert sum(row[unit] for row in bins) == told["counts"][unit]


def test_columns_have_their_quantiles_and_nulls(made_run: Plan, everything: dict[str, Any]) -> None:
    """Of every numeric column; a null that no filter reached is told apart; edits are left out."""
    rows = decisions(made_run, "web")
    told = everything["sources"]["web"]["columns"]
    assert "lines.edit" not in told
    order = ["lines", "gopher", "lang"]
    for name in ("num_bytes", "lines.lines_total", "gopher.word_count", "gopher.symbol_frac"):
        values = sorted(row[name] for row in rows if row[name] is not None)
        column = told[name]
        assert (column["values"], column["nulls"]) == (len(values), len(rows) - len(values))
        assert [column["quantiles"][f"p{p}"] for p in (0, 50, 100)] == [
            values[0], values[-(-len(values) // 2) - 1], values[-1],
        ]  # fmt: skip
        assert column["mean"] == pytest.approx(sum(values) / len(values))
    for name, column in told.items():
        label = name.partition(".")[0]
        before = order[: order.index(label)] if label in order else []
        assert column["not_reached"] == sum(row["reached"] in before for row in rows)
    languages = Counter(row["lang.value"] for row in rows if row["lang.value"])
    found = {row["value"]: row["count"] for row in told["lang.value"]["top"]}
    assert found == dict(languages)


def test_columns_are_the_same_however_little_is_held(
    made_run: Plan, everything: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A column that does not fit is read bit by bit, to the same values."""
    run = str(made_run.pipeline.output)
    for held in (0, 300):
        monkeypatch.setitem(columns.describe_columns.__kwdefaults__, "held_bytes", held)
        again = describe(run, Wanted(top=4), quiet=True)
        for source, told in again["sources"].items():
            assert told["columns"] == everything["sources"][source]["columns"]


def test_kept_documents_are_those_of_the_stores(made_run: Plan, survivors: dict[str, Any]) -> None:
    """Counted as they train: sizes and texts are those after all edits."""
    for source, told in survivors["sources"].items():
        texts = kept_texts(made_run, source)
        sizes = sum(len(text.encode()) for text in texts)
        assert (told["counts"]["documents"], told["counts"]["bytes"]) == (len(texts), sizes)
        assert told["texts"] == {
            "documents": len(texts),
            "bytes": sizes,
            "characters": sum(map(len, texts)),
            "words": sum(len(text.split()) for text in texts),
            "lines": sum(text.count("\n") + (text[-1:] not in {"", "\n"}) for text in texts),
        }
        for length in told["ngrams"]:
            expected = grams(texts, length["n"])
            assert length["distinct"] == len(expected)
            counts = [row["count"] for row in length["top"]]
            assert counts == [count for _, count in expected.most_common(4)]
            assert all(expected[row["ngram"]] == row["count"] for row in length["top"])


def test_all_documents_are_read_as_they_came(made_run: Plan, everything: dict[str, Any]) -> None:
    """Dropped ones are counted too, and no text is edited."""
    for source, told in everything["sources"].items():
        texts = texts_of(made_run, source)
        assert told["texts"]["characters"] == sum(map(len, texts))
        assert [length["n"] for length in told["ngrams"]] == [1, 2, 3]
        for length in told["ngrams"]:
            expected = grams(texts, length["n"])
            assert (length["total"], length["elsewhere"]) == (expected.total(), 0)
            assert all(expected[row["ngram"]] == row["count"] for row in length["top"])


def test_domains_are_of_all_documents_where_dropped_ones_were_kept(
    made_run: Plan, everything: dict[str, Any], survivors: dict[str, Any]
) -> None:
    """With the documents kept of each; without a URL there is nothing to tell."""
    pytest.importorskip("tldextract")
    domains = everything["sources"]["web"]["domains"]
    rows = explained(made_run, "web")
    assert (domains["of"], domains["documents"]) == ("all", len(rows))
    assert [row["domain"] for row in domains["top"]] == ["example.org", "bbc.co.uk"]
    numbers = [int(one.id.partition("-")[2]) for one in rows]
    kept = [n for n, one in zip(numbers, rows, strict=True) if one.reason is None]
    assert domains["without_url"] == sum(n % 4 == 3 for n in numbers)
    assert {row["domain"]: row["documents"] for row in domains["top"]} == {
        "example.org": sum(n % 4 < 2 for n in numbers),
        "bbc.co.uk": sum(n % 4 == 2 for n in numbers),
    }
    assert {row["domain"]: row["kept"] for row in domains["top"]} == {
        "example.org": sum(n % 4 < 2 for n in kept),
        "bbc.co.uk": sum(n % 4 == 2 for n in kept),
    }
    assert survivors["sources"]["web"]["domains"]["of"] == "kept"
    assert survivors["sources"]["web"]["domains"]["documents"] == len(kept)
    assert everything["sources"]["notes"]["domains"] is None


def test_duplicates_are_those_that_dedup_dropped(
    made_run: Plan, everything: dict[str, Any]
) -> None:
    """By step: how many, in clusters of which sizes, how alike; then all steps together."""
    told = {step["step"]: step for step in everything["sources"]["web"]["duplicates"]}
    assert list(told) == ["exact", "near", "all steps", "paragraphs"]
    rows = dedup_runs.rows(made_run)
    for label in ("exact", "near"):
        mine = [r for r in rows if r["reason"] == f"{label}.duplicate" and r["file"] == "web"]
        sizes = Counter(r["cluster"] for r in mine)
        assert told[label]["duplicates"] == len(mine)
        assert told[label]["clusters"] == len(sizes)
        assert sum(b["members"] for b in told[label]["sizes"]) == len(mine) + len(sizes)
    near = [r["jaccard"] for r in rows if r["reason"] == "near.duplicate"]
    assert told["near"]["jaccard"]["p0"] == min(near)
    assert told["paragraphs"]["duplicate_units"] == 1
    judged = sum(row["reason"] is None for row in decisions(made_run, "web"))
    assert told["exact"]["documents"] == judged
    assert told["exact"]["duplicate_frac"] == told["exact"]["duplicates"] / judged


def test_the_result_does_not_depend_on_threads(made_run: Plan, everything: dict[str, Any]) -> None:
    """Any number gives the same bytes."""
    run = str(made_run.pipeline.output)
    again = describe(run, Wanted(ngrams=3, top=4, workers=3), quiet=True)
    assert json.dumps(again) == json.dumps(everything)


def test_half_a_run_is_described_as_far_as_it_is(tmp_path: Path, tiny_tokenizer: Path) -> None:
    """Before dedup is done there are columns and reasons; kept documents are refused."""
    source = dedup_runs.source(tmp_path, "web", (builders.document(n) for n in range(4)))
    made = dedup_runs.pipeline(
        tmp_path, tiny_tokenizer, "run", sources={"web": source}, dedup=[{"type": "exact"}]
    )
    run = str(dedup_runs.run(made, last="filter").pipeline.output)
    told = describe(run, Wanted(), quiet=True)
    counts = told["sources"]["web"]["counts"]
    assert (counts["documents"], counts["kept"], counts["tokens"]) == (4, None, None)
    assert told["sources"]["web"]["duplicates"] == []
    assert any("no store yet" in note for note in told["notes"])
    with pytest.raises(UsageError, match="not decided yet"):
        describe(run, Wanted(kept=True), quiet=True)


def test_what_is_no_run_and_no_store_is_refused(tmp_path: Path) -> None:
    """With what was looked for; so are n-grams of more words than are counted."""
    with pytest.raises(UsageError, match="neither a run nor a store"):
        describe(str(tmp_path), Wanted(), quiet=True)
    with pytest.raises(UsageError, match="n-grams of 6 words"):
        Wanted(ngrams=6)
