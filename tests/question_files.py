"""Files of questions, and a tokenizer of letters that is small enough for the smallest models."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from builders import write_jsonl

LETTERS = "abcdefghijklmnopqrstuvwxyz .?:\n"
MERGES = [("a", "t"), (" ", "a"), ("?", " "), ("e", "r"), (" ", " ")]
"""Pairs that become one token, across the end of a context too: no words are cut before."""


def write_letters(path: Path) -> Path:
    """Write a tokenizer of letters and `MERGES`; 61 ids, <eos> is 0, é has two bytes and one id."""
    from tokenizers import AddedToken, Tokenizer, models

    joined = ["".join(pair) for pair in MERGES]
    entries = ["<eos>", *LETTERS, "é", *joined, *"ABCDEFGHIJKLMNOPQRSTUVW"]
    vocab = {entry: number for number, entry in enumerate(entries)}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=MERGES))
    tokenizer.add_special_tokens([AddedToken("<eos>", special=True, normalized=False)])
    tokenizer.save(str(path))
    return path


def answers(number: Any, context: str, continuations: Sequence[str], label: Any) -> list[Any]:
    """Give the lines of one question, as the logs of evaluation harnesses have them."""
    return [
        {
            "request_type": "loglikelihood",
            "doc_id": number,
            "idx": index,
            "label": label,
            "request": {"context": context, "continuation": continuation},
        }
        for index, continuation in enumerate(continuations)
    ]


QUESTIONS = [
    *answers(0, "what is on a mat?", [" a cat", " the water", " a terse letter"], 0),
    *answers(1, "where is water ", ["at sea", "in the air"], 1),
    *answers(2, "", ["a", "rather a lot.", "é"], 2),
    *answers("x", "a context far longer than the window of it.\nanswer:", [" at", " er"], 1),
    *answers(4, "who?", [" at", " nobody", " a tat", " er er"], 3),
]


def write_questions(path: Path, records: Sequence[Any] = QUESTIONS) -> Path:
    """Write a file of questions, compressed by suffix."""
    return write_jsonl(path, list(records))


def read_lines(path: Path) -> list[Any]:
    """Read JSON lines."""
    return [json.loads(line) for line in path.read_text().splitlines()]
