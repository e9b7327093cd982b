"""Shares that a run drops by limits found in a half of real data: of the other half, too."""

import json
from pathlib import Path
from typing import Any

import builders
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from peers import WEB_FOLDERS, _records

from dolmix.config import parse
from dolmix.pipeline.limits import limits_of
from dolmix.pipeline.plan import Plan, make_plan
from dolmix.pipeline.prior import keep_prior_plan
from dolmix.pipeline.records import RecordBook
from dolmix.pipeline.reports import failure_path
from dolmix.pipeline.sampling import sample_rate, sampled, sampled_parts
from dolmix.pipeline.spec import Pipeline
from dolmix.pipeline.worker import run_task

FOLDERS = (*WEB_FOLDERS, "web_multilingual", "web_docs", "reviews")
SHORTEST_CHARS, LONGEST_CHARS = 20, 300


@pytest.fixture(scope="module")
def lines(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write each distinct line of the corpus's pages as a document, of a long one its beginning."""
    folder = tmp_path_factory.mktemp("lines")
    texts = (record["text"] for record in _records(shared, FOLDERS) if "text" in record)
    starts = (line[:LONGEST_CHARS] for text in texts for line in text.split("\n"))
    found = dict.fromkeys(start for start in starts if len(start) > SHORTEST_CHARS)
    with (folder / "lines.jsonl").open("w", encoding="utf-8") as file:
        for n, line in enumerate(found):
            file.write(json.dumps({"id": f"line-{n}", "text": line}, ensure_ascii=False) + "\n")
    return folder / "lines.jsonl"


def judged(lines: Path, tokenizer: Path, output: Path, frac: float, share: float = 0.5) -> Plan:
    """Do the passes up to the filters, of which the limit's sees a share of the documents."""
    asked = {"type": "classifier", "name": "fluency", "model": "builtin", "drop_worst_frac": frac}
    raw = builders.pipeline(
        output,
        tokenizer,
        sources={"web": {"inputs": [str(lines)], "filters": [asked]}},
        calibration={"sample_bytes": int(share * lines.stat().st_size)},
        part_bytes=4 << 20,
    )
    plan = make_plan(parse(Pipeline, raw, origin="test"))
    keep_prior_plan(plan)
    plan.write()
    for pass_name in ("calibrate", "limits", "filter"):
        for task in plan.passes[pass_name]:
            if not RecordBook(output).has(pass_name, task.key):
                run_task(plan, task)
            failure = failure_path(output, task)
            assert not failure.exists(), failure.read_text()
    return plan


def decisions(plan: Plan) -> Any:
    """Ids of all documents, and whether each was dropped."""
    book = RecordBook(plan.pipeline.output)
    keys = [book.read("filter", task.key).outputs["decisions"] for task in plan.passes["filter"]]
    tables = [pq.read_table(plan.pipeline.output / path, columns=["id", "reason"]) for path in keys]
    ids = [id_ for table in tables for id_ in table["id"].to_pylist()]
    gone = [reason is not None for table in tables for reason in table["reason"].to_pylist()]
    return ids, np.array(gone)


@pytest.mark.corpus
@pytest.mark.timeout(200)
def test_the_half_that_no_limit_was_found_in_loses_the_share(
    lines: Path, tmp_path: Path, tiny_tokenizer: Path
) -> None:
    """Of 100,000 and more real texts, half of them unseen: 5, 15, 50, 85 % go, within one point.

    The half that the limits are from loses exactly the share, less a part of a document.
    """
    for frac in (0.05, 0.15, 0.5, 0.85):
        plan = judged(lines, tiny_tokenizer, tmp_path / "run", frac)
        ids, gone = decisions(plan)
        parts = plan.parts["web"]
        rate = sample_rate(plan.pipeline, parts, sampled_parts(plan.pipeline, "web", parts))
        seen = sampled(pa.array(ids), rate, seed=plan.pipeline.seed, source="web")
        found = limits_of(plan, "web")
        assert found is not None
        assert found["documents"] == int(seen.sum())
        assert 50_000 < seen.sum() < 0.55 * len(ids)
        assert abs(float(gone[~seen].mean()) - frac) < 0.01
        assert frac - 0.001 < float(gone[seen].mean()) <= frac
