"""Input for benchmarks of whole runs: a corpus, and copies of it in which other words stand.

A copy has a key. In every language by itself, a word of four or more lower-case ASCII letters
becomes another word of that corpus of the same length and about as frequent, by a permutation that
the key draws; its capitalised form follows it. Words that are rare become new ones, letter by
letter, as most of what a larger corpus adds is new. Left alone: the 150 most frequent words of
each language, shorter words, numbers, marks, everything that is not ASCII. So a copy shares hardly
a run of five words with another, reads as the same language, and meets the same rules. Of every
copy one document in fifty comes twice, the second time with a word in forty left out.

Documents of all copies together are in the order of a hash, so that any stretch holds all kinds.
"""

import gzip
import json
import os
import random
import re
import shutil
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import count, pairwise
from multiprocessing import Pool
from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet as pq
import zstandard

Record = dict[str, Any]

COMMON = 150
"""Most frequent words of a language, which stay."""
RARE = 2
"""A word that is not more frequent is written in other letters."""
TWICE = 50
"""One document in so many comes twice,"""
LEFT_OUT = 40
"""the second time without one word in so many."""
FILE_BYTES = 24_000_000
"""Text of one file, about."""
WORD = re.compile(r"(?<![^\W_])[A-Za-z][a-z]{3,}(?![^\W_])")
KINDS = ("aeiou", "bcdfghjklmnpqrstvwxyz")
LANGUAGE_KEYS = ("lang", "lang_predicted", "language")


def corpus_records(folder: Path) -> list[Record]:
    """Read every JSON line and Parquet row below a folder as id, text and language."""
    records = []
    for path in sorted(folder.rglob("*")):
        for row in _rows(path):
            about = row.get("metadata") or {}
            named = (about[key] for key in LANGUAGE_KEYS if isinstance(about.get(key), str))
            group = "code" if "code" in path.parts else next(named, "en")
            records.append({"id": row["id"], "text": row["text"], "group": group})
    return records


@dataclass(frozen=True)
class Input:
    """Files of a benchmark, and UTF-8 bytes of the texts in them."""

    files: list[Path]
    text_bytes: int


def write_copies(folder: Path, records: Sequence[Record], megabytes: float) -> Input:
    """Write so much text of copies 0, 1, ... as .jsonl.zst files; copy 0 is the corpus itself.

    A folder that holds them already is left as it is.
    """
    done = folder / "done.json"
    if not done.exists():
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "copies").mkdir(parents=True)
        size = sum(len(r["text"].encode()) for r in records) / 1e6
        copies = max(1, round(megabytes / size))
        with Pool(min(os.cpu_count() or 1, copies), _remember, (records,)) as pool:
            pool.starmap(_write_copy, [(folder / "copies", n, copies) for n in range(copies)])
            made = pool.map(_join, [(folder, n) for n in range(_num_files(size * copies))])
        shutil.rmtree(folder / "copies")
        names, sizes = zip(*made, strict=True)
        done.write_text(json.dumps({"files": names, "text_bytes": sum(sizes)}))
    about = json.loads(done.read_bytes())
    return Input([folder / name for name in about["files"]], about["text_bytes"])


