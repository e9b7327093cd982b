"""Learned filters in whole runs: limits found in the data, scores that `why` shows."""

import json
import os
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml
from builders import write_jsonl
from commands import ROOT, Dolmix

from dolmix.sources import BadRecords, Fields, plan_parts, read_part
from dolmix.text.builtin_models import NAMES, builtin

WEB = (
    *("web_cc", "web_docs", "web_line_labelled", "web_messy"),
    *("web_multilingual", "web_quality_labelled"),
)
"""Every folder of web pages that is no WARC folder."""
DOCUMENTS = 120
"""Of each folder."""


@pytest.fixture(scope="module")
def pages(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the first pages of every web folder."""
    folder = tmp_path_factory.mktemp("pages")
    for name in WEB:
        part = plan_parts([str(shared / "corpus_seed" / name / "*")], part_bytes=1 << 30)[0]
        batch = next(iter(read_part(part, Fields(), [], BadRecords(), lambda _: None)))
        rows = zip(batch.ids.to_pylist(), batch.text.to_pylist(), strict=True)
        records = [{"id": id_, "text": text} for id_, text in rows][:DOCUMENTS]
        write_jsonl(folder / f"{name}.jsonl.gz", records)
    return folder


def pipeline(name: str, pages: Path, tokenizer: Path, lid_model: Path, **settings: Any) -> Path:
    """Write a shipped recipe over the pages."""
    raw = yaml.safe_load((ROOT / "configs" / "pipelines" / f"{name}.yaml").read_text())
    raw["tokenizer"] = {"path": str(tokenizer), "eos": "<|endoftext|>"}
    raw["sources"]["web"]["inputs"] = [str(pages / "*.jsonl.gz")]
    raw["sources"]["web"]["fields"] = {"text": "text", "id": "id"}
    for filter_ in raw["sources"]["web"]["filters"]:
        if filter_["type"] == "language":
            filter_["model"] = str(lid_model)
        filter_.update(settings.get(filter_.get("name", ""), {}))
    path = pages / f"{name}.yaml"
    path.write_text(yaml.safe_dump({**raw, "output": str(pages / name), "part_bytes": 1 << 18}))
    return path


@pytest.fixture(scope="module")
def shipped() -> None:
    """Ask for the models that ship with dolmix: CI has them."""
    missing = [name for name in NAMES if not builtin(name).is_file()]
    if missing and os.environ.get("CI"):
        pytest.fail(f"{', '.join(missing)}: no such model in dolmix/learned/models")
    if missing:
        pytest.skip(f"no model {', '.join(missing)}: scripts/train_default_models.py makes them")


def decisions(run: Path) -> list[dict[str, Any]]:
    """Rows of a run's decisions."""
    return [r for p in (run / "decisions" / "web").glob("*") for r in pq.read_table(p).to_pylist()]


@pytest.mark.usefixtures("shipped")
def test_llama_moe_drops_the_least_fluent_and_only_measures_adverts(
    dolmix: Dolmix, pages: Path, tiny_tokenizer: Path, lid_model: Path
) -> None:
    """15 % of the English pages go by a limit found among them; adverts have scores and no drops.

    `why` shows value and limit, `status` the limit, and a rerun does nothing.
    """
    path = pipeline("llama-moe", pages, tiny_tokenizer, lid_model)
    funnel = json.loads(dolmix("run", path, "--json").stdout)[0]
    reached, dropped = funnel["judged"]["fluency"], funnel["dropped"]
    found = json.loads((next((pages / "llama-moe" / "calibration").iterdir())).read_text())
    limit = found["limits"][0]
    assert limit["documents"] == reached > 200
    assert reached * 0.14 < dropped["fluency.score_low"] == limit["beyond"] <= reached * 0.15
    assert not any(reason.startswith("ads.") for reason in dropped)
    told = json.loads(dolmix("status", pages / "llama-moe", "--json").stdout)
    assert told["limits"]["web"][0]["limit"] == limit["limit"]
    rows = decisions(pages / "llama-moe")
    scored = [row for row in rows if row["fluency.score"] is not None]
    worst = min(scored, key=lambda row: row["fluency.score"])
    rules = json.loads(dolmix("why", pages / "llama-moe", worst["id"], "--json").stdout)[0]["rules"]
    mine = next(rule for rule in rules if rule["rule"] == "fluency.score_low")
    assert (mine["value"], mine["verdict"]) == (worst["fluency.score"], "drop")
    assert mine["limit"].startswith("< ")
    kept = next(row for row in rows if row["reason"] is None)
    rules = json.loads(dolmix("why", pages / "llama-moe", kept["id"], "--json").stdout)[0]["rules"]
    told = {rule["rule"]: rule for rule in rules}
    assert told["fluency.score_low"]["value"] == kept["fluency.score"] >= limit["limit"]
    ads = told["ads.score"]
    assert (ads["value"], ads["limit"], ads["verdict"]) == (kept["ads.score"], "", "measured")
    assert all(r["ads.score"] is not None for r in rows if r["reason"] is None)
    before = funnel["content_hash"]
    assert json.loads(dolmix("run", path, "--json").stdout)[0]["content_hash"] == before


def test_dclm_baseline_with_a_model_of_ones_own(
    dolmix: Dolmix, pages: Path, tiny_tokenizer: Path, lid_model: Path, shared: Path
) -> None:
    """Trained as `dclm-quality.yaml` says, smaller: the best tenth of what the heuristics leave."""
    seed = shared / "corpus_seed"
    model = pages / "quality.ftz"
    folders = ("instruct", "web_cc", "web_quality_labelled")
    rows = [f"rows.{n}.inputs=[{seed / name}/*]" for n, name in enumerate(folders)]
    smaller = {"dim": 8, "epochs": 1, "buckets": 20_000, "keep_features": 5_000}
    small = [f"fitting.{name}={value}" for name, value in smaller.items()]
    config = ROOT / "configs" / "classifiers" / "dclm-quality.yaml"
    dolmix("classifier", "train", config, *rows, *small, f"output={model}")
    quality = {"model": str(model), "min_score": None, "drop_worst_frac": 0.9}
    path = pipeline("dclm-baseline", pages, tiny_tokenizer, lid_model, quality=quality)
    funnel = json.loads(dolmix("run", path, "--json").stdout)[0]
    reached = funnel["judged"]["quality"]
    assert reached > 50
    assert funnel["dropped"]["quality.score_low"] == int(0.9 * reached)
