"""What holding out promises: whole clusters, chosen by key, and nothing alike left in training."""

from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import pipeline, prose, write_jsonl
from hypothesis import given
from hypothesis import strategies as st
from peers import english_sample

from dolmix.config import parse
from dolmix.errors import ConfigError, TaskError
from dolmix.pipeline.engine import run_pipeline
from dolmix.pipeline.funnel import funnels
from dolmix.pipeline.passes.holdout import frac_limit, mixed
from dolmix.pipeline.plan import make_plan
from dolmix.pipeline.records import RecordBook
from dolmix.pipeline.spec import Pipeline
from dolmix.shards import open_store, verify

REPORT = {"type": "exact", "drop": "none"}
ALIKE = 0.85
"""Similarity from which a training document may not be like a held-out one; steps look from 0.8."""


def inputs(folder: Path, texts: dict[str, str], name: str = "web", parts: int = 2) -> str:
    """Write texts by id over a few files; return their pattern."""
    records = [{"id": i, "text": t} for i, t in texts.items()]
    for number in range(parts):
        write_jsonl(folder / name / f"{number}.jsonl", records[number::parts])
    return str(folder / name / "*.jsonl")


def run(folder: Path, tokenizer: Path, sources: dict[str, Any], **settings: Any) -> Path:
    """Run a pipeline to its end; return the folder of its stores."""
    raw = pipeline(folder / "out", tokenizer, sources=sources, **settings)
    run_pipeline(parse(Pipeline, raw, origin="test"), quiet=True)
    return folder / "out" / "stores"


def ids(store: Path) -> list[str]:
    """Ids of a store's documents, which must be sound."""
    assert verify(store, full=True) == []
    with open_store(store) as opened:
        return [row.id for row in opened.provenance(range(opened.num_documents))]


