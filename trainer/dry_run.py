"""`python -m trainer CONFIG --dry-run`: what a run would be, before anything is started.

Parameters, memory of one process (`trainer.footprint`), tokens of a step, steps, epochs of each
source, size of a checkpoint, and how long it takes at a speed that is named: one that the user
gives, that this output has measured already, or that docs/trainer.md has for this very shape. It
reads the configuration and the lock alone: no GPU, no store, no other process.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import torch

from dolmix.config import load
from dolmix.errors import UsageError
from dolmix.mix import Lock, read_lock, stage_counts
from trainer.config import ModelConfig, TrainConfig
from trainer.curves import read_curves
from trainer.fits import check_run
from trainer.footprint import BYTES, Plan, count, memory
from trainer.parallel import check_replicas

GIB = 2**30
OLMOE = ModelConfig(
    vocab=50304, d_model=2048, layers=16, heads=16, experts=64, top_k=8, d_ff=1024,
    expert_backend="triton",
)  # fmt: skip
OLMOE_LENGTH = 4096


class Measured(NamedTuple):
    """A speed of OLMoE-1B-7B in docs/trainer.md, with instances of 4,096 tokens."""

    gpu: str
    gpus: int
    microbatches: Literal["one", "many"]
    comm: str
    tokens_per_s: int
    """Of one GPU."""
    how: str


MEASURED = (
    Measured("H200", 1, "one", "micro", 62_037, "12 x 4096, bfloat16 state"),
    Measured("H100", 1, "one", "micro", 54_214, "6 x 4096, experts recomputed, bfloat16 state"),
    Measured("H200", 4, "one", "step", 53_169, "8 x 4096, comm step"),
    Measured("H200", 4, "one", "micro", 50_664, "8 x 4096"),
    Measured("H200", 4, "many", "step", 58_526, "8 of 8 x 4096, comm step"),
    Measured("H200", 2, "one", "step", 51_178, "8 x 4096, comm step, experts recomputed"),
    Measured("H200", 2, "one", "micro", 48_617, "8 x 4096"),
    Measured("H200", 2, "many", "step", 58_062, "8 of 8 x 4096, comm step, experts recomputed"),
    Measured("H200", 2, "many", "micro", 50_204, "8 of 8 x 4096"),
)


def dry_run(arguments: Sequence[str]) -> int:
    """Print what a run would be; returns 0. Raises ConfigError, LockError, UsageError."""
    parser = argparse.ArgumentParser(prog="python -m trainer")
    parser.add_argument("config", metavar="CONFIG")
    parser.add_argument("overrides", nargs="*", metavar="KEY.PATH=VALUE")
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("--json", action="store_true", help="as JSON")
    parser.add_argument("--tokens-per-s", type=float, help="speed of one process, for the time")
    options = parser.parse_intermixed_args(arguments)
    config = load(TrainConfig, options.config, options.overrides)
    found = forecast(config, tokens_per_s=options.tokens_per_s)
    text = json.dumps(found, indent=1) if options.json else "\n".join(lines(found))
    sys.stdout.write(text + "\n")
    return 0


def forecast(config: TrainConfig, *, tokens_per_s: float | None = None) -> dict[str, Any]:
    """Say what a run would be, in JSON types; bytes of memory are of one process.

    tokens_per_s: speed of one process, where it is known. Raises LockError, ConfigError, OrderError
    or UsageError for a run that would not start.
    """
    if tokens_per_s is not None and not 0 < tokens_per_s < float("inf"):
        raise UsageError(f"--tokens-per-s {tokens_per_s:g}: give a speed above 0")
    lock = read_lock(config.lock)
    processes, on_gpu = _processes(config), _on_gpu(config)
    check_run(config, lock.order, processes)
    check_replicas(config.parallel.replicas, processes)
    steps = config.max_steps or lock.order.num_steps
    schedule, length = lock.order.schedule, lock.order.sequence_length
    first, last = (schedule.size(step) for step in (1, steps))
    largest = max(phase.instances for phase in lock.order.batch_size if phase.from_step <= steps)
    rows = min(config.microbatch, largest // processes)
    microbatches = -(-(largest // processes) // config.microbatch)
    plan = Plan(processes, rows * length, microbatches, on_gpu)
    parameters = count(config.model)
    tokens = schedule.offset(steps) * length
    return {
        "parameters": {
            "total": parameters.total,
            "active": parameters.active,
            "embedding": parameters.embedding,
            "output": parameters.output,
        },
        "processes": processes,
        "device": "gpu" if on_gpu else "cpu",
        "tokens_per_step": {"first": first * length, "last": last * length},
        "microbatch_tokens": plan.tokens,
        "microbatches": microbatches,
        "steps": steps,
        "tokens": tokens,
        "epochs": epochs(lock, schedule.offset(steps)),
        "memory": memory(config, plan) | {"by_recompute": _by_recompute(config, plan)},
        "checkpoint_bytes": 3 * BYTES[config.precision.state] * parameters.total,
        "times": [
            {"tokens_per_s": speed, "source": source, "seconds": tokens / (speed * processes)}
            for speed, source in _speeds(config, plan, length, tokens_per_s)
        ],
    }


def epochs(lock: Lock, instances: int) -> dict[str, float]:
    """Count passes over each source within the first instances of an order, exact at whole blocks.

    Instances of a `reuse` stage count like any others.
    """
    spec = lock.order
    drawn = dict.fromkeys(spec.sources, 0)
    for number, stage in enumerate(spec.stages):
        inside = min(stage.instances, max(instances, 0))
        instances -= inside
        counts = stage_counts(spec, number)
        for name, some in zip(counts.names, counts.at(inside), strict=True):
            drawn[name] += some
    return {name: drawn[name] / source.num_instances for name, source in spec.sources.items()}


def lines(found: dict[str, Any]) -> Iterator[str]:
    """Say a forecast in lines."""
    p, m, step = found["parameters"], found["memory"], found["tokens_per_step"]
    yield (
        f"parameters    {p['total']:,} in all, {p['active']:,} active, {p['embedding']:,} embedding"
        f", {p['output']:,} output matrix"
    )
    grows = "" if step["first"] == step["last"] else f", {step['last']:,} at the end"
    yield (
        f"step          {step['first']:,} tokens{grows}; {found['processes']} processes, "
        f"{found['microbatches']} microbatches of {found['microbatch_tokens']:,} tokens each"
    )
    yield f"run           {found['steps']:,} steps, {found['tokens']:,} tokens"
    passes = ", ".join(f"{name} {count:.3g}" for name, count in found["epochs"].items())
    yield f"epochs        {passes}"
    yield f"memory        {_size(m['peak'])} at most, of one {found['device']} process:"
    yield from (f"  {name.replace('_', ' '):22} {_size(m[name]):>12}" for name in PARTS)
    levels = m["by_recompute"].items()
    yield "  peak by recompute      " + ", ".join(f"{n} {_size(b)}" for n, b in levels)
    yield f"checkpoint    {found['checkpoint_bytes'] / 1e9:.2f} GB"
    if found["device"] == "cpu":
        yield "for a GPU     device=cuda"
    for time in found["times"]:
        speed = f"{time['tokens_per_s']:,.0f} tokens/s of each process"
        yield f"time          {_duration(time['seconds'])} at {speed}, {time['source']}"
    if not found["times"]:
        yield "time          not known: give --tokens-per-s, or train a few steps into this output"


PARTS = ("weights", "moments", "gradients", "gathered", "activations", "backward_of_a_layer",
         "output_gradient", "logits", "buffers")  # fmt: skip


def _by_recompute(config: TrainConfig, plan: Plan) -> dict[str, int]:
    """Peak bytes by level of recomputation."""
    found = {}
    for level in ("none", "experts", "blocks"):
        parallel = config.parallel.model_copy(update={"recompute": level})
        found[level] = memory(config.model_copy(update={"parallel": parallel}), plan)["peak"]
    return found


def _speeds(
    config: TrainConfig, plan: Plan, length: int, given: float | None
) -> Iterator[tuple[float, str]]:
    """Speeds of one process that are known, each with where from."""
    if given is not None:
        yield given, "as given"
        return
    try:
        measured = read_curves(config.output).values["tokens_per_s_gpu"]
    except UsageError:  # nothing was trained into it, or no step is told yet
        measured = np.empty(0)
    if np.isfinite(measured).any():
        yield float(np.nanmedian(measured)), f"as this run has measured ({config.output})"
        return
    same = config.model.model_copy(update={"vocab": OLMOE.vocab, "init_std": OLMOE.init_std})
    if same != OLMOE or length != OLMOE_LENGTH or not plan.on_gpu:
        return
    alone = plan.processes == 1
    way = ("many" if plan.microbatches > 1 else "one", config.parallel.comm)
    like = [
        known
        for known in MEASURED
        if (known.gpus == 1) == alone and (alone or (known.microbatches, known.comm) == way)
    ]
    nearest = min((abs(known.gpus - plan.processes) for known in like), default=0)
    for known in like:
        if abs(known.gpus - plan.processes) == nearest:
            yield (
                known.tokens_per_s,
                f"as measured on {known.gpus} x {known.gpu} ({known.how}; docs/trainer.md)",
            )


def _processes(config: TrainConfig) -> int:
    if config.processes != "gpu":
        return config.processes
    if found := torch.cuda.device_count():
        return found
    raise UsageError(
        "processes: gpu, but this machine has none: say for how many, as in processes=8"
    )


def _on_gpu(config: TrainConfig) -> bool:
    """Whether the run would be on GPUs: by its settings, or as the trainer would choose here."""
    if config.device == "auto" and config.processes != "gpu":
        return torch.cuda.is_available()
    return config.device != "cpu"


def _duration(seconds: float) -> str:
    """Say how long, in the unit that it has at least two of."""
    units = ((86400, "days"), (3600, "hours"), (60, "minutes"))
    size, name = next((u for u in units if seconds >= 2 * u[0]), (1, "seconds"))
    return f"{seconds / size:,.1f} {name}"


def _size(num_bytes: float) -> str:
    """Say bytes in GiB, or in MiB where they are few."""
    if num_bytes >= GIB:
        return f"{num_bytes / GIB:.2f} GiB"
    return f"{num_bytes / 2**20:.2f} MiB"
