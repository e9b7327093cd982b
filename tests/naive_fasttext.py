"""The plain-Python twin of dolmix/text/fasttext_*.py: tokens, n-grams, the tree, a prediction.

Floats are summed one by one in single precision, as fastText sums them.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

SPACES = b" \n\r\t\v\f\0"
END = b"</s>"


def hashed(word: bytes) -> int:
    """FNV-1a of 32 bits over signed bytes."""
    value = 2166136261
    for byte in word:
        value = ((value ^ (byte | 0xFFFFFF00 if byte > 127 else byte)) * 16777619) & 0xFFFFFFFF
    return value


def tokens(text: str) -> list[bytes]:
    """Words of a text as fastText reads a line of it, `</s>` at the end."""
    table = bytes.maketrans(SPACES, b" " * len(SPACES))
    found = [word for word in text.encode().translate(table).split(b" ") if word]
    return [*(found[: found.index(END)] if END in found else found), END]


def subwords(word: bytes, least: int, most: int) -> list[bytes]:
    """Character n-grams of a word, in fastText's order."""
    chars = [c.encode() for c in f"<{word.decode()}>"]
    grams = []
    for i in range(len(chars)):
        for n in range(max(least, 1), most + 1):
            alone = n == 1 and (i == 0 or i + n == len(chars))
            if i + n <= len(chars) and not alone:
                grams.append(b"".join(chars[i : i + n]))
    return grams


def rows(text: str, model: dict[str, Any]) -> list[int]:
    """Rows of the input matrix that a text asks for.

    model  words: entry by its bytes; num_words, bucket, least, most, word_ngrams; kept: row by
           bucket, or None
    """
    found, hashes = [], []
    for word in tokens(text):
        entry = model["words"].get(word, -1)
        if entry >= model["num_words"] or (entry < 0 and word.startswith(b"__label__")):
            continue
        hashes.append(hashed(word))
        if entry >= 0:
            found.append(entry)
        if word != END:
            grams = subwords(word, model["least"], model["most"])
            found += _kept([hashed(gram) % model["bucket"] for gram in grams], model)
    for i in range(len(hashes)):
        value = _signed(hashes[i])
        for j in range(i + 1, min(len(hashes), i + model["word_ngrams"])):
            value = (value * 116049371 + _signed(hashes[j])) % 2**64
            found += _kept([value % 2**64 % model["bucket"]], model)
    return found


def tree(counts: Sequence[int]) -> list[tuple[int, int]]:
    """Children of the inner nodes of fastText's Huffman tree, numbered from len(counts) on."""
    weights = [*counts]
    leaf, inner, children = len(counts) - 1, len(counts), []
    for _ in range(len(counts) - 1):
        pair = []
        for _ in range(2):
            heavy = weights[inner] if inner < len(weights) else 10**15
            if leaf >= 0 and weights[leaf] < heavy:
                pair.append(leaf)
                leaf -= 1
            else:
                pair.append(inner)
                inner += 1
        children.append((pair[0], pair[1]))
        weights.append(weights[pair[0]] + weights[pair[1]])
    return children


def softmax(vectors: Any, outputs: Any) -> list[float]:
    """Probabilities as fastText prints them, 1e-5 too large, of the mean of some vectors.

    vectors  (M, D) float32  input vectors of a text, in their order
    outputs  (L, D) float32  output vectors
    """
    total = np.zeros(outputs.shape[1], np.float32)
    for vector in vectors:
        total += vector
    total *= np.float32(1.0 / len(vectors))
    scores = []
    for output in outputs:
        score = np.float32(0)
        for a, b in zip(output, total, strict=True):
            score += a * b
        scores.append(score)
    powers = [np.float32(math.exp(score - max(scores))) for score in scores]
    whole = np.float32(0)
    for power in powers:
        whole += power
    return [float(np.float32(power / whole)) + 1e-5 for power in powers]


def _kept(buckets: list[int], model: dict[str, Any]) -> list[int]:
    if model["kept"] is None:
        return [model["num_words"] + bucket for bucket in buckets]
    return [model["num_words"] + model["kept"][b] for b in buckets if b in model["kept"]]


def _signed(value: int) -> int:
    return value - 2**32 if value >= 2**31 else value
