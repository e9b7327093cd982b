"""Run the main job on a folder of real documents: one source a subfolder, all stores, one mix.

    python scripts/run_corpus.py CORPUS --tokenizer tokenizer.json --output runs/corpus

Every subfolder of CORPUS with JSON lines, Parquet or WARC files becomes a source. A folder named
`code*` is judged as code (stars, word shares, repeats), one in ENGLISH by language, Gopher and
repetition, any other (several languages, short texts) by repetition alone. Prints the funnel of
each source, the wall time and MB/s, and resolves a mix of every source with enough tokens.
"""

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from dolmix.cli.run import show_funnels
from dolmix.config import parse
from dolmix.files.commit import write_bytes
from dolmix.files.paths import WARC_SUFFIXES
from dolmix.mix import describe, resolve_file, tree
from dolmix.pipeline.engine import run_pipeline
from dolmix.pipeline.funnel import funnels
from dolmix.pipeline.spec import Pipeline

SUFFIXES = (".jsonl", ".jsonl.gz", ".jsonl.zst", ".parquet", *WARC_SUFFIXES)
ENGLISH = ("books", "papers", "reviews", "speeches", "web_cc", "web_messy", "web_warc")
REPEATS = {"type": "repetition", "name": "repeats", "preset": "olmoe-0924", "unit": "words"}
SEQUENCE_LENGTH = 512


def pipeline_of(given: argparse.Namespace) -> dict[str, Any]:
    """Write the pipeline file's content for a corpus folder."""
    sources: dict[str, dict[str, Any]] = {}
    for folder in sorted(p for p in given.corpus.iterdir() if p.is_dir()):
        files = sorted(str(p) for p in folder.iterdir() if p.name.endswith(SUFFIXES))
        if files:
            filters = list(filters_of(folder.name, given.model))
            source: dict[str, Any] = {"inputs": files, "filters": filters}
            if any(file.endswith(WARC_SUFFIXES) for file in files):
                source["warc"] = {"extractor": given.extractor}
            sources[folder.name.replace(".", "-")] = source
    return {
        "name": "corpus",
        "seed": 7,
        "output": str(given.output),
        "executor": {"type": "local", "workers": given.workers},
        "on_bad_record": {"policy": "skip"},
        "sources": sources,
        "dedup": [{"type": "exact"}, {"type": "minhash"}],
        "tokenizer": {"path": str(given.tokenizer), "eos": "<|endoftext|>"},
    }


def filters_of(folder: str, model: Path) -> Iterator[dict[str, Any]]:
    """Choose filters by what a folder holds."""
    if folder.startswith("code"):
        yield {"type": "stars", "on_missing": "drop"}
        yield {"type": "word_share"}
    elif folder in ENGLISH:
        yield {"type": "language", "keep": ["en"], "model": str(model)}
        yield {"type": "gopher"}
        yield {"type": "repetition"}
    yield REPEATS


def mix_of(stores: dict[str, tuple[Path, int]]) -> dict[str, Any]:
    """Mix every store by its size, one epoch at most."""
    usable = {s: (path, n) for s, (path, n) in stores.items() if n > 4 * SEQUENCE_LENGTH}
    total = sum(tokens for _, tokens in usable.values())
    return {
        "name": "corpus",
        "seed": 1234,
        "sequence_length": SEQUENCE_LENGTH,
        "batch_size": 8,
        "sources": {s: {"store": str(path)} for s, (path, _) in usable.items()},
        "stages": [
            {
                "name": "main",
                "tokens": total * 9 // 10,
                "weights": {s: tokens for s, (_, tokens) in usable.items()},
            }
        ],
    }


def main() -> int:
    """Run, print, and return 0."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("corpus", type=Path)
    options.add_argument("--tokenizer", type=Path, required=True)
    options.add_argument("--model", type=Path, default=Path("models/lid.176.ftz"))
    options.add_argument("--output", type=Path, default=Path("runs/corpus"))
    options.add_argument("--extractor", default="resiliparse", help="of main text from WARC pages")
    options.add_argument("--workers", type=int, default=2)
    given = options.parse_args()
    raw = pipeline_of(given)
    started = time.monotonic()
    plan = run_pipeline(parse(Pipeline, raw, origin="scripts/run_corpus.py"))
    seconds = time.monotonic() - started
    made = funnels(plan)
    show_funnels(made, as_json=False)
    size = sum(funnel.num_bytes for funnel in made) / 1e6
    documents = sum(funnel.documents for funnel in made)
    sys.stdout.write(
        f"{documents:,} documents, {size:,.1f} MB of text in {seconds:.1f} s wall: "
        f"{size / seconds:.2f} MB/s on {given.workers} workers\n\n"
    )
    mix = mix_of({f.source: ((given.output / f.store).absolute(), f.tokens) for f in made})
    mix_file = given.output / "mix.yaml"
    write_bytes(mix_file, yaml.safe_dump(mix, sort_keys=False).encode())
    lock = resolve_file(mix_file)
    lock.write(given.output / "mix.lock.json")
    sys.stdout.writelines(f"{line}\n" for line in tree(describe(lock)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
