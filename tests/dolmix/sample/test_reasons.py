"""The shipped documents and the sample's pipeline hold each other to their word."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from dolmix.config import parse
from dolmix.pipeline.engine import run_pipeline
from dolmix.pipeline.funnel import funnels
from dolmix.pipeline.plan import Plan
from dolmix.pipeline.spec import Pipeline
from dolmix.sample import BROKEN, shipped_documents, write_sample

ROOT = Path(__file__).resolve().parents[3]
MODEL = Path(os.environ.get("DOLMIX_LID_MODEL", ROOT / "models" / "lid.176.ftz"))
HAS_MODEL = MODEL.exists()
KEEP = "keep"


def sample_pipeline(sample: Path, output: Path) -> Pipeline:
    """Load the sample's pipeline for one folder; without language filters if there is no model."""
    text = (ROOT / "configs" / "pipelines" / "quickstart.yaml").read_text(encoding="utf-8")
    text = text.replace("runs/sample", str(sample)).replace("models/lid.176.ftz", str(MODEL))
    raw: dict[str, Any] = yaml.safe_load(text)
    if not HAS_MODEL:
        for source in raw["sources"].values():
            source["filters"] = [f for f in source["filters"] if f["type"] != "language"]
        raw["keep_columns"] = [c for c in raw["keep_columns"] if not c.startswith("language.")]
    return parse(
        Pipeline, raw, [f"output={output}", "executor.workers=1"], origin="quickstart.yaml"
    )


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """Run the sample's pipeline over the shipped documents."""
    folder = tmp_path_factory.mktemp("reasons")
    write_sample(folder / "sample", shipped_only=True, vocab_size=512)
    return run_pipeline(sample_pipeline(folder / "sample", folder / "run"), quiet=True)


@pytest.fixture(scope="module")
def verdicts(plan: Plan) -> dict[str, str]:
    """Document id → `keep` or the reason, as the run's decisions and duplicates say."""
    decisions = plan.pipeline.output / "decisions"
    found = {}
    for name in plan.pipeline.sources:
        for path in sorted((decisions / name).glob("*.parquet")):
            rows = pq.read_table(path, columns=["id", "reason"]).to_pylist()
            found |= {row["id"]: row["reason"] or KEEP for row in rows}
    for path in sorted((decisions / "duplicates").rglob("*.parquet")):
        rows = pq.read_table(path, columns=["id", "reason"]).to_pylist()
        found |= {row["id"]: row["reason"] for row in rows}
    return found


def expected() -> dict[str, str]:
    """Document id → what it says of itself; documents that need the model only where it is."""
    stated = {d.id: str(d.metadata["expect"]) for d in shipped_documents()}
    return {i: e for i, e in stated.items() if HAS_MODEL or not e.startswith("language.")}


def reason_codes(pipeline: Pipeline) -> Iterator[str]:
    """Every reason that the pipeline can give."""
    for source in pipeline.sources.values():
        for filter_ in source.filters:
            for rule in filter_.rules():
                if rule.active:
                    yield f"{filter_.label}.{rule.code}"
                if rule.active and rule.on_missing == "drop":
                    yield f"{filter_.label}.{rule.missing_code}"
    for step in pipeline.dedup:
        yield f"{step.label}.duplicate"


def test_every_document_meets_the_fate_that_it_states(verdicts: dict[str, str]) -> None:
    """`metadata.expect` is what the pipeline decides, document for document."""
    stated = expected()
    differing = {i: (e, verdicts.get(i)) for i, e in stated.items() if verdicts.get(i) != e}
    assert differing == {}


def test_every_reason_of_the_pipeline_drops_a_shipped_document(plan: Plan) -> None:
    """The reasons that occur are the reasons that the pipeline can give, code for code."""
    occurred = {reason for funnel in funnels(plan) for reason in funnel.dropped}
    assert occurred == set(reason_codes(plan.pipeline))


def test_broken_records_are_set_aside_and_counted(plan: Plan) -> None:
    """Each broken record is skipped with its cause; nothing else is."""
    assert sum(funnel.bad_records for funnel in funnels(plan)) == len(BROKEN)
    files = sorted((plan.pipeline.output / "bad-records").rglob("*.jsonl"))
    aside = [json.loads(line) for path in files for line in path.read_text().splitlines()]
    assert len(aside) == len(BROKEN)
    assert len({json.dumps(record, sort_keys=True) for record in aside}) == len(BROKEN)


def test_enough_survives_to_be_worth_training_on(verdicts: dict[str, str]) -> None:
    """Most sources keep documents, and so does each language that the pipeline asks for."""
    languages = {d.metadata["language"] for d in shipped_documents() if verdicts[d.id] == KEEP}
    assert languages >= {"en", "de", "es", "fi", "fr", "it", "nl", "pl", "pt", "ru", "sv"}
