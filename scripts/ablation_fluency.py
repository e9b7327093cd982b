"""Does dropping non-fluent web pages help? The same tokens trained on, with and without, by seeds.

    python scripts/ablation_fluency.py [--seeds 3] [--steps 200] [--out runs/ablation] [--json F]
        [--part prepare|train] [--jobs 1] [--device cpu]

English web pages of the reference corpus go through one pipeline an arm: `unfiltered`, `fluency`
(the shipped classifier) and `perplexity` (an n-gram model of novels and papers); the last
two drop the worst 15 %. On each the bundled trainer trains a small mixture of experts, from the
same start, over the same number of tokens, none of them twice. What is told is the loss on clean
text that no arm has seen (wiki pages, film reviews, speeches), for each seed the
difference from `unfiltered`, and the spread over seeds. Takes about twenty minutes on two cores.
`--part prepare` stops before the training; `--part train` does the rest where OUT was copied to,
`--jobs` at a time, which on several GPUs take turns.
"""

import argparse
import gzip
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import bench_table  # puts the repository on the path
import torch
import yaml

from dolmix.config import parse
from dolmix.mix import resolve_file

FRAC = 0.15
LENGTH = 128
BATCH = 16
VOCAB = 4096
WEB = ("web_cc", "web_quality_labelled", "web_messy", "web_line_labelled", "web_multilingual")
CLEAN = {"wiki": "wiki", "reviews": "reviews", "speeches": "speeches"}
TRUSTED = ("books", "papers")
EVALUATED = 400
"""Windows of each clean source that the loss is taken over."""
MODEL = {
    "d_model": 96,
    "layers": 4,
    "heads": 4,
    "experts": 4,
    "top_k": 2,
    "d_ff": 128,
    "vocab": VOCAB,
    "tie_embeddings": True,
}
LANGUAGE = {"type": "language", "keep": ["en"], "min_score": 0.65, "model": "models/lid.176.ftz"}


def main() -> None:
    """Run everything that is not there yet, and print the table."""
    args = arguments()
    if args.part != "train":
        prepare(args)
    if args.part == "prepare":
        return
    runs = json.loads((args.out / "runs.json").read_text())
    with ThreadPoolExecutor(args.jobs) as pool:
        turns = ((n, run["config"], args.device) for n, run in enumerate(runs))
        outputs = list(pool.map(lambda turn: trained(*turn), turns))
    rows = [run | losses(output) for run, output in zip(runs, outputs, strict=True)]
    table = list(lines(rows, list(CLEAN)))
    print("\n".join(table))
    if args.json:
        args.json.write_text(json.dumps({"steps": args.steps, "rows": rows}, indent=1) + "\n")


def prepare(args: argparse.Namespace) -> None:
    """Curate the arms and write what is trained on them, a line a run in OUT/runs.json."""
    import bench_texts

    from dolmix.learned.ngram import NgramTraining
    from dolmix.learned.ngram import train as train_ngram

    seed_folder = bench_texts.shared_folder()
    tokenizer = train_tokenizer(seed_folder, args.out / "tokenizer.json")
    model = args.out / "trusted.ngram"
    if not model.exists():
        inputs = tuple(str(seed_folder / name / "*") for name in TRUSTED)
        train_ngram(NgramTraining(inputs=inputs, output=model))
    arms: dict[str, list[dict[str, Any]]] = {
        "unfiltered": [],
        "fluency": [
            {"type": "classifier", "name": "fluency", "model": "builtin", "drop_worst_frac": FRAC}
        ],
        "perplexity": [{"type": "perplexity", "model": str(model), "drop_worst_frac": FRAC}],
    }
    clean = {name: [seed_folder / folder] for name, folder in CLEAN.items()}
    curate(args.out / "clean", tokenizer, clean, [LANGUAGE])
    runs = []
    for arm, filters in arms.items():
        folders = {"web": [seed_folder / name for name in WEB]}
        kept = curate(args.out / arm, tokenizer, folders, [LANGUAGE, *filters])
        for seed in range(args.seeds):
            settings = configured(args.out / arm, seed, args.steps)
            runs.append({"arm": arm, "seed": seed, **kept, "config": str(settings)})
    (args.out / "runs.json").write_text(json.dumps(runs, indent=1) + "\n")


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--out", type=Path, default=Path("runs/ablation"))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--part", choices=("prepare", "train"), help="default: both")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    return args


def train_tokenizer(corpus: Path, path: Path) -> Path:
    """Train a byte-level tokenizer on web pages, once; it is the same for all arms."""
    if path.exists():
        return path
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    with gzip.open(corpus / "web_quality_labelled" / "dclm-0000.jsonl.gz", "rt") as file:
        tokenizer.train_from_iterator((json.loads(line)["text"] for line in file), trainer)
    tokenizer.save(str(path))
    return path


