"""A run can be asked: why a document went, what a threshold would do; and told another one."""

import json
import shutil
from hashlib import blake2b
from pathlib import Path

from commands import Dolmix

from dolmix.pipeline.funnel import funnels
from dolmix.pipeline.plan import read_plan
from dolmix.pipeline.why import explain_part


def fingerprints(run: Path) -> dict[str, str]:
    """Digest of every file of the result."""
    found = {}
    for folder in ("stores", "decisions", "bad-records"):
        for path in sorted((run / folder).rglob("*")):
            if path.is_file():
                digest = blake2b(path.read_bytes(), digest_size=16).hexdigest()
                found[str(path.relative_to(run))] = digest
    return found


def test_another_threshold_ends_as_a_fresh_run_does(
    dolmix: Dolmix, pipeline_file: Path, finished_run: Path
) -> None:
    """Run again in a finished run's folder with other limits: every file is that of a new folder.

    What `whatif` said beforehand of a limit that nothing depends on is what came of it.
    """
    again, fresh = (pipeline_file.parent / name for name in ("again", "fresh"))
    shutil.copytree(finished_run, again)
    settings = ["sources.web.filters.periodic.drop_at_times=24",
                "sources.docs.filters.gopher.min_word_count=40",
                "sources.repos.filters.word_share.max_top1_frac=0.2"]  # fmt: skip
    asked = ["web.periodic.drop_at_times=24", "repos.word_share.max_top1_frac=0.2"]
    said = json.loads(dolmix("whatif", again, *asked, "--json").stdout)
    versions = [f"sources.{name}.version=2" for name in ("web", "docs", "repos")]
    for output in (again, fresh):
        dolmix("run", pipeline_file, f"output={output}", *settings, *versions)
    old = {f"stores/{name}@1" for name in ("web", "docs", "repos")}
    shutil.rmtree(again / "work")
    made = {p: d for p, d in fingerprints(again).items() if p.rpartition("/shards")[0] not in old}
    made = {p: d for p, d in made.items() if str(Path(p).parent) not in old}
    assert made == fingerprints(fresh)
    told = {change["source"]: change for change in said["sources"]}
    ran = {funnel.source: funnel for funnel in funnels(read_plan(fresh))}
    for source, change in told.items():
        assert change["exact"]
        assert change["kept_after"] == ran[source].kept_by_filters


def test_why_and_whatif_print(dolmix: Dolmix, finished_run: Path) -> None:
    """As text and as JSON; an unknown document or filter ends with exit code 2."""
    plan = read_plan(finished_run)
    dropped = next(e for e in explain_part(plan, "web", 0) if e.reason is not None)
    assert dropped.reason is not None
    place = f"{dropped.path}:{dropped.record}"
    (shown,) = json.loads(dolmix("why", finished_run, place, "--json", "--text").stdout)
    assert (shown["id"], shown["reason"]) == (dropped.id, dropped.reason)
    assert len(shown["text"].encode()) == shown["num_bytes"]
    printed = dolmix("why", finished_run, place).stdout
    assert f"dropped: {dropped.reason}" in printed
    assert "DROP" in printed
    printed = dolmix("whatif", finished_run, "web.gopher.min_word_count=200").stdout
    assert "gopher.word_count_low" in printed
    assert "dedup is not run again" in printed
    assert "no document" in dolmix("why", finished_run, "nobody", expect=2).stderr
    assert "no filter" in dolmix("whatif", finished_run, "web.x.y=1", expect=2).stderr
