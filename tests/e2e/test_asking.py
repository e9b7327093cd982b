"""A run can be asked: why a document went, what a threshold would do; and told another one."""

import json
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from hashlib import blake2b
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

import naive
import naive_dedup
import naive_gopher
import pytest
from commands import ROOT, Dolmix, environment

from dolmix.files.streams import read_blocks
from dolmix.pipeline.explained import Explanation
from dolmix.pipeline.funnel import funnels
from dolmix.pipeline.plan import Plan, read_plan
from dolmix.pipeline.why import explain_part, why

BY_HAND = 50
FOLDERS = ("code", "reviews", "web_cc")


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


@pytest.fixture(scope="module")
def corpus_run(
    shared: Path, lid_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Plan, Path]:
    """Run three folders of the corpus, and give the folder with the inputs."""
    folder = tmp_path_factory.mktemp("corpus")
    for name in FOLDERS:
        (folder / "in").mkdir(exist_ok=True)
        (folder / "in" / name).symlink_to(shared / "corpus_seed" / name)
    done = subprocess.run(
        [sys.executable, "scripts/run_corpus.py", str(folder / "in"), "--model", str(lid_model),
         "--tokenizer", str(shared / "tokenizers" / "smollm2.json.gz"),
         "--output", str(folder / "run")],
        cwd=ROOT, env=environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return read_plan(folder / "run"), folder / "in"


@pytest.mark.corpus
@pytest.mark.timeout(300)
def test_every_dropped_document_of_the_corpus_is_explained(
    corpus_run: tuple[Plan, Path], lid_model: Path
) -> None:
    """Each drop follows from a value beyond its limit, or names the document that stays.

    Of fifty, of every reason some, the value is what plain Python makes of the input file.
    """
    plan, inputs = corpus_run
    by_reason: dict[str, list[Explanation]] = {}
    for source, parts in plan.parts.items():
        for part in range(len(parts)):
            for found in explain_part(plan, source, part):
                drops = [told.rule for told in found.rules if told.verdict == "drop"]
                drops += [copy.reason for copy in found.duplicates]
                assert drops[:1] == ([] if found.reason is None else [found.reason])
                assert (found.outcome == "dropped") == bool(drops)
                by_reason.setdefault(str(found.reason), []).append(found)
    assert by_reason.pop("None")
    assert len(by_reason) >= 10
    in_turn = chain.from_iterable(zip_longest(*by_reason.values()))
    chosen = [found for found in in_turn if found is not None][:BY_HAND]
    assert len(chosen) == BY_HAND
    measure = by_hand(lid_model)
    for found in chosen:
        record = record_of(inputs / found.source, found)
        assert (record["id"], len(record["text"].encode())) == (found.id, found.num_bytes)
        if found.duplicates:
            (stays,) = why(plan.pipeline.output, found.duplicates[0].of_id)
            other = record_of(inputs / stays.source, stays)["text"]
            sides = [naive_dedup.shingles(text, 5) for text in (record["text"], other)]
            assert found.duplicates[0].jaccard == pytest.approx(
                naive_dedup.jaccard(*sides), abs=0.15
            )
            assert found.duplicates[0].estimated
        else:
            told = next(told for told in found.rules if told.verdict == "drop")
            assert told.value == measure(told.column, record), (found.id, told)


def record_of(folder: Path, found: Explanation) -> Any:
    """Read the record that an explanation names from the input file."""
    path = folder / Path(found.path).name
    compression: Any = path.suffix.removeprefix(".")
    text = b"".join(read_blocks(str(path), compression))
    return json.loads(text.split(b"\n")[found.record])


def by_hand(lid_model: Path) -> Callable[[str, Any], Any]:
    """Give a function that measures one column of a record, by its definition in plain Python."""
    from fasttext import load_model

    model = load_model(str(lid_model))

    def measure(name: str, record: Any) -> Any:
        label, _, column = name.partition(".")
        text, words = record["text"], record["text"].split()
        if label == "stars":
            return record["metadata"]["stars"]
        if label == "word_share":
            top = [count for _, count in Counter(words).most_common(2)]
            return sum(top[: 2 if column == "top2_frac" else 1]) / len(words)
        if label == "language":
            labels, scores = model.predict([text.replace("\n", " ")])
            found = {"label": labels[0][0].removeprefix("__label__"), "score": float(scores[0][0])}
            return found[column]
        if label == "gopher":
            return naive_gopher.dolma(text, words, merge=True)[column]
        if label == "repeats":
            return naive.periodic_times([hash(word) for word in words])
        lines = naive.lines_of(text, merge=True)
        repeated, chars = naive.duplicate_sums(lines, [len(line) for line in lines])
        line_shares = [repeated / len(lines), chars / max(sum(map(len, words)), 1)]
        return dict(zip(REPETITION, line_shares + naive.ngram_shares(words), strict=True))[column]

    return measure


REPETITION = (
    *("dup_line_frac", "dup_line_char_frac"),
    *(f"top_{n}gram_char_frac" for n in (2, 3, 4)),
    *(f"dup_{n}gram_char_frac" for n in range(5, 11)),
)
"""Columns of the preset dolma-1.2, in the order of its rules."""
