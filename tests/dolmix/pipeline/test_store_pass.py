"""What tokenizing and committing promise: clear outcomes, keyed order, no engine in the bytes."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import document, pipeline, prose, write_jsonl
from peers import needs

from dolmix.config import parse
from dolmix.errors import TaskError
from dolmix.permute import Permutation
from dolmix.pipeline import trust
from dolmix.pipeline.context import TaskContext
from dolmix.pipeline.engine import run_pipeline
from dolmix.pipeline.findings import notes
from dolmix.pipeline.passes import store as store_pass
from dolmix.pipeline.passes.store import commit_store
from dolmix.pipeline.passes.tokenize import tokenize_part
from dolmix.pipeline.plan import Plan
from dolmix.pipeline.records import RecordBook
from dolmix.pipeline.spec import Pipeline
from dolmix.pipeline.trust import distrust_engine, engine_fault
from dolmix.shards import Store, open_store, verify
from dolmix.tokenizer import Tokenizer

LARGE = 200_000_000
"""Bytes of the largest document that a test reads."""


def run(folder: Path, tokenizer_file: Path, **settings: Any) -> Plan:
    """Run a pipeline to its end."""
    raw = pipeline(folder / "out", tokenizer_file) | settings
    return run_pipeline(parse(Pipeline, raw, origin="test"), quiet=True)


def sound(path: Path) -> Store:
    """Open a store in which nothing is wrong."""
    assert verify(path, full=True) == []
    return open_store(path)


def contents(folder: Path) -> dict[str, bytes]:
    """All files below a folder."""
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in files}


def test_sources_at_the_edges_have_clear_outcomes(tmp_path: Path, tiny_tokenizer: Path) -> None:
    """An empty file, one document, every document dropped: each commits a store that says so."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in/empty.jsonl").write_bytes(b"")
    write_jsonl(tmp_path / "in/one.jsonl", [document(1)])
    write_jsonl(tmp_path / "in/short.jsonl", [document(n, "too short") for n in range(5)])
    sources = {
        name: {"inputs": [str(tmp_path / f"in/{name}.jsonl")]} for name in ("empty", "one", "short")
    }
    sources["short"]["filters"] = [{"type": "gopher"}]
    with pytest.raises(TaskError, match=r"empty\.jsonl: file holds no records"):
        run(tmp_path, tiny_tokenizer, sources=sources)
    skip = {"policy": "skip", "max_frac": 1.0}
    run(tmp_path, tiny_tokenizer, sources=sources, on_bad_record=skip)
    stores = tmp_path / "out/stores"
    found = {name: sound(stores / f"{name}@1") for name in sources}
    assert {name: store.num_documents for name, store in found.items()} == {
        "empty": 0,
        "one": 1,
        "short": 0,
    }
    assert found["one"].find_text(document(1)["text"]) == [0]
    assert found["short"].find_text("too short") == []
    assert found["short"].manifest.shards == ()


