"""Whether odd texts cost more than usual ones, and how much memory the filters take.

    python scripts/bench_shapes.py [--only TEXT] [--megabytes 1] [--large 200] [--json FILE]

Time: core seconds a byte of every filter on texts of hard shapes, beside usual text; anything
quadratic shows at once, since it does not come back within the limit. Memory: the peak of a process
that judges 10,000 and 100,000 documents, nearly every word of them new, batch after batch, and of
one that judges a single document of `--large` megabytes. Each measurement has a process of its own.
"""

import argparse
import json
import random
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bench_texts
from bench_filters import ENTRIES, Entry, Row, Table, apply, load, row
from bench_texts import core_seconds, measured, web_documents

SECONDS = 120
"""What one filter may take for all shapes together."""
MOST = 3.0
"""Time a byte, in multiples of that of usual text, that no shape should pass."""
DOCUMENTS = (10_000, 100_000)
DOCUMENT_CHARACTERS = 1000
LEAST_BYTES = 100
"""About what the record of an empty text takes; time for it is not time for its text."""
KIB = 1024
CASCADE = "cascade: repetition, quality, C4, FineWeb"
MEMORY = ("Gopher quality + repetition, dolma's", CASCADE)


def shapes(size: int, usual: list[str]) -> dict[str, list[str]]:
    """Texts by shape, each of about `size` characters in all; usual text first."""
    draw = random.Random(size)  # noqa: S311 - nothing secret
    letters = "".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=size))
    words = " ".join(letters[i : i + 5] for i in range(0, size - 6, 6))
    sentence = "The same words come again and again, with nothing new to say. "
    few = words[: size // 20].split(" ")
    return {
        "usual text": usual,
        "one word over and over": ["word " * (size // 5)],
        "one sentence over and over": [sentence * (size // len(sentence))],
        "one page over and over": [(words[: size // 50] + ". \n") * 50],
        "one line over and over": [(sentence[:-1] + "\n") * (size // len(sentence))],
        "words from a small set": [" ".join(draw.choices(few[:30], k=size // 6))],
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
        "many empty texts": [""] * (size // 100),
        "many texts of one word": ["word"] * (size // 100),
    }


def main() -> None:
    """Measure in processes of their own, print, and write rows if asked."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--only", default="", help="entries whose name contains this")
    parser.add_argument("--megabytes", type=float, default=1, help="size of each shape")
    parser.add_argument("--large", type=int, default=0, help="one document of so many MB as well")
    parser.add_argument("--json", type=Path, help="also write the rows here, as a list")
    parser.add_argument("--inside", nargs=3, metavar=("WHAT", "ENTRY", "SIZE"), help="internal")
    arguments = parser.parse_args()
    if arguments.inside:
        inside(*arguments.inside)
        return
    print(bench_texts.machine())
    table = Table(width=74)
    timed = [e for e in ENTRIES if arguments.only in e.name and not e.code and e.name != "language"]
    for entry in timed:
        table.add(time_rows(entry, int(arguments.megabytes * 1e6)))
    for entry in timed:
        if entry.name in MEMORY:
            table.add(memory_rows(entry, arguments.large))
    slow = [r for r in table.rows if r["unit"] == "ns/byte" and not r["ratio"] < MOST]
    print(
        f"\n{len(slow)} of the shapes take {MOST:g} times as long a byte as usual text, or longer"
    )
    if arguments.json:
        arguments.json.write_text(json.dumps(table.rows, indent=1) + "\n", encoding="utf-8")


def time_rows(entry: Entry, size: int) -> Iterator[Row]:
    """Nanoseconds a byte of each shape, beside usual text's."""
    found = dict(ask("time", entry, size))
    usual = found.pop("usual text", None)
    if usual is None:
        return
    names = list(shapes(1000, []))[1:]
    for name in names:
        value = found.get(name, float("inf"))
        yield row(f"{entry.name}: {name}", value, "usual text", usual, unit="ns/byte")
        if name not in found:
            print(f"{entry.name}: {name} or one before it took longer than {SECONDS} s")
            return


def memory_rows(entry: Entry, large: int) -> Iterator[Row]:
    """Peak memory for few documents, for ten times as many, and for one large one."""
    few, many = (dict(ask("documents", entry, count)) for count in DOCUMENTS)
    if few and many:
        name = f"{entry.name}: {DOCUMENTS[1]:,} documents"
        yield row(name, many["peak"], f"{DOCUMENTS[0]:,} documents", few["peak"], unit="MB")
    if large and (found := dict(ask("document", entry, large * 1_000_000))):
        name = f"{entry.name}: one document of {large} MB"
        yield row(name, found["peak"], "its size", large, unit="MB")
        print(f"{entry.name}: {large / found['seconds']:.1f} MB/s on it")


def ask(what: str, entry: Entry, size: int) -> list[tuple[str, float]]:
    """Measure in a new process; what it says before it ends or is stopped."""
    command = [sys.executable, __file__, "--inside", what, entry.name, str(size)]
    try:
        ran = subprocess.run(
            command, stdout=subprocess.PIPE, text=True, check=False, timeout=SECONDS
        )
        said: str = ran.stdout
    except subprocess.TimeoutExpired as stopped:
        said = (stopped.stdout or b"").decode()
    return [tuple(json.loads(line)) for line in said.splitlines() if line.startswith("[")]


def inside(what: str, name: str, size: str) -> None:
    """Measure one thing in this process, and print what was found as lines of JSON."""
    entry = next(entry for entry in ENTRIES if entry.name == name)
    filters = load(entry)
    if not filters:
        return
    if what == "time":
        usual = web_documents([], int(size) / 1e6, distinct=True).spread(int(size)).texts
        for shape, texts in shapes(int(size), usual).items():
            tell(shape, nanoseconds(entry, filters, texts))
        return
    if what == "document":
        given = bench_texts.batches(measured([{"text": large_text(int(size))}]))
        tell("seconds", core_seconds(lambda: apply(entry, filters, given)))
    else:
        judge_many(entry, filters, int(size))
    tell("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * KIB / 1e6)


def large_text(size: int) -> str:
    """Join texts in ever new words to one of about `size` bytes."""
    pieces: list[str] = []
    room = size
    while room > 0:
        pieces += new_texts(500, key=len(pieces))
        room -= sum(len(piece.encode()) + 1 for piece in pieces[-500:])
    return "\n".join(pieces)


def judge_many(entry: Entry, filters: Any, count: int) -> None:
    """Judge `count` documents, batch after batch, each made when its turn comes."""
    for start in range(0, count, bench_texts.BATCH_DOCUMENTS):
        texts = new_texts(min(bench_texts.BATCH_DOCUMENTS, count - start), key=start)
        given = bench_texts.batches(measured([{"text": text} for text in texts]))
        apply(entry, filters, given)


def new_texts(count: int, *, key: int) -> list[str]:
    """Texts in shape like the corpus's, in which most words stand nowhere else; some accented."""
    draw = random.Random(key)  # noqa: S311 - nothing secret
    real = [text[:DOCUMENT_CHARACTERS] for text in BASE or _fill_base()]
    texts = []
    for _ in range(count):
        letters = draw.sample("abcdefghijklmnopqrstuvwxyz", 26)
        if draw.random() < 1 / 3:
            letters[draw.randrange(26)] = draw.choice("éüñçøāşž")
        texts.append(
            draw.choice(real).translate(
                str.maketrans("abcdefghijklmnopqrstuvwxyz", "".join(letters))
            )
        )
    return texts


BASE: list[str] = []


def _fill_base() -> list[str]:
    BASE.extend(web_documents([], 0, distinct=False).texts[:1000])
    return BASE


def nanoseconds(entry: Entry, filters: Any, texts: list[str]) -> float:
    """Core time a byte, the least of three runs; a text counts as at least `LEAST_BYTES`."""
    given = bench_texts.batches(measured([{"text": text} for text in texts]))
    num_bytes = sum(max(LEAST_BYTES, len(text.encode())) for text in texts)
    best = min(core_seconds(lambda: apply(entry, filters, given)) for _ in range(3))
    return best * 1e9 / num_bytes


def tell(name: str, value: float) -> None:
    """Print one measurement for the process that asked."""
    print(json.dumps([name, value]), flush=True)


if __name__ == "__main__":
    main()
