"""Files of questions: read, refused with file and line, sampled, encoded as the harness does."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from naive_choices import encode as encode_plainly
from question_files import LETTERS, answers, write_letters, write_questions

from dolmix.errors import ConfigError, DataError
from dolmix.tokenizer import Tokenizer, TokenizerConfig
from trainer.config import EvaluationConfig
from trainer.questions import (
    Answer,
    Question,
    encode,
    open_tasks,
    read_questions,
    sampled,
)

NUMBERS = {
    "arc_challenge.rc_0shot": (200, 798),
    "arc_easy.rc_0shot": (200, 801),
    "basic_skills_arithmetic.rc_5shot": (200, 2000),
    "boolq.rc_0shot": (200, 400),
    "copycolors.10way": (100, 1000),
    "csqa.rc_0shot": (200, 1000),
    "hellaswag.rc_0shot": (200, 800),
    "lambada.bpb_0shot": (200, 200),
    "openbookqa.rc_0shot": (200, 800),
    "piqa.rc_0shot": (200, 400),
    "sciq.rc_0shot": (200, 800),
    "socialiqa.rc_0shot": (200, 600),
    "winogrande.rc_0shot": (200, 400),
}


@pytest.fixture(scope="module")
def letters(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """Load a tokenizer of letters."""
    path = write_letters(tmp_path_factory.mktemp("letters") / "tokenizer.json")
    return Tokenizer(TokenizerConfig(path=path, eos="<eos>"))


@pytest.fixture
def file(tmp_path: Path) -> Callable[..., Path]:
    """Give a function that writes a file of questions."""
    return lambda *records, name="task.jsonl": write_questions(tmp_path / name, records)


def test_questions_are_read_in_order(tmp_path: Path) -> None:
    """Answers come by question, right ones by label; plain and compressed files alike."""
    plain = read_questions(write_questions(tmp_path / "task.jsonl"))
    assert [q.key for q in plain] == ["0", "1", "2", '"x"', "4"]
    assert [q.gold for q in plain] == [0, 1, 2, 1, 3]
    assert [len(q.answers) for q in plain] == [3, 2, 3, 2, 4]
    assert plain[1].answers[0] == Answer("where is water ", "at sea", 4)
    assert read_questions(write_questions(tmp_path / "task.jsonl.gz")) == plain


@pytest.mark.parametrize(
    ("records", "line", "why"),
    [
        ([*answers(0, "a", [" b", " c"], 0), b"{"], 3, "no such JSON object"),
        ([b"[1]"], 1, "no such JSON object"),
        ([{"doc_id": 0, "idx": 0, "label": 0}], 1, "no 'request'"),
        ([answers(0, "a", [" b"], 0)[0] | {"request": {"context": "a"}}], 1, "no 'continuation'"),
        (answers(0, "a", [" b", 3], 0), 2, "are to be texts"),
        (answers(0, "a", [" b", " "], 0), 2, "the continuation ' ' is no answer"),
        (answers(0, "a\ud800", [" b", " c"], 0), 1, "a text that is no Unicode"),
        (answers(0, "a", [" b", " c"], 0)[1:], 1, "idx 1 of doc_id 0, where 0 is next"),
        (answers(0, "a", [" b"], 0) * 2, 2, "idx 0 of doc_id 0, where 1 is next"),
        (answers("q", "a", [" b", " c"], 2), 2, 'label 2 of doc_id "q", which has 2 answers'),
        (answers(0, "a", [" b", " c"], "B"), 1, "label 'B'"),
        (answers(0, "a", [" b"], 0) + answers(0, "a", ["", " c"], 1)[1:], 2, "label 1, and 0 "),
    ],
)
def test_files_that_are_none_are_refused_by_line(
    file: Callable[..., Path], records: list[Any], line: int, why: str
) -> None:
    """The message names the file, the line, what is wrong, and what a line is."""
    path = file(*records)
    with pytest.raises(DataError) as caught:
        read_questions(path)
    assert str(caught.value).startswith(f"{path}, line {line}: ")
    assert why in str(caught.value)
    assert "{doc_id, idx, label, request: {context, continuation}}" in str(caught.value)


def test_files_that_cannot_be_read_are_named(tmp_path: Path, file: Callable[..., Path]) -> None:
    """No such file, no gzip, nothing in it: the path and what to do."""
    with pytest.raises(DataError, match=r"none\.jsonl cannot be read: .*No such file"):
        read_questions(tmp_path / "none.jsonl")
    wrong = tmp_path / "task.jsonl.gz"
    wrong.write_bytes(b"no gzip")
    with pytest.raises(DataError, match=r"task\.jsonl\.gz cannot be read: Not a gzipped file"):
        read_questions(wrong)
    with pytest.raises(DataError, match="holds no question"):
        read_questions(file())


def test_a_question_with_one_answer_needs_no_label(file: Callable[..., Path]) -> None:
    """Its label may be anything, as in the logs of tasks that ask for bits a byte."""
    (question,) = read_questions(file(*answers(0, "a", [" b"], ["b"])))
    assert question.gold == 0


@given(
    keys=st.lists(st.integers(0, 999), min_size=3, unique=True),
    limit=st.integers(1, 9),
    gone=st.integers(0, 2),
)
def test_a_sample_is_a_function_of_each_question(keys: list[int], limit: int, gone: int) -> None:
    """Samples keep the file's order, smaller ones lie in larger ones, and others change little.

    Without a question that was not chosen, the sample is the same.
    """
    questions = [Question(str(key), (), 0) for key in keys]
    chosen = sampled(questions, "task", limit)
    assert len(chosen) == min(limit, len(questions))
    assert [q for q in questions if q in chosen] == chosen
    assert set(chosen) <= set(sampled(questions, "task", limit + 1))
    if questions[gone] not in chosen:
        rest = questions[:gone] + questions[gone + 1 :]
        assert sampled(rest, "task", limit) == chosen
    assert sampled(questions, "task", None) == questions


TEXTS = st.text(LETTERS, max_size=12)


@given(context=TEXTS, continuation=TEXTS.filter(str.strip), window=st.integers(12, 20))
def test_answers_are_encoded_as_the_plain_twin_does(
    letters: Tokenizer, context: str, continuation: str, window: int
) -> None:
    """Ids, the answer's part of them, and its length equal those of the rule written out."""
    backend = letters._loaded.backend
    expected, count = encode_plainly(backend, context, continuation, window)
    question = Question("0", (Answer(context, continuation, 1),), 0)
    if not 0 < count <= window:
        with pytest.raises(DataError, match=f"line 1: the answer has {count} tokens"):
            encode("task", [question], letters, window)
        return
    task = encode("task", [question], letters, window)
    assert task.tokens[0].tolist() == expected
    assert task.lengths.tolist() == [count]
    text = continuation[1:] if continuation[0] == " " else continuation
    assert (task.characters.tolist(), task.bytes.tolist()) == ([len(text)], [len(text.encode())])


