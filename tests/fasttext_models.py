"""Small fastText models of every kind, trained by the package in a fraction of a second.

Ten threads, since the package leaves input vectors of fewer threads unset, in memory that begins as
zeros. What they learn may vary; what is tested is that all answer alike about the same file.
"""

import contextlib
from pathlib import Path
from typing import Any

from dolmix.learned.fit import zeroed_memory

WORDS = {
    "de": "das ist ein kurzer satz und noch einer mit wörtern größer als vorher",
    "en": "this is a short sentence and another one with words larger than before",
    "fr": "ceci est une phrase courte et encore une avec des mots plus grands",
    "ru": "это короткое предложение ещё одно больше чем раньше или прежде",
    "zh": "这是一个 简短的句子 还有一个 词语比以前 更大",
}
KINDS: dict[str, dict[str, Any]] = {
    "softmax": {"loss": "softmax", "wordNgrams": 2, "bucket": 500},
    "hs": {"loss": "hs", "minn": 2, "maxn": 4, "bucket": 2000},
    "two to four": {"loss": "softmax", "minn": 2, "maxn": 4, "bucket": 3000},
    "languages": {
        "loss": "hs",
        "minn": 2,
        "maxn": 4,
        "bucket": 3000,
        "quantize": {"qnorm": True, "dsub": 2, "cutoff": 400},
    },
    "ova": {"loss": "ova", "minn": 1, "maxn": 3, "wordNgrams": 3, "bucket": 700},
    "ns": {"loss": "ns", "neg": 2, "dim": 7},
    "words": {"loss": "softmax", "dim": 33},
    "quantised": {"loss": "softmax", "minn": 2, "maxn": 3, "bucket": 900, "quantize": {}},
    "norms": {
        "loss": "hs",
        "wordNgrams": 2,
        "minn": 2,
        "maxn": 3,
        "bucket": 900,
        "dim": 9,
        "quantize": {"qnorm": True, "dsub": 2},
    },
    "pruned": {
        "loss": "softmax",
        "wordNgrams": 2,
        "minn": 3,
        "maxn": 5,
        "bucket": 900,
        "quantize": {"qnorm": True, "cutoff": 300},
    },
    "qout": {
        "loss": "softmax",
        "bucket": 900,
        "minn": 2,
        "maxn": 2,
        "labels": 300,
        "quantize": {"qnorm": True, "qout": True, "cutoff": 400},
    },
}
OTHERS: dict[str, dict[str, Any]] = {
    "own labels": {"loss": "softmax", "minn": 2, "maxn": 3, "bucket": 900, "label": "@"},
}
"""Models that most tests leave out."""


def trained(kind: str, folder: Path) -> Path:
    """Train the model of a kind; rows come from WORDS, labels in uneven numbers."""
    import fasttext

    settings = dict((KINDS | OTHERS)[kind])
    prefix = settings.get("label", "__label__")
    quantize, labels = settings.pop("quantize", None), settings.pop("labels", 0)
    lines = []
    for n, (label, words) in enumerate(WORDS.items()):
        parts = words.split()
        for k in range(12 * (n + 1)):
            text = " ".join(parts[k % 3 :] + parts[: k % 5] + [f"{label}{i}" for i in range(k % 7)])
            lines.append(f"{prefix}{label} {text}")
    lines += [f"{prefix}x{n} number{n} of many x{n % 17}" for n in range(labels)]
    rows = folder / "rows.txt"
    rows.write_text("\n".join(lines) + "\n", encoding="utf-8")
    settings = {"dim": 16, "epoch": 8, "lr": 0.5, "thread": 10, "seed": 7, "verbose": 0} | settings
    model = None
    while model is None:  # now and then it meets what unset memory holds, and gives up
        with contextlib.suppress(RuntimeError), zeroed_memory():
            model = fasttext.train_supervised(str(rows), **settings)
        settings["lr"] *= 0.7
    path = folder / f"{kind}.bin"
    if quantize is not None:
        model.quantize(**{"input": str(rows), "retrain": False, "verbose": 0} | quantize)
        path = folder / f"{kind}.ftz"
    model.save_model(str(path))
    return path
