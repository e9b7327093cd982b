"""Odd texts: whatever its shape, a megabyte is judged about as soon as a usual one, and in bounds.

Times are for `scripts/bench_shapes.py` to tell. Here, what would take quadratic time does not end
within a test's timeout: 10**12 steps for one of these texts.
"""

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pydantic import TypeAdapter

from dolmix.document import TextBatch
from dolmix.filters import AnyFilter, Filter, judge

ROOT = Path(__file__).resolve().parents[3]
SIZE = 1_000_000
MB = 1_000_000
FILTERS: dict[str, dict[str, Any]] = {
    "gopher dolma": {"type": "gopher", "preset": "dolma-1.2"},
    "gopher datatrove": {"type": "gopher", "preset": "datatrove-0.10"},
    "gopher dclm": {"type": "gopher", "preset": "dclm"},
    "repetition dolma": {"type": "repetition", "preset": "dolma-1.2"},
    "repetition datatrove": {"type": "repetition", "preset": "datatrove-0.10"},
    "repetition dclm": {"type": "repetition", "preset": "dclm"},
    "repetition olmoe": {"type": "repetition", "preset": "olmoe-0924", "unit": "words"},
    "char_repetition": {"type": "char_repetition", "drop_at_score": 10},
    "c4 datatrove": {"type": "c4", "preset": "datatrove-0.10"},
    "c4 any line end": {"type": "c4", "preset": "datatrove-0.10", "terminal_punct": False},
    "c4 dolma": {"type": "c4", "preset": "dolma-1.2"},
    "fineweb": {"type": "fineweb", "preset": "datatrove-0.10"},
    "word_share": {"type": "word_share"},
    "code redpajama": {"type": "code", "preset": "redpajama"},
    **{
        f"code {ext}": {"type": "code", "preset": "dolma-1.2"}
        for ext in ("py", "java", "js", "html")
    },
}
TIMES_ITS_SIZE = 60
"""Peak memory for one large document, in multiples of its bytes, beside what a process takes."""
LARGE = 12 * MB
FLAT_BYTES = 40 * MB
"""By how much the peak may differ between few and many batches; a batch has 0.4 MB of text."""


