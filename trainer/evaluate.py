"""`python -m trainer evaluate SOURCE`: perplexity of held-out stores and answers to questions.

SOURCE is a checkpoint of any number of ranks, an imported folder or one that `transformers` saved.
What is measured, and how, is the section `evaluation` of a training configuration, with the model's
own sequence length: a checkpoint brings that of its run along, a file given with `--config` (a
training configuration, or one with the keys of `EvaluateConfig`) and overrides come on top. Alone
or under torchrun the results are those of the evaluation while training.
"""

import argparse
import json
import logging
import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch

from dolmix.config import Schema, parse, read_yaml
from dolmix.errors import ConfigError, Problem, UsageError
from dolmix.mix import OrderSpec, read_lock
from dolmix.shards import Instances, Packing
from trainer import checkpoint
from trainer.config import (
    Count,
    EvaluationConfig,
    ModelConfig,
    OptimizerConfig,
    ParallelConfig,
    PrecisionConfig,
    TrainConfig,
)
from trainer.evals import evaluate
from trainer.held_out import close_held_out, misfits, open_held_out, packing_of
from trainer.hf import read_config
from trainer.model import Model
from trainer.parallel import World, build_model, join_world
from trainer.questions import open_tasks
from trainer.sinks import strict
from trainer.weights import Weights, open_weights, values_of

log = logging.getLogger(__name__)
MEASURES = ("acc", "acc_norm", "acc_bytes", "acc_token")


