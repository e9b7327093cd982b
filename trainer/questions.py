"""Questions with answers to choose from, as token ids: read, sampled, checked before training.

A file is JSONL (`.gz` or plain), one line an answer, as the request logs of evaluation harnesses
are: `doc_id` names the question, `idx` its answers from 0 on, `request` {context, continuation} is
the text before an answer and the answer, `label` the right one's idx. A question with one answer
only, whose label is not looked at, has no accuracy, but bits a byte.

Context and answer are encoded as lm-evaluation-harness does: white space at the end of the context
goes to the front of the answer; both are encoded together, and the answer's ids are those after as
many as the context alone has. A context of nothing is the EOS. Ids beyond the model's window are
cut off on the left, from the context alone. An answer's length, in characters or bytes, is that of
its continuation without one leading space, as in the harness and in OLMo's evaluations.
"""

import gzip
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dolmix.errors import ConfigError, DataError, Problem
from dolmix.tokenizer import Tokenizer, load_tokenizer
from trainer.config import EvaluationConfig


@dataclass(frozen=True)
class Answer:
    """One line of a file: an answer to a question."""

    context: str
    continuation: str
    line: int
    """Of the file, from 1."""


@dataclass(frozen=True)
class Question:
    """A question: its answers in order, and which is right."""

    key: str
    """Its `doc_id`, as JSON."""
    answers: tuple[Answer, ...]
    gold: int


@dataclass(frozen=True, eq=False)
class Task:
    """The questions of a task, encoded; R answers of Q questions, those of a question together."""

    tokens: list[NDArray[np.int64]]
    """R times: ids of context and answer, at most the window and one."""
    lengths: NDArray[np.int64]
    """(R,) ids of them that are the answer's, the last ones."""
    characters: NDArray[np.int64]
    """(R,) code points of the answer."""
    bytes: NDArray[np.int64]
    """(R,) UTF-8 bytes of the answer."""
    first: NDArray[np.int64]
    """(Q + 1,) a question's answers are [first[q], first[q + 1])."""
    gold: NDArray[np.int64]
    """(Q,) number of the right answer among the R."""
    window: int
    """Most ids that the model is given at a time."""

    @property
    def num_questions(self) -> int:
        """Q."""
        return len(self.gold)

    @property
    def has_choice(self) -> bool:
        """Whether any question has more than one answer."""
        return len(self.tokens) > len(self.gold)

    @property
    def chance(self) -> float:
        """Accuracy of guessing: the mean over questions of 1 / answers."""
        return float((1 / np.diff(self.first)).mean())


def open_tasks(
    config: EvaluationConfig, *, window: int, known: Mapping[str, str], vocab: int
) -> dict[str, Task]:
    """Read and encode all tasks.

    window: most ids that the model is given at a time; known: digests of the tokenizer that this
    must be, each with what was made with it, as "the stores were made"; vocab: rows of the model's
    embedding. Raises ConfigError for a tokenizer that is missing or another one, DataError for a
    file that is not as described above.
    """
    if not config.tasks:
        return {}
    tokenizer = _tokenizer(config, known, vocab)
    return {
        name: encode(name, sampled(read_questions(path), name, config.limit), tokenizer, window)
        for name, path in config.tasks.items()
    }


def _tokenizer(config: EvaluationConfig, known: Mapping[str, str], vocab: int) -> Tokenizer:
    key = "evaluation.tokenizer"
    if config.tokenizer is None:
        what = f"needed for the tasks {', '.join(config.tasks)}: {{path: tokenizer.json}}"
        raise ConfigError("evaluation", [Problem(key, what)])
    tokenizer = load_tokenizer(config.tokenizer)
    pin = tokenizer.pin()
    if others := known.keys() - {pin.digest}:
        other = min(others)
        what = f"{config.tokenizer.path} has digest {pin.digest}, but {known[other]} with {other}"
        raise ConfigError("evaluation", [Problem(key, f"{what}: name that tokenizer")])
    if pin.largest_id >= vocab:
        what = f"gives ids up to {pin.largest_id:,}, but the model's vocabulary has {vocab:,}"
        raise ConfigError("evaluation", [Problem(key, f"{config.tokenizer.path} {what}")])
    return tokenizer


def read_questions(path: Path) -> list[Question]:
    """Read a file's questions. Raises DataError, with file and line, for what is none."""
    found: dict[str, list[tuple[Answer, Any]]] = {}
    for number, line in enumerate(_lines(path), 1):
        if line.strip():
            key, answer, label = _answer(line, path, number, found)
            found.setdefault(key, []).append((answer, label))
    if not found:
        raise DataError(f"{path} holds no question. Give a file of questions, or leave it out.")
    return [_question(path, key, answers) for key, answers in found.items()]