def test_encoding_by_hand(letters: Tokenizer) -> None:
    """Spaces move to the answer, a token across the border goes to neither, nothing is the EOS."""
    made = [
        Question("0", (Answer("at ", "at", 1), Answer("at?", " é", 2)), 1),
        Question("1", (Answer("", " at", 3),), 0),
    ]
    task = encode("task", made, letters, 12)
    names = [letters.token_texts(ids) for ids in task.tokens]
    assert names == [["at", " ", "at"], ["at", "? ", "é"], ["<eos>", " ", "at"]]
    assert task.lengths.tolist() == [2, 1, 2]
    assert task.characters.tolist() == [2, 1, 2]
    assert task.bytes.tolist() == [2, 2, 2]
    assert task.first.tolist() == [0, 2, 3]
    assert task.gold.tolist() == [1, 2]
    assert (task.num_questions, task.has_choice, task.chance) == (2, True, 0.75)


def test_tokenizers_that_do_not_fit_are_refused(tmp_path: Path, letters: Tokenizer) -> None:
    """None, another one than the stores', and one with more ids than the model has."""
    task = write_questions(tmp_path / "task.jsonl")
    pin, config = letters.pin(), letters.config

    def opened(tokenizer: TokenizerConfig | None, digest: str = pin.digest, vocab: int = 61) -> Any:
        asked = EvaluationConfig(tasks={"made": task}, tokenizer=tokenizer)
        return open_tasks(asked, window=12, known={digest: "the stores were made"}, vocab=vocab)

    assert opened(config)["made"].num_questions == 5
    with pytest.raises(ConfigError, match=r"evaluation\.tokenizer: needed for the tasks made"):
        opened(None)
    with pytest.raises(
        ConfigError, match=f"{pin.digest}, but the stores were made with {'0' * 64}"
    ):
        opened(config, digest="0" * 64)
    with pytest.raises(ConfigError, match=r"ids up to \d+, but the model's vocabulary has 9"):
        opened(config, vocab=9)
    assert open_tasks(EvaluationConfig(), window=12, known={}, vocab=9) == {}


def test_real_files_are_read(shared: Path) -> None:
    """All of the reference data: so many questions and answers, a right one each, ids to score."""
    path = shared / "tokenizers" / "allenai_gpt-neox-olmo-dolma-v1_5.json.gz"
    tokenizer = Tokenizer(TokenizerConfig(path=path))
    found = {}
    for file in sorted((shared / "eval").glob("*.jsonl.gz")):
        questions = read_questions(file)
        task = encode("task", questions[:20], tokenizer, 2048)
        assert all(0 < n < len(ids) for n, ids in zip(task.lengths, task.tokens, strict=True))
        numbers = np.arange(len(task.tokens))
        assert np.isin(task.gold, numbers).all()
        name = file.name.removesuffix(".first200.jsonl.gz")
        found[name] = (len(questions), sum(len(q.answers) for q in questions))
    assert found == NUMBERS
