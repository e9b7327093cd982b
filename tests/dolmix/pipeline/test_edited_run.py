"""Whole runs whose filters rewrite texts: what dedup compares, and what a store holds."""

from pathlib import Path
from typing import Any

import builders
import pyarrow.parquet as pq
import pytest

from dolmix.config import parse
from dolmix.pipeline.engine import run_pipeline
from dolmix.pipeline.funnel import funnels
from dolmix.pipeline.plan import Plan
from dolmix.pipeline.spec import Pipeline
from dolmix.shards import open_store
from dolmix.tokenizer import Tokenizer

C4 = {
    "type": "datatrove",
    "name": "c4",
    "filter": "C4QualityFilter",
    "args": {"min_num_sentences": -1},
}
COUNT = {"type": "gopher", "min_word_count": 30}
TEXT = builders.prose(1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Write a text, the same with a line that C4 takes out, one that only that line keeps."""
    texts = [TEXT, f"{TEXT}\r\nClick here", builders.prose(2) + "\nNo end\n", "Too few words."]
    records = [builders.document(n, text) for n, text in enumerate(texts)]
    builders.write_jsonl(tmp_path / "in" / "web.jsonl", records)
    return tmp_path


def run(folder: Path, tokenizer: Path, *overrides: str, **settings: Any) -> Plan:
    """Run C4, then Gopher."""
    inputs = [str(folder / "in" / "web.jsonl")]
    sources = {"web": {"inputs": inputs, "filters": [C4, COUNT]}}
    raw = builders.pipeline(folder / "run", tokenizer, **{"sources": sources, **settings})
    return run_pipeline(parse(Pipeline, raw, overrides, origin="test"), quiet=True)


@pytest.mark.parametrize("tag", ["reached", "all"])
def test_a_store_holds_the_edited_texts(folder: Path, tiny_tokenizer: Path, tag: str) -> None:
    """Tokens, and the bytes that bytes per token counts, are those of the texts after all edits."""
    plan = run(folder, tiny_tokenizer, tag=tag)
    tokenizer = Tokenizer(plan.pipeline.tokenizer)
    with open_store(folder / "run" / "stores" / "web@1") as store:
        assert store.num_documents == 3
        spans = {store.provenance([n])[0].id: store.document_span(n) for n in range(3)}
        texts = {name: tokenizer.decode(store.tokens(*span)) for name, span in spans.items()}
        assert store.manifest.totals.bytes == 2 * len(TEXT) + len(builders.prose(2))
    shown = {name: text.removesuffix(builders.EOS) for name, text in texts.items()}
    assert shown == {"doc-0": TEXT, "doc-1": TEXT, "doc-2": builders.prose(2)}


def test_decisions_speak_of_the_original(folder: Path, tiny_tokenizer: Path) -> None:
    """Sizes are those of the input, edits are spans of it; metadata tells what came before."""
    plan = run(folder, tiny_tokenizer)
    path = next((plan.pipeline.output / "decisions" / "web").glob("*.parquet"))
    table = pq.read_table(path)
    records = [builders.document(n)["id"] for n in range(4)]
    assert table["id"].to_pylist() == records
    sizes = [len(TEXT), len(TEXT) + 12, len(builders.prose(2)) + 8, 14]
    assert table["num_bytes"].to_pylist() == sizes
    spans = [None if row is None else [(s["start"], s["stop"]) for s in row]
             for row in table["c4.edit"].to_pylist()]  # fmt: skip
    assert spans == [None, [(len(TEXT), sizes[1])], [(len(builders.prose(2)), sizes[2])], None]
    assert table["gopher.word_count"].to_pylist() == [90, 90, 90, 3]
    assert table.schema.field("gopher.word_count").metadata[b"edits"].startswith(b"c4:")


def test_dedup_compares_the_edited_texts(folder: Path, tiny_tokenizer: Path) -> None:
    """Two texts that are the same after their edits are exact duplicates."""
    plan = run(folder, tiny_tokenizer, dedup=[{"type": "exact", "normalize": "none"}])
    assert funnels(plan)[0].dropped == {"exact.duplicate": 1, "gopher.word_count_low": 1}


def test_dropped_texts_are_the_original_ones(folder: Path, tiny_tokenizer: Path) -> None:
    """`keep_dropped` writes what was read, edits or not."""
    plan = run(folder, tiny_tokenizer, keep_dropped=True, dedup=[{"type": "exact"}])
    files = (plan.pipeline.output / "excluded" / "web").glob("*.parquet")
    rows = [row for path in files for row in pq.read_table(path).to_pylist()]
    assert {r["id"]: r["text"] for r in rows} == {
        "doc-1": f"{TEXT}\r\nClick here",
        "doc-3": "Too few words.",
    }


@pytest.mark.parametrize("part_bytes", [300, 10**9])
def test_parts_do_not_change_an_edited_store(
    folder: Path, tiny_tokenizer: Path, part_bytes: int
) -> None:
    """However the input is cut, the store is the same."""
    plan = run(folder, tiny_tokenizer, part_bytes=part_bytes)
    whole = run(folder, tiny_tokenizer, f"output={folder / 'whole'}")
    assert funnels(plan)[0].content_hash == funnels(whole)[0].content_hash
    assert (len(plan.parts["web"]) > 1) == (part_bytes == 300)


def test_an_edit_s_settings_change_the_keys(folder: Path, tiny_tokenizer: Path) -> None:
    """Another edit is another result: no task of the run before it is taken for done."""
    plan = run(folder, tiny_tokenizer)
    other = {**C4, "args": {"min_num_sentences": -1, "remove_citations": False}}
    sources = {
        "web": {"inputs": list(plan.pipeline.sources["web"].inputs), "filters": [other, COUNT]}
    }
    again = run(folder, tiny_tokenizer, sources=sources)
    assert plan.passes["filter"][0].key != again.passes["filter"][0].key


def test_a_filter_with_a_state_begins_anew_in_every_part(
    tmp_path: Path, tiny_tokenizer: Path
) -> None:
    """A sampler of datatrove draws the same in both files, whatever task a worker did before."""
    records = [builders.document(n) for n in range(40)]
    for name in ("a", "b"):
        builders.write_jsonl(tmp_path / "in" / f"{name}.jsonl", records)
    sampler = {"type": "datatrove", "filter": "SamplerFilter", "args": {"rate": 0.5, "seed": 1}}
    inputs = [str(tmp_path / "in" / "*.jsonl")]
    sources = {"web": {"inputs": inputs, "filters": [sampler]}}
    plan = run(tmp_path, tiny_tokenizer, sources=sources)
    files = sorted((plan.pipeline.output / "decisions" / "web").glob("*.parquet"))
    one, two = (pq.read_table(path)["datatrove.keep"].to_pylist() for path in files)
    assert one == two
    assert {True, False} == set(one)