def write_slice(folder: Path, files: Sequence[Path], megabytes: float, pieces: int) -> Input:
    """Write the first documents of these files, so many MB of text, as `pieces` files."""
    chosen: list[Record] = []
    size = 0
    for record in (row for path in files for row in _rows(path)):
        if size >= megabytes * 1e6:
            break
        chosen.append(record)
        size += len(record["text"].encode())
    folder.mkdir(parents=True, exist_ok=True)
    edges = [n * len(chosen) // pieces for n in range(pieces + 1)]
    paths = []
    for number, (start, stop) in enumerate(pairwise(edges)):
        paths.append(folder / f"{number:03d}.jsonl.zst")
        lines = b"".join(orjson.dumps(r) + b"\n" for r in chosen[start:stop])
        paths[-1].write_bytes(zstandard.ZstdCompressor(level=3).compress(lines))
    return Input(paths, size)


def substitution(records: Sequence[Record], key: int) -> dict[str, dict[str, str]]:
    """Draw for every language what each of its words becomes."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for record in records:
        found = WORD.findall(record["text"])
        counts[record["group"]].update(word for word in found if word.islower())
    return {group: _permutation(counted, f"{group}/{key}") for group, counted in counts.items()}


def substituted(tables: dict[str, dict[str, str]], key: int) -> Callable[[Record], str]:
    """Give a function that writes a record's text in the words of a copy."""
    letters = _letters(key)

    def put(table: dict[str, str], word: str) -> str:
        lower = word.lower()
        found = table.get(lower)
        if found is None:
            found = lower.translate(letters)
        return found if word == lower else found.capitalize()

    def write(record: Record) -> str:
        table = tables[record["group"]]
        return WORD.sub(lambda match: put(table, match.group()), record["text"])

    return write


_records: list[Record] = []


def _remember(records: list[Record]) -> None:
    _records[:] = records


def _write_copy(folder: Path, copy: int, copies: int) -> None:
    """Write one copy, its documents spread by hash over the stretches of all copies."""
    write = (lambda r: r["text"]) if copy == 0 else substituted(substitution(_records, copy), copy)
    rows = []
    for record in _records:
        id_, text = f"{record['id']}/{copy}", write(record)
        twice = blake2b(id_.encode(), person=b"twice").digest()[0] < 256 // TWICE
        texts = (text, _without_some(text)) if twice else (text,)
        for number, version in enumerate(texts):
            draw = blake2b(f"{id_}/{number}".encode(), digest_size=8).digest()
            row = {"id": f"{draw.hex()}-{id_}/{number}", "text": version}
            rows.append((draw, orjson.dumps(row)))
    rows.sort()
    size = sum(len(r["text"].encode()) for r in _records) * copies / 1e6
    num_files = _num_files(size)
    for number in range(num_files):
        low, high = (n * 2**64 // num_files for n in (number, number + 1))
        lines = [line for draw, line in rows if low <= int.from_bytes(draw, "big") < high]
        (folder / f"{number:05d}-{copy:03d}.jsonl").write_bytes(b"\n".join(lines) + b"\n")


def _without_some(text: str) -> str:
    """Leave out one word in forty."""
    words = text.split(" ")
    return " ".join(word for n, word in enumerate(words) if n % LEFT_OUT != LEFT_OUT // 2)


def _join(place: tuple[Path, int]) -> tuple[str, int]:
    """Put one stretch of all copies into a file, in the order of ids: its name and text bytes."""
    folder, number = place
    lines = []
    for copy in count():
        path = folder / "copies" / f"{number:05d}-{copy:03d}.jsonl"
        if not path.exists():
            break
        lines += [line for line in path.read_bytes().split(b"\n") if line]
    name = f"{number:05d}.jsonl.zst"
    data = b"".join(line + b"\n" for line in sorted(lines))  # a line begins with its document's id
    (folder / name).write_bytes(zstandard.ZstdCompressor(level=3).compress(data))
    return name, sum(len(orjson.loads(line)["text"].encode()) for line in lines)


def _num_files(megabytes: float) -> int:
    return max(4, round(megabytes * 1e6 / FILE_BYTES))


def _permutation(counted: Counter[str], key: str) -> dict[str, str]:
    """Permute words among those of their length and class of frequency; common ones stay."""
    common = {word for word, _ in counted.most_common(COMMON)}
    classes: dict[tuple[int, int], list[str]] = defaultdict(list)
    for word, number in sorted(counted.items()):
        if number > RARE and word not in common:
            classes[len(word), number.bit_length()].append(word)
    table = {word: word for word in common}
    draw = random.Random(key)  # noqa: S311 - nothing secret
    for words in classes.values():
        others = list(words)
        draw.shuffle(others)
        table |= dict(zip(words, others, strict=True))
    return table


def _letters(key: int) -> dict[int, int]:
    """Permute the vowels and the consonants."""
    draw = random.Random(key)  # noqa: S311 - nothing secret
    table: dict[int, int] = {}
    for kind in KINDS:
        others = draw.sample(kind, len(kind))
        table |= {ord(a): ord(b) for a, b in zip(kind, others, strict=True)}
    return table


def _rows(path: Path) -> Iterator[Record]:
    if path.suffix == ".parquet":
        yield from pq.read_table(path, columns=["id", "text"]).to_pylist()
    elif path.name.endswith((".jsonl", ".jsonl.gz", ".jsonl.zst")):
        data = path.read_bytes()
        if path.suffix == ".gz":
            data = gzip.decompress(data)
        elif path.suffix == ".zst":
            data = zstandard.ZstdDecompressor().stream_reader(data).read()
        yield from (orjson.loads(line) for line in data.split(b"\n") if line.strip())
