"""Decontamination: planted questions are found, named, and nothing else is."""

import itertools
import random
import time
from pathlib import Path
from typing import Any

import builders
import naive_paragraphs as naive
import numpy as np
import orjson
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dolmix.config import parse
from dolmix.document import TextBatch
from dolmix.errors import ConfigError, FilterError
from dolmix.files.paths import format_of
from dolmix.files.questions import QuestionFormat, read_questions
from dolmix.files.streams import read_blocks
from dolmix.filters import Decontaminate, judge
from dolmix.filters.base import identity
from dolmix.text.folded_words import SEPARATOR, word_points
from dolmix.text.ngram_overlap import folded, gram_table, grams_in

ROOT = Path(__file__).resolve().parents[3]
LETTERS = "ab é\u0301E\u00adⅣ-한字ก.'\n"
TEXTS = st.lists(st.text(st.sampled_from(LETTERS), max_size=20), max_size=5)
CLEAN_DOCUMENTS = 1000
PLANTED_SETS = 13


def quiz(folder: Path, *texts: str, name: str = "quiz", **about: Any) -> Path:
    """Write a file of questions, q0, q1, ... of one set."""
    rows = [
        {"task_name": name, "native_id": f"q{n}", "doc": {"query": text}, **about}
        for n, text in enumerate(texts)
    ]
    return builders.write_jsonl(folder / f"{name}.jsonl", rows)


def columns(step: Decontaminate, *texts: str) -> dict[str, list[Any]]:
    """Columns of some texts."""
    return {c: v.to_pylist() for c, v in step.columns(TextBatch.of(list(texts))).items()}


@given(TEXTS)
def test_words_match_their_twin(texts: list[str]) -> None:
    """Words, their order and their documents are the twin's, in any script and Unicode form."""
    words = folded(texts)
    found = []
    for first, last in itertools.pairwise(words.starts.tolist()):
        letters = words.points[first:last]
        assert letters[-1] == SEPARATOR
        found.append("".join(chr(p & 0x7FFFFFFF) for p in letters[:-1].tolist()))
    plain = [naive.folded_words(text) for text in texts]
    assert found == [word for row in plain for word in row]
    assert np.diff(words.ends).tolist() == [len(row) for row in plain]


@given(st.text(max_size=30))
def test_any_text_folds_as_its_twin_does(text: str) -> None:
    """The table of characters says of all of Unicode what the twin says of one at a time."""
    words = folded([text])
    counts = [last - first - 1 for first, last in itertools.pairwise(words.starts.tolist())]
    assert counts == [len(word) for word in naive.folded_words(text)]


WORDS = st.lists(st.sampled_from(["a", "b", "c", "é", "字"]), max_size=14).map(" ".join)


@given(st.lists(WORDS, max_size=5), st.lists(WORDS, max_size=4), st.integers(1, 4), st.data())
def test_overlaps_match_their_twin(
    questions: list[str], texts: list[str], n: int, data: st.DataObject
) -> None:
    """N-grams in common, question by question, of any lengths, are those that the twin counts."""
    min_words = data.draw(st.integers(1, n))
    wanted = [naive.grams(naive.folded_words(q), n, min_words) for q in questions]
    words = folded(questions)
    spans, owners = [], []
    for owner, (first, last) in enumerate(itertools.pairwise(words.ends.tolist())):
        size = min(n, last - first)
        for start in range(first, last - size + 1) if size >= min_words else ():
            spans.append((start, size))
            owners.append(owner)
    table, grams = gram_table(words, np.array(spans, np.int64).reshape(-1, 2))
    hits = grams_in(TextBatch.of(["", *texts]).take(np.arange(1, len(texts) + 1)), table)
    assert len(table.codes) == len(set().union(*wanted))
    for number, text in enumerate(texts):
        mine = set(hits[hits[:, 0] == number, 1].tolist())
        assert len(mine) == (hits[:, 0] == number).sum()
        found = [
            len({g for g, o in zip(grams.tolist(), owners, strict=True) if o == q} & mine)
            for q in range(len(questions))
        ]
        assert found == naive.overlaps(text, wanted)


def test_equal_hashes_of_different_words_are_no_hit() -> None:
    """A gram counts only where its words stand, whatever the hashes say: all are made equal."""
    words = folded(["one two three four", "five six seven eight"])
    table, grams = gram_table(words, np.array([[0, 4], [4, 4]]))
    key = table.codes[grams[0]]
    forged = table._replace(codes=np.full(2, key), bits=np.full_like(table.bits, (1 << 64) - 1))
    hits = grams_in(TextBatch.of(["one two three four", "five six seven eight"]), forged)
    assert hits.tolist() == [[0, int(grams[0])]]