def test_clusters_are_held_out_whole_from_every_source(
    tmp_path: Path, tiny_tokenizer: Path
) -> None:
    """Copies in two sources go together; those of a source that holds nothing out all stay."""
    web = {f"w{n}": prose(n // 3) for n in range(90)}  # thrice each
    code = {f"c{n}": prose(n) for n in range(0, 60, 2)}  # some of web's, once each
    books = {f"b{n}": prose(n) for n in range(5)}
    sources = {
        "web": {"inputs": [inputs(tmp_path, web)], "holdout": {"documents": 20}},
        "code": {"inputs": [inputs(tmp_path, code, "code")], "holdout": {"frac": 0.3}},
        "books": {"inputs": [inputs(tmp_path, books, "books")]},
    }
    stores = run(tmp_path, tiny_tokenizer, sources, dedup=[REPORT])
    texts = web | code | books
    found = {name: ids(stores / f"{name}@1") for name in ("web", "web-valid", "code", "code-valid")}
    held = {texts[i] for i in (*found["web-valid"], *found["code-valid"])}
    kept = {texts[i] for i in (*found["web"], *found["code"], *ids(stores / "books@1"))}
    assert held.isdisjoint(kept)
    assert len(found["web-valid"]) % 3 == 0
    assert 20 <= len(found["web-valid"]) < 60
    assert sorted(found["web"] + found["web-valid"]) == sorted(web)
    assert sorted(found["code"] + found["code-valid"]) == sorted(code)
    assert not held & set(books.values())
    assert not (stores / "books-valid@1").exists()


def test_what_is_held_out_follows_from_ids_alone(tmp_path: Path, tiny_tokenizer: Path) -> None:
    """Other files, other order, another source before it: of what was there, the same is held."""
    texts = {f"d{n}": prose(n) for n in range(80)}
    more = {f"e{n}": prose(1000 + n) for n in range(40)}
    held = []
    for number, (given_texts, parts) in enumerate(
        [(texts, 1), (dict(reversed(texts.items())), 3), (more | texts, 2)]
    ):
        folder = tmp_path / str(number)
        sources: dict[str, Any] = {
            "web": {
                "inputs": [inputs(folder, given_texts, parts=parts)],
                "holdout": {"frac": 0.25},
            }
        }
        if number == 2:
            first = {"inputs": [inputs(folder, {"x": prose(5000)}, "first", parts=1)]}
            sources = {"first": first, **sources}
        stores = run(folder, tiny_tokenizer, sources, dedup=[{"type": "exact"}])
        held.append(set(ids(stores / "web-valid@1")))
    assert held[0] == held[1] == held[2] & set(texts)
    assert 8 < len(held[0]) < 35
    assert held[2] & set(more)


def test_bytes_do_not_depend_on_workers(tmp_path: Path, tiny_tokenizer: Path) -> None:
    """One, two and five tasks at once commit the same stores, held-out ones too."""
    pattern = inputs(tmp_path, {f"d{n}": prose(n // 2) for n in range(120)}, parts=6)
    sources = {"web": {"inputs": [pattern], "holdout": {"documents": 10}}}
    found = []
    for workers in (1, 2, 5):
        executor = {"type": "local", "workers": workers}
        stores = run(
            tmp_path / str(workers), tiny_tokenizer, sources, dedup=[REPORT], executor=executor
        )
        files = sorted(path for path in stores.rglob("*") if path.is_file())
        found.append({str(p.relative_to(stores)): p.read_bytes() for p in files})
    assert found[0] == found[1] == found[2]
    assert {name.split("/")[0] for name in found[0]} == {"web@1", "web-valid@1"}


@pytest.mark.corpus
@pytest.mark.parametrize("drop", ["clusters", "none"])
def test_no_near_duplicate_straddles_by_brute_force(
    shared: Path, tmp_path: Path, tiny_tokenizer: Path, drop: str
) -> None:
    """Every held-out document against every one in training, by the Jaccard of their shingles."""
    texts = english_sample(shared, 0.4)
    # near copies, some words changed, of every third document
    for number, text in enumerate(texts[::3]):
        words = text.split(" ")
        words[number % 7 :: 211] = ["altered"] * len(words[number % 7 :: 211])
        texts.append(" ".join(words))
    by_id = {f"d{n}": text for n, text in enumerate(texts)}
    sources = {"web": {"inputs": [inputs(tmp_path, by_id)], "holdout": {"frac": 0.3}}}
    step = {"type": "minhash", "threshold": 0.8}
    dedup = [step | ({"drop": "none"} if drop == "none" else {})]
    stores = run(tmp_path, tiny_tokenizer, sources, dedup=dedup)
    held, kept = ids(stores / "web-valid@1"), ids(stores / "web@1")
    shingles = {i: _shingles(by_id[i]) for i in (*held, *kept)}
    assert len(held) > 20
    alike = [(a, b) for a in held for b in kept if _jaccard(shingles[a], shingles[b]) >= ALIKE]
    assert alike == []
    if drop == "none":  # the copies are there, so that the test could have failed
        assert len(held) + len(kept) == len(texts)
        together = set(held)
        assert any(
            _jaccard(shingles[a], shingles[b]) >= ALIKE for a in held for b in together - {a}
        )


def _shingles(text: str) -> set[int]:
    """Hashes of the runs of five words."""
    words = text.lower().split()
    runs = (" ".join(words[n : n + 5]) for n in range(max(1, len(words) - 4)))
    return {int.from_bytes(blake2b(r.encode(), digest_size=8).digest(), "little") for r in runs}


def _jaccard(a: set[int], b: set[int]) -> float:
    small, large = sorted((a, b), key=len)
    if len(small) < ALIKE * len(large):
        return 0.0
    common = len(small & large)
    return common / (len(a) + len(b) - common)


def test_a_holdout_that_comes_too_late_commits_nothing(
    tmp_path: Path, tiny_tokenizer: Path
) -> None:
    """A version that is committed with these documents in it gets no held-out store beside it."""
    pattern = inputs(tmp_path, {f"d{n}": prose(n) for n in range(20)})
    run(tmp_path, tiny_tokenizer, {"web": {"inputs": [pattern]}})
    sources = {"web": {"inputs": [pattern], "holdout": {"documents": 5}}}
    with pytest.raises(TaskError, match="raise `version`"):
        run(tmp_path, tiny_tokenizer, sources)
    assert [p.name for p in (tmp_path / "out/stores").iterdir()] == ["web@1"]
    stores = run(tmp_path, tiny_tokenizer, {"web": {**sources["web"], "version": 2}})
    assert sorted(p.name for p in stores.iterdir()) == ["web-valid@2", "web@1", "web@2"]


def test_without_a_dedup_step_it_is_said(
    tmp_path: Path, tiny_tokenizer: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Copies may straddle then, and the plan warns of it."""
    pattern = inputs(tmp_path, {f"d{n}": prose(n) for n in range(20)})
    sources = {"web": {"inputs": [pattern], "holdout": {"documents": 5}}}
    stores = run(tmp_path, tiny_tokenizer, sources)
    assert "holdout: the pipeline has no dedup step" in caplog.text
    assert len(ids(stores / "web-valid@1")) == 5
    assert len(ids(stores / "web@1")) == 15


def test_more_than_there_is_cannot_be_held_out(tmp_path: Path, tiny_tokenizer: Path) -> None:
    """The error has the setting, the number asked for and what there is; nothing is committed."""
    pattern = inputs(tmp_path, {f"d{n}": prose(n) for n in range(6)})
    sources = {"web": {"inputs": [pattern], "holdout": {"documents": 6}}}
    with pytest.raises(
        TaskError, match=r"web\.holdout\.documents is 6, and of its 6 documents\s+6 can be held out"
    ):
        run(tmp_path, tiny_tokenizer, sources)
    assert not (tmp_path / "out/stores").exists()


def test_settings_are_checked(tmp_path: Path, tiny_tokenizer: Path) -> None:
    """One of the two ways, within range; the name of the held-out store must be free."""
    pattern = inputs(tmp_path, {"a": "text"})
    for holdout, message in [
        ({"documents": 3, "frac": 0.1}, "either documents or frac"),
        ({}, "either documents or frac"),
        ({"frac": 1.0}, "less than 1"),
        ({"documents": 0}, "greater than or equal to 1"),
    ]:
        raw = pipeline(
            tmp_path, tiny_tokenizer, sources={"web": {"inputs": [pattern], "holdout": holdout}}
        )
        with pytest.raises(ConfigError, match=message):
            parse(Pipeline, raw, origin="test")
    two = {
        "web": {"inputs": [pattern], "holdout": {"frac": 0.1}},
        "web-valid": {"inputs": [pattern]},
    }
    with pytest.raises(
        ConfigError, match="web-valid: the held-out documents of web take this name"
    ):
        parse(Pipeline, pipeline(tmp_path, tiny_tokenizer, sources=two), origin="test")


def test_a_holdout_changes_the_keys_that_it_must(tmp_path: Path, tiny_tokenizer: Path) -> None:
    """Stores of sources that hold out are redone; tokens, and other sources' stores, are not."""
    pattern = inputs(tmp_path, {f"d{n}": prose(n) for n in range(6)})
    plain = {"web": {"inputs": [pattern]}, "code": {"inputs": [pattern]}}
    held = {**plain, "web": {"inputs": [pattern], "holdout": {"frac": 0.5}}}
    before, after = (
        make_plan(parse(Pipeline, pipeline(tmp_path, tiny_tokenizer, sources=s), origin="test"))
        for s in (plain, held)
    )
    assert before.passes["tokenize"] == after.passes["tokenize"]
    (web, code), (web_held, code_held) = before.passes["store"], after.passes["store"]
    assert (web.key != web_held.key, code.key == code_held.key) == (True, True)
    assert list(after.passes) == ["filter", "holdout", "tokenize", "store", "valid"]


@given(keys=st.lists(st.integers(0, (1 << 64) - 1), unique=True, max_size=30))
def test_mixing_is_a_bijection(keys: list[int]) -> None:
    """Different keys stay different."""
    found = mixed(np.array(keys, np.uint64))
    assert len(set(found.tolist())) == len(keys)


def test_mixing_spreads_small_keys() -> None:
    """Keys that are small, as the least of many are, are as often above the middle as below."""
    found = mixed(np.arange(1, 4001, dtype=np.uint64))
    above = int((found > np.uint64(1 << 63)).sum())
    assert 1850 < above < 2150


@pytest.mark.parametrize(("frac", "limit"), [(0.5, (1 << 63) - 1), (0.25, (1 << 62) - 1)])
def test_limits_are_whole_numbers_of_the_decimal(frac: float, limit: int) -> None:
    """The share of the range below the limit is the decimal that was written."""
    assert frac_limit(frac) == limit
    assert frac_limit(0.1) == ((1 << 64) // 10) - 1


def test_the_record_tells_how_many(tmp_path: Path, tiny_tokenizer: Path) -> None:
    """Documents by source and clusters taken, in the task's record and in the funnel."""
    pattern = inputs(tmp_path, {f"d{n}": prose(n // 2) for n in range(40)})
    sources = {"web": {"inputs": [pattern], "holdout": {"documents": 9}}}
    raw = pipeline(tmp_path / "out", tiny_tokenizer, sources=sources, dedup=[REPORT])
    plan = run_pipeline(parse(Pipeline, raw, origin="test"), quiet=True)
    record = RecordBook(tmp_path / "out").read("holdout", plan.passes["holdout"][0].key)
    assert record.counts["by_source"] == {"web": 10}
    assert record.counts["clusters"] == 5
    (funnel,) = funnels(plan)
    assert (funnel.documents, funnel.kept, funnel.held_out) == (40, 30, 10)