def shapes(size: int) -> dict[str, list[str]]:
    """Texts by shape, each of about `size` characters in all."""
    draw = random.Random(size)
    letters = "".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=size))
    words = " ".join(letters[i : i + 5] for i in range(0, size - 6, 6))
    sentence = "The same words come again and again, with nothing new to say. "
    return {
        "one word over and over": ["word " * (size // 5)],
        "one sentence over and over": [sentence * (size // len(sentence))],
        "one page over and over": [letters_in_lines(words[: size // 50]) * 50],
        "one line over and over": [(sentence[:-1] + "\n") * (size // len(sentence))],
        "words from a small set": [" ".join(draw.choices(words[:90].split(), k=size // 6))],
        "one line": [words],
        "one word of letters": [letters],
        "one word of digits and marks": ["".join(draw.choices("0123456789.,:-/'", k=size))],
        "one word of full stops": ["." * size],
        "one word of brackets": ["(" * (size // 2) + ")" * (size // 2)],
        "one word of accented letters": ["é" * size],
        "one address": ["http://example.org/" + letters],
        "short lines": ["a\n" * (size // 2)],
        "lines without anything": ["\n" * size],
        "spaces": [" \u00a0" * (size // 2)],
        "hashes and dots": ["#..." * (size // 4)],
        "text without spaces": ["中文字の" * (size // 4)],
        "combining marks": ["a" + "\u0301" * (size - 1)],
        "many texts of one word": ["", "word"] * (size // 100),
    }


def letters_in_lines(words: str) -> str:
    """Put a newline in place of every tenth space."""
    split = words.split(" ")
    return "\n".join(" ".join(split[i : i + 10]) for i in range(0, len(split), 10)) + "\n"


def build(name: str) -> Filter:
    """Build a filter; without spaCy, skip what needs it."""
    filter_: Filter = TypeAdapter(AnyFilter).validate_python(FILTERS[name])
    if "spacy" in filter_.splitter:
        pytest.importorskip("spacy")
    return filter_


@pytest.mark.parametrize("name", FILTERS)
def test_no_shape_keeps_a_filter_busy(name: str) -> None:
    """Every filter comes back from every shape of text, with a value a document and a verdict."""
    filter_ = build(name)
    for shape, texts in shapes(SIZE).items():
        told = [json.dumps(name.rsplit(maxsplit=1)[-1])] * len(texts)
        batch = TextBatch.of(texts, fields={path: list(told) for path in filter_.fields()})
        columns = filter_.columns(batch)
        for column, values in columns.items():
            assert len(values) == len(texts), (shape, column)
            if pa.types.is_floating(values.type):
                numbers = values.drop_null().to_numpy(zero_copy_only=False)
                assert np.isfinite(numbers).all(), (shape, column)
        assert len(judge(filter_, columns, batch)) == len(texts), shape


def test_shapes_are_as_large_as_they_say() -> None:
    """Each single text has the characters it was asked to have, give or take a sentence."""
    for shape, texts in shapes(SIZE).items():
        assert len(texts) > 1 or abs(len(texts[0]) - SIZE) < 100, shape


MEASURE = """
import json, random, sys
sys.path[:0] = [sys.argv[1]]
from pydantic import TypeAdapter
from dolmix.document import TextBatch
from dolmix.filters import AnyFilter, judge
settings, what, size = json.loads(sys.argv[2])
filters = [TypeAdapter(AnyFilter).validate_python(one) for one in settings]
alphabet = "abcdefghijklmnopqrstuvwxyz"
draw = random.Random(7)
pool = [draw.choice(alphabet) * draw.randint(1, 3) + draw.choice("aeiouy") for _ in range(900)]
text = " ".join(draw.choice(pool) + draw.choice(pool) + draw.choice(["", ".", ",", ".\\n"])
                for _ in range(60_000))

def apply(texts):
    batch = TextBatch.of(texts)
    for one in filters:
        judge(one, one.columns(batch), batch)

def reworded(part):
    letters = draw.sample(alphabet, 26)
    letters[draw.randrange(26)] = draw.choice("éüñçø")
    return part.translate(str.maketrans(alphabet, "".join(letters)))

def peak():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))

def rest():
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # the peak starts anew: compiling took more than any text will

apply([text[:20_000]])
if what == "document":
    whole = (text * (size // len(text) + 1))[:size]
    rest()
    before = peak()
    apply([whole])
    print(json.dumps(peak() - before))
else:
    rest()
    found = []
    for n in range(size):
        apply([reworded(text[i : i + 4000]) for i in range(0, 400_000, 4000)])
        if n in (size // 10, size - 1):
            found.append(peak())
    print(json.dumps(found[1] - found[0]))
"""
SETS = {
    "dolma": ("gopher dolma", "repetition dolma", "c4 dolma", "word_share", "char_repetition"),
    "datatrove": ("gopher datatrove", "repetition datatrove", "c4 datatrove", "fineweb"),
}


def growth(names: tuple[str, ...], what: str, size: int) -> int:
    """Bytes by which a process's peak memory grows."""
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("peak memory is read from /proc")
    for name in names:
        build(name)
    given = json.dumps([[FILTERS[name] for name in names], what, size])
    command = [sys.executable, "-c", MEASURE, str(ROOT), given]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr[-2000:]
    return int(json.loads(ran.stdout))


@pytest.mark.parametrize("names", SETS.values(), ids=SETS)
def test_memory_is_bounded_by_a_large_document(names: tuple[str, ...]) -> None:
    """One document of 12 MB takes at most a fixed multiple of its bytes."""
    assert growth(names, "document", LARGE) < TIMES_ITS_SIZE * LARGE


@pytest.mark.parametrize("names", SETS.values(), ids=SETS)
def test_memory_does_not_grow_with_the_number_of_documents(names: tuple[str, ...]) -> None:
    """A hundred batches, nearly all of their words new, peak where ten do."""
    assert growth(names, "documents", 100) < FLAT_BYTES
