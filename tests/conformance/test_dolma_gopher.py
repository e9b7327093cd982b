"""Repetition by the `dolma-1.2` preset against dolma 1.2.1 itself.

dolma pins numpy below 2, so it runs in an environment of its own: name its Python in
DOLMIX_DOLMA_PYTHON, or make `.venvs/dolma` (`uv venv .venvs/dolma && uv pip install -p
.venvs/dolma/bin/python dolma==1.2.1`).
"""

import json
import os
import random
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import naive
import numpy as np
import pytest

from dolmix.document import TextBatch
from dolmix.filters import Repetition
from dolmix.text.periodic import periodic_times

pytestmark = pytest.mark.conformance

ROOT = Path(__file__).resolve().parents[2]
PEER = """
import dataclasses, json, sys
import numpy as np
from dolma.taggers.gopher import get_attributes
from dolma.taggers.repetitions.utils import find_periodic_sequences
for line in sys.stdin:
    given = json.loads(line)
    if isinstance(given, str):
        both = [dataclasses.asdict(get_attributes(given, merge)) for merge in (False, True)]
        print(json.dumps(both))
    else:
        found = find_periodic_sequences(np.array(given), max_period=13)
        print(max((s.times for s in found), default=0))
"""
LINES = {
    "dup_line_frac": "fraction_of_duplicate_lines",
    "dup_line_char_frac": "fraction_of_characters_in_duplicate_lines",
}
PIECES = [*" \t\n\r\x0b\x0c\x1c\x1d\x1e\x1f\x85\xa0\u1680\u2000\u2028\u2029\u202f\u205f\u3000"]
PIECES += ["\n\n", "\n\n\n", "\r\n", "the ", "of ", "The ", "with ", "…", "...", "#", "* ", "- "]
PIECES += [
    "word ",
    "word\n",
    "a b c d e f g h i j ",
    "中文",
    "é",
    "e\u0301",
    "\u200d",
    "שלום ",
    "٣ ",
]

Ask = Callable[[list[Any]], list[Any]]


@pytest.fixture(scope="module")
def ask() -> Ask:
    """Give texts or arrays to dolma, in one process, and get its values."""
    named = os.environ.get("DOLMIX_DOLMA_PYTHON", str(ROOT / ".venvs" / "dolma" / "bin" / "python"))
    if not Path(named).exists():
        pytest.skip(f"no dolma: {named} is not there; set DOLMIX_DOLMA_PYTHON")

    def run(given: list[Any]) -> list[Any]:
        lines = "".join(json.dumps(item) + "\n" for item in given)
        ran = subprocess.run(
            [named, "-c", PEER], input=lines, capture_output=True, text=True, check=False
        )
        assert ran.returncode == 0, ran.stderr[-2000:]
        return [json.loads(line) for line in ran.stdout.splitlines()]

    return run


def made_texts(count: int) -> list[str]:
    """Random texts out of awkward pieces, and some whole ones."""
    rng = random.Random(20_240_924)
    made = ["".join(rng.choices(PIECES, k=rng.randint(0, 120))) for _ in range(count)]
    return [*made, "", " ", "\n", "x", "the the the", "x" * 1_000_000, "ab " * 5000]


def check(ask: Ask, texts: list[str]) -> None:
    """Compare every column, under both readings of newlines, exactly."""
    batch = TextBatch.of(texts)
    for which, newlines in enumerate(("each", "runs")):
        columns = Repetition(newlines=newlines).columns(batch)  # type: ignore[arg-type]
        values = {name: column.to_pylist() for name, column in columns.items()}
        for n, both in enumerate(ask(texts)):
            peer = both[which]
            expected = {name: peer[theirs] for name, theirs in LINES.items()}
            ours = dict.fromkeys(set(values) - set(expected), 0.0)
            for kind, part in (("top", "most_common_ngram"), ("dup", "duplicate_ngrams")):
                shares = peer[f"fraction_of_characters_in_{part}"]
                ours |= {f"{kind}_{size}gram_char_frac": share for size, share in shares}
            assert {name: values[name][n] for name in values} == expected | ours, repr(
                texts[n][:200]
            )


def test_values_equal_dolmas_on_awkward_texts(ask: Ask) -> None:
    """Every column equals dolma's value, bit for bit, on 2,000 texts made of hard cases."""
    check(ask, made_texts(2000))


@pytest.mark.corpus
def test_values_equal_dolmas_on_real_documents(ask: Ask, shared: Path) -> None:
    """The same on real documents, a keyed sample of them."""
    import gzip

    texts = []
    for part in ("code/other-0000", "wiki/wiki-0001", "web_quality_labelled/dclm-0000"):
        with gzip.open(shared / "corpus_seed" / f"{part}.jsonl.gz", "rt", encoding="utf-8") as file:
            texts += [json.loads(line)["text"] for line in file]
    check(ask, random.Random(7).sample(texts, 300))


def test_times_equal_the_peers(ask: Ask) -> None:
    """Repeats counted by runs of equal neighbours equal OLMo's and dolma's own search."""
    rng = random.Random(32)
    arrays = [rng.choices(range(rng.randint(1, 3)), k=rng.randint(3, 120)) for _ in range(1000)]
    for _ in range(1000):
        span = rng.choices(range(4), k=rng.randint(1, 15))
        middle = span * rng.randint(1, 40) + span[: rng.randint(0, len(span))]
        arrays.append(rng.choices(range(4), k=5) + middle + rng.choices(range(4), k=5))
    ends = np.concatenate([[0], np.cumsum([len(a) for a in arrays])])
    found = periodic_times(np.concatenate(arrays), ends).tolist()
    assert found == ask(arrays)
    assert found[:200] == [naive.periodic_times(a) for a in arrays[:200]]