def _lines(path: Path) -> Iterator[bytes]:
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            yield from file
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read: {error}. Is it the file that was meant?") from None


def _answer(
    line: bytes, path: Path, number: int, found: dict[str, list[tuple[Answer, Any]]]
) -> tuple[str, Answer, Any]:
    try:
        record = json.loads(line)
        key, request = json.dumps(record["doc_id"]), record["request"]
        context, continuation = request["context"], request["continuation"]
        index, label = record["idx"], record["label"]
    except KeyError as error:
        raise _refused(path, number, f"no {error.args[0]!r}") from None
    except (ValueError, TypeError) as error:
        raise _refused(path, number, f"no such JSON object: {error}") from None
    if not (isinstance(context, str) and isinstance(continuation, str)):
        raise _refused(path, number, "request.context and request.continuation are to be texts")
    try:
        (context + continuation).encode()
    except UnicodeEncodeError:  # JSON can escape half of a pair
        raise _refused(path, number, "a text that is no Unicode: a lone surrogate") from None
    if not continuation.strip():
        raise _refused(path, number, f"the continuation {continuation!r} is no answer")
    expected = len(found.get(key, ()))
    if index != expected:
        raise _refused(path, number, f"idx {index!r} of doc_id {key}, where {expected} is next")
    return key, Answer(context, continuation, number), label


def _refused(path: Path, number: int, why: str) -> DataError:
    return DataError(
        f"{path}, line {number:,}: {why}. A line is an answer: {{doc_id, idx, label, request: "
        "{context, continuation}}, idx from 0 on for each doc_id, label the right idx."
    )


def _question(path: Path, key: str, answers: list[tuple[Answer, Any]]) -> Question:
    label, count = answers[0][1], len(answers)
    for answer, other in answers if count > 1 else ():
        if type(other) is not int or other != label:
            raise _refused(path, answer.line, f"label {other!r}, and {label!r} before")
    if count > 1 and not 0 <= label < count:
        line = answers[-1][0].line
        raise _refused(path, line, f"label {label} of doc_id {key}, which has {count} answers")
    return Question(key, tuple(answer for answer, _ in answers), label if count > 1 else 0)


def sampled(questions: list[Question], task: str, limit: int | None) -> list[Question]:
    """Choose `limit` questions, in their order: the smallest blake2b-64 of task, 0x1F, `doc_id`."""
    if limit is None or limit >= len(questions):
        return questions

    def rank(number: int) -> bytes:
        text = f"{task}\x1f{questions[number].key}"
        return blake2b(text.encode(), digest_size=8, person=b"dolmix-tasks1").digest()

    return [questions[number] for number in sorted(sorted(range(len(questions)), key=rank)[:limit])]


def encode(name: str, questions: Sequence[Question], tokenizer: Tokenizer, window: int) -> Task:
    """Encode questions. Raises DataError for an answer without ids or longer than the window."""
    answers = [answer for question in questions for answer in question.answers]
    split = [_split(answer) for answer in answers]
    alone = tokenizer.encode_texts([context for context, _ in split])
    whole = tokenizer.encode_texts([context + continuation for context, continuation in split])
    eos = tokenizer.pin().eos_id
    tokens, lengths = [], []
    for answer, before, ids in zip(answers, alone, whole, strict=True):
        length = len(ids) - len(before)
        if not 0 < length <= window:
            raise DataError(
                f"task {name}, line {answer.line:,}: the answer has {length:,} tokens, and the "
                f"model is given 1 to {window:,} at a time. Leave the task out, or evaluate with "
                "a longer window."
            )
        row = ids if len(before) else np.insert(ids, 0, eos)
        tokens.append(row[-(window + 1) :].astype(np.int64))
        lengths.append(length)
    texts = [answer.continuation.removeprefix(" ") for answer in answers]
    counts = np.array([len(question.answers) for question in questions])
    first = np.concatenate([[0], np.cumsum(counts)])
    return Task(
        tokens,
        np.array(lengths),
        np.array([len(text) for text in texts]),
        np.array([len(text.encode()) for text in texts]),
        first,
        first[:-1] + np.array([question.gold for question in questions]),
        window,
    )


def _split(answer: Answer) -> tuple[str, str]:
    """Move white space at the end of the context to the front of the continuation."""
    context = answer.context.rstrip()
    return context, answer.context[len(context) :] + answer.continuation