class EvaluateConfig(Schema):
    """What to measure a model on, and how; where a training configuration has it, as there."""

    evaluation: EvaluationConfig
    """Held-out stores and tasks."""
    sequence_length: Count
    """Tokens of an instance, and most that the model is given of a question."""
    packing: Packing = "concat"
    """How documents fill instances."""
    documents: Literal["together", "apart"] = "together"
    """Attention over the whole instance, or within each document only."""
    microbatch: Count = 4
    """Instances of one forward pass of one process."""
    precision: PrecisionConfig = PrecisionConfig()
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto` is CUDA where there is any."""
    threads: Count | None = None
    """CPU threads of a process; the cores divided by the processes when not given."""


def evaluate_options(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.description = "Measure a model on held-out stores and on questions."
    parser.add_argument("source", type=Path, help="checkpoint, imported or Hugging Face folder")
    parser.add_argument("overrides", nargs="*", metavar="key.path=value")
    parser.add_argument("--config", type=Path, help="what to measure; default: the checkpoint's")
    parser.add_argument("--json", action="store_true", help="one line, as in metrics.jsonl")


def evaluate_source(options: argparse.Namespace) -> int:
    """Measure a model, and print it from the first rank."""
    source: Path = options.source
    weights, began = open_weights(source), time.perf_counter()
    config = settings(source, options.config, options.overrides)
    training = _as_training(config, weights.model)
    with join_world(training) as world:
        found = _measure(source, weights, config, training, world)
        if world.is_first:
            row: dict[str, Any] = {"source": str(source)} | _reached(source) | {"eval": found}
            row["eval_s"] = round(time.perf_counter() - began, 3)
            text = json.dumps(strict(row)) + "\n" if options.json else table(found)
            sys.stdout.write(text)
    return 0


def settings(source: Path, file: Path | None, overrides: Sequence[str]) -> EvaluateConfig:
    """Join what a source, a file and overrides say. Raises ConfigError, LockError, UsageError."""
    known, given = _known(source), {} if file is None else read_yaml(file)
    if not isinstance(given, dict):
        raise ConfigError(str(file), [Problem("", "expected a mapping of settings")])
    if "lock" in given:
        fields = EvaluateConfig.model_fields
        own = {key: value for key, value in given.items() if key in fields}
        given = _shape(read_lock(Path(given["lock"])).order) | own
    evaluation = given.get("evaluation", {})
    if isinstance(evaluation, dict):
        evaluation = known.get("evaluation", {}) | evaluation
    raw = known | given | {"evaluation": evaluation}
    config = parse(EvaluateConfig, raw, overrides, origin=str(file or source))
    if not (config.evaluation.stores or config.evaluation.tasks):
        raise UsageError(
            f"{file or source} names nothing to measure {source} on: give a file with --config "
            "whose section `evaluation` has stores or tasks."
        )
    return config


def _known(source: Path) -> dict[str, Any]:
    """Ask a source how it is to be measured."""
    known: dict[str, Any] = {}
    if (meta := _meta(source)) is not None:
        own = ("evaluation", "documents", "microbatch", "precision")
        known = {key: meta.config[key] for key in own if key in meta.config}
        known |= _shape(OrderSpec.model_validate(meta.order)) if meta.order else {}
    elif (source / "config.json").is_file():
        length = read_config(source).get("max_position_embeddings")
        known = {} if length is None else {"sequence_length": length}
    beside = source / "tokenizer.json"
    if beside.is_file():
        known["evaluation"] = {"tokenizer": {"path": str(beside)}}
    return known


def _meta(source: Path) -> checkpoint.Meta | None:
    """Read what a checkpoint says about itself; None of other folders."""
    return checkpoint.read_meta(source) if (source / checkpoint.META).is_file() else None


def _shape(order: OrderSpec) -> dict[str, Any]:
    """How an order's instances are made."""
    return {"sequence_length": order.sequence_length, "packing": packing_of(order)}


def _as_training(config: EvaluateConfig, model: ModelConfig) -> TrainConfig:
    """Give the settings of a run that has such a model and evaluation; it trains nothing."""
    return TrainConfig(
        lock=Path(),
        output=Path(),
        model=model,
        optimizer=OptimizerConfig(lr=1.0),
        parallel=ParallelConfig(compile=False),
        evaluation=config.evaluation,
        documents=config.documents,
        microbatch=config.microbatch,
        precision=config.precision,
        device=config.device,
        threads=config.threads,
    )


def _measure(
    source: Path, weights: Weights, config: EvaluateConfig, training: TrainConfig, world: World
) -> dict[str, float]:
    asked, vocab = config.evaluation, weights.model.vocab
    meta = _meta(source)
    held_out = open_held_out(asked.stores, config.sequence_length, config.packing)
    try:
        known = {meta.tokenizer: f"{source} was trained"} if meta and meta.tokenizer else {}
        if problems := [*misfits(held_out, vocab, known)]:
            raise ConfigError(f"evaluating {source}", problems)
        if meta is not None and world.is_first:
            _warn(source, meta, held_out)
        stores = [instances.store.manifest.tokenizer for instances in held_out.values()]
        known = {pin.digest: "the stores were made" for pin in stores} | known
        tasks = open_tasks(asked, window=config.sequence_length, known=known, vocab=vocab)
        model = load_sharded(weights, training, world)
        return evaluate(model, held_out, tasks, training, world, on_progress=_teller(world))
    finally:
        close_held_out(held_out)


def _warn(source: Path, meta: checkpoint.Meta, held_out: Mapping[str, Instances]) -> None:
    """Say which stores a checkpoint was trained on, and where its tokenizer is not known."""
    trained = {known["content_hash"] for known in meta.order.get("sources", {}).values()}
    for name, instances in held_out.items():
        if instances.store.content_hash in trained:
            log.warning("%s was trained on the store of %s: its loss says little", source, name)
    if not meta.tokenizer:
        log.warning(
            "%s does not say which tokenizer it was trained with: that of the stores and of "
            "evaluation.tokenizer cannot be held against it",
            source,
        )


def _teller(world: World) -> Callable[[str], None]:
    """Log each name once, from the first rank."""
    told: set[str] = set()

    def tell(name: str) -> None:
        if world.is_first and name not in told:
            log.info("evaluating %s", name)
        told.add(name)

    return tell


@torch.no_grad()
def load_sharded(weights: Weights, config: TrainConfig, world: World) -> Model:
    """Build the model over all ranks and read its weights and router biases."""
    model = build_model(config, world, draw=values_of(weights))
    for name, buffer in model.named_buffers():
        buffer.copy_(weights.read(name))
    return model


def _reached(source: Path) -> dict[str, int]:
    """Step and tokens of a checkpoint."""
    meta = _meta(source)
    return {} if meta is None else {"step": meta.step, "tokens": meta.tokens}


def table(found: Mapping[str, float]) -> str:
    """Lay out what `trainer.evals.evaluate` found: a line a store, then a line a task."""
    values: dict[str, dict[str, float]] = {}
    for key, value in found.items():
        measure, _, name = key.partition("/")
        values.setdefault(measure, {})[name] = value
    parts = [_stores(values)] if "loss" in values else []
    parts += [_tasks(values)] if "questions" in values else []
    return "\n".join(_aligned(part) for part in parts)


def _stores(values: Mapping[str, Mapping[str, float]]) -> list[list[str]]:
    rows = [["store", "nats/token", "perplexity", "bits/byte"]]
    for name, loss in values["loss"].items():
        bits = values.get("bpb", {}).get(name)
        # A float holds no e^710; such a model is broken anyway.
        perplexity = math.exp(min(loss, 700.0))
        rows.append([name, f"{loss:.4f}", f"{perplexity:,.2f}", _shown(bits)])
    return rows


def _tasks(values: Mapping[str, Mapping[str, float]]) -> list[list[str]]:
    rows = [["task", "questions", "chance", *MEASURES, "bits/byte of the answer"]]
    for name, count in values["questions"].items():
        row = [name, f"{count:,}", _shown(values.get("chance", {}).get(name), 3)]
        for measure in MEASURES:
            accuracy = values.get(measure, {}).get(name)
            error = values.get(f"{measure}_stderr", {}).get(name, 0.0)
            row.append("-" if accuracy is None else f"{accuracy:.3f} ± {error:.3f}")
        rows.append([*row, _shown(values["answer_bpb"][name])])
    return rows


def _shown(value: float | None, digits: int = 4) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _aligned(rows: list[list[str]]) -> str:
    """Set columns under each other, the first to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "".join(
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) + "\n"
        for row in rows
    )
