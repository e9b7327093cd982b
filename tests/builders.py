"""Small things that tests build: documents, input files, pipelines, a tokenizer."""

import gzip
import json
import random
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

EOS = "<|endoftext|>"
WORDS = [
    "the",
    "of",
    "and",
    "to",
    "with",
    "that",
    "have",
    "be",
    "river",
    "stone",
    "market",
    "window",
    "garden",
    "letter",
    "summer",
    "winter",
    "morning",
    "village",
    "council",
    "teacher",
    "engine",
    "copper",
    "silver",
    "harvest",
    "bridge",
    "captain",
    "island",
    "library",
    "painter",
    "journey",
    "ticket",
    "station",
    "platform",
    "carriage",
    "whistle",
    "signal",
    "lantern",
    "shadow",
    "corner",
    "candle",
    "mirror",
]


def prose(seed: int, num_words: int = 90) -> str:
    """Words in sentences, different for every seed; Gopher keeps it."""
    draw = random.Random(seed)
    words = [draw.choice(WORDS) for _ in range(num_words)]
    sentences = (" ".join(words[i : i + 12]).capitalize() for i in range(0, num_words, 12))
    return ". ".join(sentences) + "."


def document(number: int, text: str | None = None, **metadata: Any) -> dict[str, Any]:
    """One record in the Dolma schema."""
    return {
        "id": f"doc-{number}",
        "text": prose(number) if text is None else text,
        "source": "test",
        "metadata": {"url": f"https://example.org/{number}", **metadata},
    }


def write_jsonl(path: Path, records: Iterable[Mapping[str, Any] | bytes]) -> Path:
    """Write JSON lines, compressed by suffix; raw bytes stand for broken lines."""
    lines = (r if isinstance(r, bytes) else json.dumps(r).encode() for r in records)
    data = b"".join(line + b"\n" for line in lines)
    if path.suffix == ".gz":
        data = gzip.compress(data, mtime=0)
    elif path.suffix == ".zst":
        data = zstandard.compress(data)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def write_parquet(path: Path, records: Sequence[Mapping[str, Any]], rows: int = 8) -> Path:
    """Write a Parquet file with small row groups."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(list(records)), path, row_group_size=rows)
    return path


def pipeline(output: Path, tokenizer: Path, **settings: Any) -> dict[str, Any]:
    """Content of a pipeline file; `settings` replace or add keys."""
    return {
        "name": "test",
        "seed": 7,
        "output": str(output),
        "executor": {"type": "local", "workers": 1},
        "tokenizer": {"path": str(tokenizer), "eos": EOS},
        **settings,
    }


def train_byte_tokenizer(path: Path) -> None:
    """Train a small byte-level BPE on `prose`, with an EOS."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=[EOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([prose(n) for n in range(20)], trainer)
    tokenizer.save(str(path))