def curate(
    run: Path, tokenizer: Path, folders: dict[str, list[Path]], filters: list[dict[str, Any]]
) -> dict[str, int]:
    """Run a pipeline; returns documents in, documents kept and tokens of its first source."""
    from dolmix.pipeline.engine import run_pipeline
    from dolmix.pipeline.funnel import funnels
    from dolmix.pipeline.spec import Pipeline

    sources = {
        name: {"inputs": [str(path / "*.jsonl.*") for path in paths], "filters": filters}
        for name, paths in folders.items()
    }
    raw = {
        "name": run.name,
        "output": str(run),
        "tokenizer": {"path": str(tokenizer), "eos": "<|endoftext|>"},
        "sources": sources,
        "dedup": [{"type": "exact"}],
        "warn_drop_frac": None,
    }
    plan = run_pipeline(parse(Pipeline, raw, origin=str(run)), quiet=True)
    first = funnels(plan)[0]
    return {"documents": first.documents, "kept": first.kept, "tokens": first.tokens}


def configured(run: Path, seed: int, steps: int) -> Path:
    """Write lock and configuration of a training on a run's web store; returns the latter."""
    mix = {
        "name": run.name,
        "seed": seed,
        "sequence_length": LENGTH,
        "block": 64,
        "batch_size": BATCH,
        "sources": {"web": {"store": str(run / "stores" / "web@1"), "max_epochs": 1}},
        "stages": [{"name": "main", "tokens": steps * BATCH * LENGTH, "weights": {"web": 1.0}}],
    }
    path = run / f"mix-{seed}-{steps}.yaml"
    path.write_text(yaml.safe_dump(mix))
    lock = run / f"mix-{seed}-{steps}.lock.json"
    resolve_file(path, (), folder=Path()).write(lock)
    config = {
        "lock": str(lock),
        "output": str(run / f"train-{seed}-{steps}"),
        "seed": seed,
        "processes": 1,
        "threads": 2,
        "microbatch": BATCH,
        "log_every": 50,
        "model": MODEL,
        "optimizer": {"lr": 3.0e-3},
        "schedule": {"type": "cosine", "warmup": {"steps": steps // 10}, "final_frac": 0.1},
        "checkpoint": {"every_steps": steps},
        "evaluation": {
            "every_steps": steps,
            "tokens": EVALUATED * LENGTH,
            "stores": {n: str(run.parent / "clean" / "stores" / f"{n}@1") for n in CLEAN},
        },
    }
    settings = run / f"train-{seed}-{steps}.yaml"
    settings.write_text(yaml.safe_dump(config))
    return settings


def trained(number: int, settings: str, device: str) -> Path:
    """Train as a configuration says, on the GPU whose turn it is; returns the output."""
    output = Path(yaml.safe_load(Path(settings).read_text())["output"])
    if not sorted((output / "checkpoints").glob("[!.]*")):
        gpu = str(number % max(1, torch.cuda.device_count()))
        done = subprocess.run(
            [sys.executable, "-m", "trainer", settings, f"device={device}"],
            env=os.environ | {"PYTHONPATH": python_path()}
            | ({"CUDA_VISIBLE_DEVICES": gpu} if device == "cuda" else {}),
            check=False, capture_output=True, text=True,
        )  # fmt: skip
        print(f"{settings}: exit code {done.returncode}", file=sys.stderr, flush=True)
        if done.returncode:
            raise RuntimeError(done.stderr)
    return output


def python_path() -> str:
    """Where the trainings find the trainer."""
    return os.pathsep.join([str(bench_table.ROOT), os.environ.get("PYTHONPATH", "")])


def losses(output: Path) -> dict[str, float]:
    """Cross-entropy a token, in nats, on the first windows of each clean store, at the end."""
    evaluations = [
        json.loads(line)["eval"]
        for line in (output / "metrics.jsonl").read_text().splitlines()
        if "eval" in json.loads(line)
    ]
    found = {name: evaluations[-1][f"loss/{name}"] for name in CLEAN}
    return found | {"clean": mean(found.values())}


def lines(rows: list[dict[str, Any]], names: list[str]) -> Iterator[str]:
    """Yield the table: mean and spread over seeds, and the differences from `unfiltered`."""
    base = {row["seed"]: row for row in rows if row["arm"] == "unfiltered"}
    columns = [*names, "clean"]
    yield "arm         kept      tokens     " + "".join(f"{name:>22}" for name in columns)
    for arm in dict.fromkeys(row["arm"] for row in rows):
        mine = [row for row in rows if row["arm"] == arm]
        cells = [spread([row[name] for row in mine]) for name in columns]
        about = f"{arm:<12}{mine[0]['kept']:<10,}{mine[0]['tokens']:<11,}"
        yield about + "".join(f"{cell:>22}" for cell in cells)
        if arm != "unfiltered":
            changes = [
                spread([row[name] - base[row["seed"]][name] for row in mine], sign=True)
                for name in columns
            ]
            yield " " * 12 + f"{'less unfiltered':<21}" + "".join(f"{c:>22}" for c in changes)


def spread(values: list[float], *, sign: bool = False) -> str:
    """Mean and standard deviation."""
    deviation = stdev(values) if len(values) > 1 else 0.0
    return (
        f"{mean(values):+.4f} ± {deviation:.4f}"
        if sign
        else f"{mean(values):.4f} ± {deviation:.4f}"
    )


if __name__ == "__main__":
    main()
