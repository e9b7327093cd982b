"""What the trainer's benchmark trains, on what, and how a rate is counted."""

import gzip
import json
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT)]

PEAK_FLOPS = 989e12
LENGTH = 4096
OLMOE = {
    "vocab": 50304, "d_model": 2048, "layers": 16, "heads": 16, "experts": 64, "top_k": 8,
    "d_ff": 1024, "expert_backend": "triton",
}  # fmt: skip


def figures(times: list[float], tokens: int, model: Any) -> dict[str, Any]:
    """Median step, tokens of one GPU per second, share of the peak, memory, device."""
    import torch

    from trainer.model import flops_per_token

    step = statistics.median(times)
    flops = flops_per_token(model, LENGTH)
    return {
        "steps": len(times),
        "step_ms": round(step * 1e3, 1),
        "spread_ms": [round(min(times) * 1e3, 1), round(max(times) * 1e3, 1)],
        "tokens_per_s": round(tokens / step),
        "share": round(tokens / step * flops / PEAK_FLOPS, 4),
        "gib": round(torch.cuda.max_memory_allocated() / 2**30, 1),
        "device": torch.cuda.get_device_name(),
        "torch": torch.__version__,
    }


def build_store(out: Path, texts: list[Path], tokenizer: Path, limit: int = 6_000_000) -> None:
    """Commit a store of the texts of JSONL files, up to a number of tokens."""
    import pyarrow as pa
    from tokenizers import Tokenizer

    from dolmix.shards import StoreWriter
    from dolmix.tokenizer import TokenizerPin

    opened = gzip.decompress(tokenizer.read_bytes()) if tokenizer.suffix == ".gz" else None
    encoder = Tokenizer.from_str((opened or tokenizer.read_bytes()).decode())
    eos = encoder.token_to_id("<|endoftext|>")
    tokens, lengths, ids = [], [], []
    share = limit // max(1, len(texts))
    for path in texts:
        found = 0
        for number, text in enumerate(read_texts(path)):
            row = [*encoder.encode(text, add_special_tokens=False).ids, eos]
            tokens += row
            lengths.append(len(row))
            ids.append(f"{path.stem}-{number}")
            found += len(row)
            if found > share:
                break
    pin = TokenizerPin(
        digest="0" * 64, largest_id=encoder.get_vocab_size() - 1, eos="<|endoftext|>", eos_id=eos,
        unk_id=None, specials={"<|endoftext|>": eos},
    )  # fmt: skip
    documents = pa.table({
        "id": ids, "url": pa.nulls(len(ids), pa.string()), "path": ["text"] * len(ids),
        "record": list(range(len(ids))),
    })  # fmt: skip
    with StoreWriter(
        out / "text@1", source="text", version=1, tokenizer=pin, special_in_text="plain", parents=[]
    ) as writer:
        writer.append(np.asarray(tokens, np.uint16), np.asarray(lengths), documents, len(tokens))
        writer.commit()


def read_texts(path: Path) -> Iterator[str]:
    """Texts of a JSONL file, plain, gzip or zstandard."""
    if path.suffix == ".zst":
        import io

        import zstandard

        with path.open("rb") as raw:
            for line in io.TextIOWrapper(zstandard.ZstdDecompressor().stream_reader(raw)):
                yield json.loads(line)["text"]
        return
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as lines:
        for line in lines:
            yield json.loads(line)["text"]


def lock_of(out: Path, rows: int) -> Path:
    """Resolve a mix of the store alone to steps of `rows` instances."""
    import yaml

    from dolmix.mix import load_mix, resolve

    path = out / f"mix-{rows}.lock.json"
    if not path.exists():
        steps = 60
        mix = {
            "name": "bench", "seed": 1, "sequence_length": LENGTH, "block": 64, "batch_size": rows,
            "sources": {"text": {"store": str(out / "text@1"), "max_epochs": 100}},
            "stages": [
                {"name": "main", "tokens": steps * rows * LENGTH, "weights": {"text": 1.0}}
            ],
        }  # fmt: skip
        text = yaml.safe_dump(mix)
        (out / f"mix-{rows}.yaml").write_text(text)
        resolve(load_mix(out / f"mix-{rows}.yaml"), text, out).write(path)
    return path
