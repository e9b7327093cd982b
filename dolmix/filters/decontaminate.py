"""Decontamination: documents that contain questions of evaluation sets (Brown et al. 2020, app. C).

A question is its n-grams of words, by the splitter `dolmix-words-1`, which typography, punctuation,
case and accents do not matter to. A document overlaps with a question by the share of the
question's different n-grams that it contains anywhere. A question too short for one n-gram is
looked for as a whole; one shorter than `min_words` would be met everywhere, is not looked for, and
is reported. Matches are compared word by word: a hash alone never makes one.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple, Self

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from dolmix.config import Frac
from dolmix.document import Columns, I64Array, TextBatch
from dolmix.errors import DataError, FilterError
from dolmix.files.questions import Question, QuestionFormat, digest_questions, read_questions
from dolmix.filters.base import Filter, Rule

if TYPE_CHECKING:
    from dolmix.text.ngram_overlap import FoldedTexts, GramTable

CONTAMINATED = "contaminated"


@dataclass(frozen=True, slots=True)
class SetCoverage:
    """How many questions of one set are looked for, and how."""

    set: str
    questions: int
    whole: int
    """Questions of which all texts are too short for an n-gram, looked for as a whole."""
    too_short: int
    """Questions that are not looked for."""


class Decontaminate(Filter):
    """Drop documents that contain questions of evaluation sets."""

    rule_settings = ("max_overlap_frac",)

    type: Literal["decontaminate"] = "decontaminate"
    sets: Annotated[tuple[str, ...], Field(min_length=1)]
    """Files of questions, by path or pattern: .jsonl, plain, .gz or .zst, one record a line."""
    text_fields: Annotated[tuple[str, ...], Field(min_length=1)] = (
        "doc.query",
        "doc.question",
        "request.context+request.continuation",
    )
    """Where a record has the question's text: dotted paths, the first that is there counts; `a+b`
    is both texts joined; of a list every text counts."""
    labels: tuple[str, ...] = ("Question:", "Answer:", "Goal:")
    """Words of the prompt that are taken off the starts of lines of a question."""
    n: Annotated[int, Field(ge=1, le=64)] = 13
    """Words in an n-gram."""
    min_words: Annotated[int, Field(ge=1)] = 8
    """Shortest text, in words, that is looked for as a whole where it has no n-gram."""
    max_overlap_frac: Frac | None = 0.0
    """Drop a document with more than this share of the n-grams of one question; null drops none. At
    0.0 any n-gram is too many."""

    @model_validator(mode="after")
    def _check_words(self) -> Self:
        if self.min_words > self.n:
            raise ValueError(
                f"min_words {self.min_words} is more than n {self.n}: a text of n words has an "
                f"n-gram. Lower min_words"
            )
        return self

    @property
    def definition(self) -> str:
        """The definition of dolmix."""
        return "dolmix-decontaminate-1"

    @property
    def splitter(self) -> str:
        """Words are those of `dolmix-words-1`."""
        return "dolmix-words-1"

    def digests(self) -> dict[str, str]:
        """Digest of all files of questions, by content; and of what letters depend on.

        Raises FilterError for a file that is missing or damaged.
        """
        import unicodedata

        try:
            return {"sets": digest_questions(self.sets), "unicode": unicodedata.unidata_version}
        except DataError as error:
            raise FilterError(f"{self.label}.sets: {error}") from None

    def coverage(self) -> list[SetCoverage]:
        """Count the questions of each set that are looked for.

        Raises FilterError for a file that cannot be read.
        """
        return _load(self._form()).coverage

    def remarks(self) -> list[str]:
        """Say what of the sets is not looked for."""
        return [
            f"{found.too_short:,} of the {found.questions:,} questions of {found.set} have fewer "
            f"than {self.min_words} words and are not looked for"
            for found in self.coverage()
            if found.too_short
        ]

    def column_types(self) -> dict[str, pa.DataType]:
        """Name the question with the largest overlap, the overlap, and the questions with any."""
        return {
            "set": pa.string(),
            "question": pa.string(),
            "overlap_ngrams": pa.int64(),
            "overlap_frac": pa.float64(),
            "questions": pa.int64(),
        }

    def columns(self, texts: TextBatch) -> Columns:
        """Look for all questions at once; set and question are null where there is no overlap.

        Of two questions with the same share the one with more n-grams is named, then the one that
        comes first in the files. Raises FilterError for a file that cannot be read.
        """
        from dolmix.text.ngram_overlap import grams_in

        loaded = _load(self._form())
        hits = grams_in(texts, loaded.table)
        pairs = loaded.questions_of(hits)
        best, overlap, questions = loaded.best(pairs, len(texts))
        named = pa.array(best, mask=best < 0)
        total = np.where(best < 0, 1, loaded.num_grams[best]) if loaded.num_grams.size else 1
        return {
            "set": pa.array([q.set for q in loaded.questions], pa.string()).take(named),
            "question": pa.array([q.id for q in loaded.questions], pa.string()).take(named),
            "overlap_ngrams": pa.array(overlap),
            "overlap_frac": pa.array(overlap / total),
            "questions": pa.array(questions),
        }

    def rules(self) -> Iterator[Rule]:
        """One rule."""
        yield Rule("overlap_frac", above=self.max_overlap_frac, reason=CONTAMINATED)

    def _form(self) -> "_Form":
        form = QuestionFormat(self.text_fields, self.labels)
        return _Form(self.label, self.sets, form, self.n, self.min_words)


class _Form(NamedTuple):
    """What n-grams depend on."""

    label: str
    sets: tuple[str, ...]
    form: QuestionFormat
    n: int
    min_words: int


@dataclass(frozen=True, eq=False)
class _Loaded:
    """Q questions and the G different n-grams that they have."""

    questions: list[Question]
    coverage: list[SetCoverage]
    table: "GramTable"
    num_grams: I64Array
    """(Q,) different n-grams of each question."""
    owners: I64Array
    """(K,) questions that have each n-gram, n-gram by n-gram."""
    ends: I64Array
    """(G + 1,): n-gram g is in questions owners[ends[g]:ends[g + 1]]."""

    def questions_of(self, hits: I64Array) -> I64Array:
        """(P, 3): document, question and n-grams in common, from hits (H, 2), (document, gram)."""
        first, counts = self.ends[hits[:, 1]], np.diff(self.ends)[hits[:, 1]]
        before = np.cumsum(counts) - counts
        at = np.repeat(first - before, counts) + np.arange(counts.sum())
        pairs = np.column_stack([np.repeat(hits[:, 0], counts), self.owners[at]])
        found, times = np.unique(pairs, axis=0, return_counts=True)
        return np.column_stack([found, times])

    def best(self, pairs: I64Array, documents: int) -> tuple[I64Array, I64Array, I64Array]:
        """Choose a question for each document: its number or -1; overlap; questions with any."""
        best, overlap = np.full(documents, -1, np.int64), np.zeros(documents, np.int64)
        document, question, common = pairs.T
        share = common / self.num_grams[question]
        order = np.lexsort((question, -common, -share, document))
        chosen = order[np.r_[True, np.diff(document[order]) != 0][: len(order)]]
        best[document[chosen]], overlap[document[chosen]] = question[chosen], common[chosen]
        return best, overlap, np.bincount(document, minlength=documents).astype(np.int64)


@lru_cache(maxsize=4)
def _load(asked: _Form) -> _Loaded:
    """Read the files and cut their questions into n-grams; the last ones asked for are kept."""
    from dolmix.text.ngram_overlap import folded, gram_table

    try:
        questions = read_questions(asked.sets, asked.form)
    except DataError as error:
        raise FilterError(f"{asked.label}.sets: {error}") from None
    words = folded([text for question in questions for text in question.texts])
    owners = np.repeat(np.arange(len(questions)), [len(q.texts) for q in questions])
    spans, askers = _spans(words, owners, asked.n, asked.min_words)
    table, grams = gram_table(words, spans)
    pairs = np.unique(np.column_stack([grams, askers]), axis=0)
    return _Loaded(
        questions=questions,
        coverage=_coverage(questions, words, owners, asked),
        table=table,
        num_grams=np.bincount(pairs[:, 1], minlength=len(questions)).astype(np.int64),
        owners=pairs[:, 1].copy(),
        ends=np.searchsorted(pairs[:, 0], np.arange(len(table.codes) + 1)).astype(np.int64),
    )


def _spans(
    words: "FoldedTexts", owners: I64Array, n: int, min_words: int
) -> tuple[I64Array, I64Array]:
    """First word and length of every n-gram, (S, 2), and the question that it is of, (S,)."""
    counts = np.diff(words.ends)
    sizes = np.where(counts >= n, n, np.where(counts >= min_words, counts, 0))
    number = np.where(sizes > 0, counts - sizes + 1, 0)
    before = np.cumsum(number) - number
    firsts = np.repeat(words.ends[:-1] - before, number) + np.arange(number.sum())
    return np.column_stack([firsts, np.repeat(sizes, number)]), np.repeat(owners, number)


def _coverage(
    questions: Sequence[Question], words: "FoldedTexts", owners: I64Array, asked: _Form
) -> list[SetCoverage]:
    longest = np.zeros(len(questions), np.int64)
    np.maximum.at(longest, owners, np.diff(words.ends))
    sets = np.array([question.set for question in questions], object)
    found = []
    for name in dict.fromkeys(sets.tolist()):
        mine = longest[sets == name]
        short = int((mine < asked.min_words).sum())
        whole = int((mine < asked.n).sum()) - short
        found.append(SetCoverage(name, len(mine), whole, short))
    return found