def test_documents_lie_in_keyed_order_with_their_own_tokens(
    tmp_path: Path, tiny_tokenizer: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Position i holds document pi(i), whatever number of ranges the rows were put in order by."""
    records = [document(n, prose(n, 3 + n % 40)) for n in range(300)]
    for part in range(5):
        write_jsonl(tmp_path / f"in/{part}.jsonl", records[60 * part : 60 * part + 60])
    sources = {"web": {"inputs": [str(tmp_path / "in/*.jsonl")]}}
    plan = run(tmp_path, tiny_tokenizer, sources=sources, shard_tokens=5000)
    order = Permutation((7, "docs", "web"), 300).forward(np.arange(300)).tolist()
    tokenizer = Tokenizer(plan.pipeline.tokenizer)
    path = tmp_path / "out/stores/web@1"
    with sound(path) as store:
        rows = store.provenance(range(300))
        assert [row.id for row in rows] == [records[n]["id"] for n in order]
        for place in (0, 7, 299):
            tokens = store.tokens(*store.document_span(place))[:-1]
            assert tokenizer.decode(tokens.tolist()) == records[order[place]]["text"]
    whole = contents(path)
    for ranges, waiting, tokens in ((1, 1, 1), (7, 20, 100), (64, 1000, 1 << 24), (300, 50, 900)):
        monkeypatch.setattr(store_pass, "RANGE_DOCUMENTS", ranges)
        monkeypatch.setattr(store_pass, "WAITING_ROWS", waiting)
        monkeypatch.setattr(store_pass, "APPEND_TOKENS", tokens)
        path.rename(tmp_path / f"other-{ranges}")
        commit_store(TaskContext(plan, plan.passes["store"][0], tmp_path / "report.json"))
        assert contents(path) == whole
    assert not list((tmp_path / "out/work").rglob("*.arrows"))


@pytest.mark.timeout(280)
def test_a_document_of_200_megabytes_becomes_one_document(
    tmp_path: Path, tiny_tokenizer: Path
) -> None:
    """Larger than a shard, a slice and a batch: one document in a shard of its own, whole."""
    needs("fastokens")
    piece = prose(1, 2000) + "\n"
    text = piece * (LARGE // len(piece) + 1)
    small = [document(n) for n in (1, 2)]
    write_jsonl(tmp_path / "in/a.jsonl", [small[0], document(3, text), small[1]])
    sources = {"web": {"inputs": [str(tmp_path / "in/a.jsonl")]}}
    plan = run(tmp_path, tiny_tokenizer, sources=sources, shard_tokens=1 << 20)
    with sound(tmp_path / "out/stores/web@1") as store:
        (large,) = store.find_text(text)
        start, stop = store.document_span(large)
        assert store.num_documents == 3
        assert store.manifest.totals.bytes == len(text) + sum(len(r["text"]) for r in small)
        entry = next(e for e in store.manifest.shards if e.tokens == stop - start)
        assert entry.documents == 1
        decode = Tokenizer(plan.pipeline.tokenizer).decode
        assert text.startswith(decode(store.tokens(start, start + 400)))
        tail = decode(store.tokens(stop - 400, stop - 1))
        assert text.endswith(tail)
        assert len(tail) > 400


# --- engines --------------------------------------------------------------------------------------


def changed_plan(plan: Plan, **settings: Any) -> Plan:
    """Give the plan with other settings of its tokenizer."""
    tokenizer = plan.pipeline.tokenizer.model_copy(update=settings)
    return Plan(plan.pipeline.model_copy(update={"tokenizer": tokenizer}), plan.parts, plan.passes)


@pytest.fixture
def finished(tmp_path: Path, tiny_tokenizer: Path) -> Plan:
    """Run a pipeline of two parts by the reference."""
    for part in range(2):
        records = [document(n) for n in range(part * 40, part * 40 + 40)]
        write_jsonl(tmp_path / f"in/{part}.jsonl", records)
    sources = {"web": {"inputs": [str(tmp_path / "in/*.jsonl")]}}
    settings = {"path": str(tiny_tokenizer), "engine": "tokenizers"}
    return run(tmp_path, tiny_tokenizer, sources=sources, tokenizer=settings)


def tokens_of(plan: Plan, part: int) -> bytes:
    """Tokens that the tokenize pass wrote for a part."""
    run = plan.pipeline.output
    record = RecordBook(run).read("tokenize", plan.task("tokenize", "web", part).key)
    return (run / record.outputs["tokens"]).read_bytes()


def test_no_engine_enters_a_key(tmp_path: Path, tiny_tokenizer: Path) -> None:
    """A run by one engine is a finished run for the other, and its bytes are the same."""
    needs("fastokens")
    write_jsonl(tmp_path / "in.jsonl", [document(n) for n in range(50)])
    sources = {"web": {"inputs": [str(tmp_path / "in.jsonl")]}}
    plans, stores = [], []
    for engine in ("tokenizers", "fastokens"):
        settings = {"path": str(tiny_tokenizer), "engine": engine}
        folder = tmp_path / engine
        plans.append(run(folder, tiny_tokenizer, sources=sources, tokenizer=settings))
        stores.append(contents(folder / "out/stores"))
        key = plans[-1].passes["tokenize"][0].key
        counts = RecordBook(folder / "out").read("tokenize", key).counts
        assert counts["fast_documents"] == (50 if engine == "fastokens" else 0)
    assert stores[0] == stores[1]
    assert plans[0].passes == plans[1].passes


def test_a_part_in_which_an_engine_is_found_out_is_done_again(
    finished: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batches before the discovery are not trusted either; the run's other tasks are told."""
    expected = tokens_of(finished, 0)
    plan = changed_plan(finished, engine="auto")
    wrong = Tokenizer(plan.pipeline.tokenizer)
    encode = wrong.encode
    batches = 0

    def encode_wrongly(texts: Any) -> tuple[np.ndarray, np.ndarray]:
        nonlocal batches
        batches += 1
        tokens, lengths = encode(texts)
        wrong.fast_documents += len(texts)
        wrong.disagreement = "document 'doc-7' has 3 or 4 tokens"
        return tokens ^ 1, lengths

    monkeypatch.setattr(wrong, "encode", encode_wrongly)
    load = trust.load_tokenizer
    monkeypatch.setattr(trust, "load_tokenizer", lambda c: wrong if c.engine == "auto" else load(c))
    context = TaskContext(plan, plan.task("tokenize", "web", 0), tmp_path / "report.json")
    result = tokenize_part(context)
    assert batches
    assert tokens_of(plan, 0) == expected
    assert result.counts["fast_documents"] == 0
    assert engine_fault(plan.pipeline.output) == "document 'doc-7' has 3 or 4 tokens"
    tokenize_part(TaskContext(plan, plan.task("tokenize", "web", 1), tmp_path / "report.json"))
    assert batches == 1
    (said,) = [line for line in notes(plan) if "fastokens" in line]
    assert "'doc-7' has 3 or 4 tokens" in said


def test_parts_of_an_engine_that_was_found_out_later_never_reach_a_store(
    finished: Plan, tmp_path: Path
) -> None:
    """The store pass does such parts again by the reference, and only those."""
    run = finished.pipeline.output
    path = run / "stores/web@1"
    whole = contents(path)
    for part, fast in ((0, 40), (1, 0)):
        task = finished.task("tokenize", "web", part)
        file = RecordBook(run).path("tokenize", task.key)
        record = json.loads(file.read_bytes())
        record["counts"]["fast_documents"] = fast
        file.write_text(json.dumps(record))
        tokens = run / record["outputs"]["tokens"]
        ids = np.frombuffer(tokens.read_bytes(), "<u2").copy()
        ids[0] ^= 1 - part  # what the engine got wrong; the other part is as it should be
        tokens.write_bytes(ids.tobytes())
    distrust_engine(run, "web/00001", "document 'doc-50' has 3 or 4 tokens")
    before = (run / json.loads(file.read_bytes())["outputs"]["tokens"]).stat().st_mtime_ns
    path.rename(tmp_path / "old")
    plan = changed_plan(finished, engine="auto")
    commit_store(TaskContext(plan, plan.passes["store"][0], tmp_path / "report.json"))
    assert contents(path) == whole
    after = (run / json.loads(file.read_bytes())["outputs"]["tokens"]).stat().st_mtime_ns
    assert after == before


def test_text_hashes_are_those_of_the_texts_after_edits(
    tmp_path: Path, tiny_tokenizer: Path
) -> None:
    """What was tokenized is what is found, not what was read."""
    kept = "A line that ends as a line should, with a stop.\n" * 5
    text = f"{kept}no stop here\n{kept}"
    write_jsonl(tmp_path / "in.jsonl", [document(1, text)])
    filters = [{"type": "c4", "min_sentences": None}]
    sources = {"web": {"inputs": [str(tmp_path / "in.jsonl")], "filters": filters}}
    plan = run(tmp_path, tiny_tokenizer, sources=sources)
    with sound(tmp_path / "out/stores/web@1") as store:
        assert store.num_documents == 1
        tokens = store.tokens(0, store.num_tokens - 1)
        edited = Tokenizer(plan.pipeline.tokenizer).decode(tokens)
        assert "no stop here" not in edited
        assert store.find_text(edited) == [0]
        assert store.find_text(text) == []