def test_hits_beyond_the_room_are_not_lost() -> None:
    """Thousands of n-grams of one document are all found, each once."""
    text = " ".join(f"w{n}" for n in range(9_000))
    words = folded([text])
    table, grams = gram_table(words, np.array([(n, 3) for n in range(8_998)]))
    hits = grams_in(TextBatch.of([text + " " + text]), table)
    assert sorted(hits[:, 1].tolist()) == sorted(grams.tolist())


def test_the_question_with_the_largest_share_is_named(tmp_path: Path) -> None:
    """Set, question, n-grams in common, their share, and how many questions have any."""
    long = "one two three four five six seven eight nine ten eleven twelve"
    path = quiz(tmp_path, long, "Three four five, six: SEVEN eight!", "nothing of the kind here")
    step = Decontaminate(sets=(str(path),), n=6, min_words=3)
    made = columns(
        step, "x three four five six seven eight nine y", "nothing at all", "of the kind", ""
    )
    assert made == {
        "set": ["quiz", None, None, None],
        "question": ["q1", None, None, None],
        "overlap_ngrams": [1, 0, 0, 0],
        "overlap_frac": [1.0, 0.0, 0.0, 0.0],
        "questions": [2, 0, 0, 0],
    }


def test_ties_go_to_the_larger_then_to_the_earlier(tmp_path: Path) -> None:
    """Equal shares: more n-grams win, then the place in the files."""
    path = quiz(tmp_path, "a b c", "d e f g", "h i j", "k l m")
    step = Decontaminate(sets=(str(path),), n=3, min_words=3)
    assert columns(step, "a b c . d e f g", "k l m h i j")["question"] == ["q1", "q2"]


def test_a_threshold_is_a_share(tmp_path: Path) -> None:
    """At 0.0 any n-gram drops; at 0.5 half of a question may stand there; null only tells."""
    path = quiz(tmp_path, "one two three four five six")
    texts = ["one two three", "one two three four", "one two three four five six", "none"]
    found = {}
    for limit in (0.0, 0.5, None):
        step = Decontaminate(sets=(str(path),), n=3, min_words=3, max_overlap_frac=limit)
        batch = TextBatch.of(texts)
        reasons = judge(step, step.columns(batch), batch)
        found[limit] = [reason is not None for reason in reasons.to_pylist()]
        assert columns(step, *texts)["overlap_frac"] == [0.25, 0.5, 1.0, 0.0]
    assert found == {0.0: [True, True, True, False], 0.5: [False, False, True, False],
                     None: [False] * 4}  # fmt: skip


def test_short_questions_are_looked_for_whole_or_reported(tmp_path: Path) -> None:
    """Below n words the whole question must stand there; below min_words it is counted instead."""
    path = quiz(tmp_path, "one two three four", "one two", " ".join("abcdefg"))
    step = Decontaminate(sets=(str(path),), n=6, min_words=3)
    made = columns(step, "zero one two three four five", "one two three", "one two")
    assert made["question"] == ["q0", None, None]
    (found,) = step.coverage()
    assert (found.set, found.questions, found.whole, found.too_short) == ("quiz", 3, 1, 1)
    assert step.remarks() == [
        "1 of the 3 questions of quiz have fewer than 3 words and are not looked for"
    ]


def test_prompts_are_no_part_of_a_question(tmp_path: Path) -> None:
    """Labels at the starts of lines are taken off, so that a copy without them is found."""
    path = quiz(tmp_path, "Question: one two three\n  Goal: four five\nAnswer:")
    with_labels = Decontaminate(sets=(str(path),), n=5, min_words=5)
    without = Decontaminate(sets=(str(path),), n=5, min_words=5, labels=())
    assert columns(with_labels, "one two three four five")["question"] == ["q0"]
    assert columns(without, "one two three four five")["question"] == [None]


def test_records_of_one_question_are_one(tmp_path: Path) -> None:
    """Choices of one question, in several files, plain or compressed, join; ids may be numbers."""
    rows = [
        {"doc_id": 7, "doc": {"sentence": "x"}, "request": {"context": "a b", "continuation": c}}
        for c in (" c", " d", " d")
    ]
    builders.write_jsonl(tmp_path / "one.jsonl.gz", rows[:2])
    builders.write_jsonl(tmp_path / "two.jsonl.zst", [{"task_name": "one", **row} for row in rows])
    fields = ("doc.query", "request.context+request.continuation")
    found = read_questions([str(tmp_path / "*.jsonl.*")], QuestionFormat(fields, ()))
    assert [(q.set, q.id, q.texts) for q in found] == [("one", "7", ("a b c", "a b d"))]


def test_files_that_do_not_fit_are_named(tmp_path: Path) -> None:
    """Missing files, broken lines and records without text: file, line, and what to set."""

    def written(name: str, rows: list[Any]) -> Path:
        return builders.write_jsonl(tmp_path / f"{name}.jsonl", rows)

    cases = {
        "no such file": tmp_path / "none.jsonl",
        "line 2: no JSON": written("a", [{"doc": {"query": "x"}}, b"{"]),
        "line 1: no text at doc.query": written("b", [{"q": "x"}]),
        "must be an object": written("c", [b"7"]),
        "are read from .jsonl files": builders.write_parquet(tmp_path / "d.parquet", [{"q": "x"}]),
    }
    for message, path in cases.items():
        with pytest.raises(FilterError, match=rf"decontaminate\.sets: .*{message}"):
            columns(Decontaminate(sets=(str(path),)), "text")


