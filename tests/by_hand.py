"""What a run says of its dropped documents, held against their input files and plain Python."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

import naive
import naive_dedup
import naive_gopher
import pytest

from dolmix.files.streams import read_blocks
from dolmix.pipeline.explained import Explanation
from dolmix.pipeline.part_view import PartView
from dolmix.pipeline.plan import Plan
from dolmix.pipeline.why import explain, why

KEPT_ONE_IN = 25
"""Kept documents are explained one in so many; dropped ones all."""


def explanations(plan: Plan) -> Iterator[Explanation]:
    """Explain every dropped document of a run, and some of the kept ones."""
    for source, parts in plan.parts.items():
        for part in range(len(parts)):
            view = PartView(plan, source, part)
            for row in range(view.num_documents):
                gone = view.values(row, ["reason"])["reason"] is not None
                if gone or view.duplicates(view.record(row), dropped=True) or not row % KEPT_ONE_IN:
                    yield explain(view, row, diff=False)


def check_explanations(plan: Plan) -> dict[str, list[Explanation]]:
    """Each drop follows from a value beyond its limit, or names a copy; explanations by reason."""
    by_reason: dict[str, list[Explanation]] = {}
    for found in explanations(plan):
        drops = [told.rule for told in found.rules if told.verdict == "drop"]
        drops += [copy.reason for copy in found.duplicates]
        assert drops[:1] == ([] if found.reason is None else [found.reason])
        assert (found.outcome == "dropped") == bool(drops)
        by_reason.setdefault(str(found.reason), []).append(found)
    assert by_reason.pop("None")
    return by_reason


def check_by_hand(
    plan: Plan, inputs: Path, by_reason: dict[str, list[Explanation]], count: int, lid_model: Path
) -> None:
    """Of some documents, of every reason in turn, plain Python makes the value of the input file.

    Pages out of WARC records are left out: their texts stand in no file.
    """
    in_turn = chain.from_iterable(zip_longest(*by_reason.values()))
    chosen = [f for f in in_turn if f is not None and ".jsonl" in f.path][:count]
    assert len(chosen) == count
    measure = by_hand(lid_model)
    for found in chosen:
        record = record_of(inputs / found.source, found)
        assert (record["id"], len(record["text"].encode())) == (found.id, found.num_bytes)
        if found.duplicates:
            stays = why(plan.pipeline.output, found.duplicates[0].of_id)[0]
            _check_copy(found, record["text"], record_of(inputs / stays.source, stays)["text"])
        else:
            told = next(told for told in found.rules if told.verdict == "drop")
            assert told.value == measure(told.column, record), (found.id, told)


def _check_copy(found: Explanation, text: str, other: str) -> None:
    copy = found.duplicates[0]
    if not copy.estimated:
        assert text.split() == other.split()  # equal but for white space
        return
    sides = [naive_dedup.shingles(one, 5) for one in (text, other)]
    assert copy.jaccard == pytest.approx(naive_dedup.jaccard(*sides), abs=0.15)


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
