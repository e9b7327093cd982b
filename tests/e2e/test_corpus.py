"""The main job on real documents: a committed store per folder, and a mix of them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from by_hand import check_by_hand, check_explanations
from commands import ROOT, environment
from peers import needs

from dolmix.mix import read_lock, store_findings
from dolmix.pipeline.funnel import funnels
from dolmix.pipeline.plan import read_plan
from dolmix.shards import verify

BY_HAND = 50


@pytest.mark.corpus
@pytest.mark.timeout(500)
def test_every_folder_of_the_corpus_becomes_a_store(
    shared: Path, lid_model: Path, tmp_path: Path
) -> None:
    """18.2 k documents of 16 folders: all accounted for, every store verifies, the mix resolves.

    Those of the WARC folder are its responses and its one WET record; each has an end. `why`
    explains every dropped document, by a value beyond its limit or by the document that stays; of
    fifty, of every reason some, the value is what plain Python makes of the input file.
    """
    needs("resiliparse")
    output = tmp_path / "run"
    script = [sys.executable, "scripts/run_corpus.py", str(shared / "corpus_seed")]
    tokenizer = str(shared / "tokenizers" / "smollm2.json.gz")
    done = subprocess.run(
        [*script, "--tokenizer", tokenizer, "--output", str(output), "--model", str(lid_model)],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    made = funnels(read_plan(output))
    assert sum(funnel.documents for funnel in made) == 17_739 + 483
    assert len(made) == 16
    for funnel in made:
        assert funnel.kept + sum(funnel.dropped.values()) == funnel.documents
        assert verify(output / funnel.store) == []
        assert f"{funnel.source}: {funnel.documents:,} documents" in done.stdout
    warc = next(funnel for funnel in made if funnel.source == "web_warc")
    assert (warc.warc_records["response"], warc.warc_records["conversion"]) == (482, 1)
    assert (warc.documents, warc.bad_records) == (483, 0)
    assert warc.warc_account() in done.stdout
    code = next(funnel for funnel in made if funnel.source == "code")
    assert code.dropped["stars.stars"] == 13  # the one repository below two stars
    lock = read_lock(output / "mix.lock.json")
    assert len(lock.sources) >= 6
    assert list(store_findings(lock)) == []
    assert json.loads((output / "mix.lock.json").read_bytes())["order_hash"] == lock.order_hash
    by_reason = check_explanations(read_plan(output))
    dropped = {reason for funnel in made for reason in funnel.dropped}
    assert set(by_reason) == dropped
    assert len(dropped) > 15
    told = sum(len(explained) for explained in by_reason.values())
    assert told == sum(sum(funnel.dropped.values()) for funnel in made)
    check_by_hand(read_plan(output), shared / "corpus_seed", by_reason, BY_HAND, lid_model)
