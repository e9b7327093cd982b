"""Multiple choice as plain as can be: one answer at a time, token by token, whole logits."""

import math
from typing import Any

import torch
from torch import nn


def encode(tokenizer: Any, context: str, continuation: str, window: int) -> tuple[list[int], int]:
    """Ids of context and answer, cut on the left, and how many are the answer's."""
    while context and context[-1].isspace():
        context, continuation = context[:-1], context[-1] + continuation
    before = tokenizer.encode(context).ids
    ids = tokenizer.encode(context + continuation).ids
    count = len(ids) - len(before)
    if not before:
        ids = [tokenizer.token_to_id("<eos>"), *ids]
    return ids[-window - 1 :], count


def log_likelihood(model: nn.Module, ids: list[int], count: int) -> float:
    """Sum of log-probabilities of the last `count` ids, in nats."""
    with torch.no_grad():
        logits, _ = model(torch.tensor([ids[:-1]]))
    total = 0.0
    for place in range(len(ids) - count, len(ids)):
        row = logits[0, place - 1].double()
        total += float(row[ids[place]]) - math.log(float(row.exp().sum()))
    return total


def scores(questions: list[list[tuple[float, str, int]]], golds: list[int]) -> dict[str, float]:
    """Accuracies and bits a byte from (log-likelihood, continuation, tokens) of each answer."""
    found: dict[str, float] = {}
    count = len(questions)
    for name in ("acc", "acc_norm", "acc_bytes", "acc_token"):
        right = 0
        for answers, gold in zip(questions, golds, strict=True):
            values = [value / _divisor(name, text, tokens) for value, text, tokens in answers]
            right += values.index(max(values)) == gold
        share = right / count
        found[name] = share
        found[f"{name}_stderr"] = (share * (1 - share) / (count - 1)) ** 0.5
    found["chance"] = sum(1 / len(answers) for answers in questions) / count
    bits = 0.0
    for answers, gold in zip(questions, golds, strict=True):
        value, text, _ = answers[gold]
        bits -= value / math.log(2) / len(_text(text).encode())
    return found | {"answer_bpb": bits / count, "questions": count}


def _divisor(name: str, continuation: str, tokens: int) -> int:
    text = _text(continuation)
    lengths = {
        "acc": 1,
        "acc_norm": len(text),
        "acc_bytes": len(text.encode()),
        "acc_token": tokens,
    }
    return lengths[name]


def _text(continuation: str) -> str:
    return continuation[1:] if continuation[0] == " " else continuation