def test_settings_that_contradict_are_refused() -> None:
    """A whole question is shorter than an n-gram."""
    with pytest.raises(ConfigError, match="min_words 14 is more than n 13"):
        parse(Decontaminate, {"sets": ["x.jsonl"], "min_words": 14}, origin="test")


def test_files_count_by_content(tmp_path: Path) -> None:
    """Moving the questions changes no key, changing one does."""
    here, there = (quiz(tmp_path / folder, "one two") for folder in "ab")
    other = quiz(tmp_path / "c", "one three")
    known = [identity(Decontaminate(sets=(str(path),))) for path in (here, there, other)]
    assert known[0] == known[1] != known[2]


def test_planted_questions_are_found(shared: Path) -> None:
    """Every question that is looked for is found in a page that quotes it, in capitals, and named.

    Where two questions are the same, it is one of the two.
    """
    step = Decontaminate(sets=(str(shared / "eval" / "*.jsonl.gz"),))
    form = QuestionFormat(step.text_fields, step.labels)
    questions = read_questions(step.sets, form)
    assert len({q.set for q in questions}) == PLANTED_SETS
    pages = [f"{builders.prose(n)} {q.texts[0].upper()} ..." for n, q in enumerate(questions)]
    made = columns(step, *pages)
    texts = [[naive.folded_words(t) for t in q.texts] for q in questions]
    same = {(q.set, q.id): words for q, words in zip(questions, texts, strict=True)}
    missed = 0
    for number, words in enumerate(texts):
        named = (made["set"][number], made["question"][number])
        if named == (None, None):
            missed += 1
            assert max(map(len, words)) < step.min_words
        else:
            assert words[0] in same[named]
    assert missed == sum(found.too_short for found in step.coverage())


def test_clean_documents_raise_no_alarm(shared: Path) -> None:
    """A thousand documents of the reference corpus, of all kinds, overlap with no question."""
    step = Decontaminate(sets=(str(shared / "eval" / "*.jsonl.gz"),))
    texts = []
    for path in sorted((shared / "corpus_seed").rglob("*.jsonl.*")):
        lines = b"".join(read_blocks(str(path), format_of(path.name)[1])).splitlines()
        texts += [orjson.loads(line)["text"] for line in lines[:300]]
    texts = random.Random(7).sample(texts, CLEAN_DOCUMENTS)
    made = columns(step, *texts)
    assert sum(made["questions"]) == 0
    assert sum(map(len, texts)) > 1_000_000


def test_one_document_of_200_mb_takes_seconds(tmp_path: Path) -> None:
    """Time stays in proportion to bytes, in a document of one word, and of one n-gram for ever."""
    path = quiz(tmp_path, " ".join(["again"] * 13), "seven words that are not in there at all")
    step = Decontaminate(sets=(str(path),))
    columns(step, "")
    for text, found in (("x" * (200 << 20), 0), ("again " * (100 << 17), 1)):
        batch = TextBatch.of([text])
        start = time.process_time()
        assert step.columns(batch)["questions"].to_pylist() == [found]
        assert time.process_time() - start < 20


def test_kernels_read_slices(tmp_path: Path) -> None:
    """Documents of a slice of a larger batch, and of an empty one, are judged alike."""
    step = Decontaminate(sets=(str(quiz(tmp_path, "one two three")),), n=3, min_words=3)
    batch = TextBatch.of(["one two three", "two", "one two three"])
    whole = step.columns(batch)["questions"].to_pylist()
    sliced = TextBatch(batch.text.slice(1), batch.ids, batch.urls, batch.records, {})
    assert step.columns(sliced)["questions"].to_pylist() == whole[1:] == [0, 1]
    assert {c: v.type for c, v in step.columns(TextBatch.of([])).items()} == step.column_types()
    assert pa.types.is_string(step.column_types()["set"])


def test_the_table_of_letters_is_read_only() -> None:
    """One table serves all; kernels take it as it is."""
    table = word_points()
    assert not table.flags.writeable
    assert folded([]).ends.tolist() == [0]


def test_docs_name_settings_columns_and_reason() -> None:
    """`docs/filters.md` has the filter's type, settings, columns, definition and reason."""
    text = (ROOT / "docs" / "filters.md").read_text()
    names = {*Decontaminate.model_fields} - {"type", "name"}
    step = Decontaminate(sets=("x",))
    names |= {*step.column_types(), step.type, step.definition, "decontaminate.contaminated"}
    names.add(step.splitter)
    assert sorted(name for name in names if f"`{name}`" not in text) == []
