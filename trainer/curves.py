"""A run's metrics as arrays, and two runs' numbers side by side.

Runs are compared where all of them are: means over the last steps up to the tokens that the
shortest has seen. The standard error of a difference takes losses of steps for independent draws
around a level, which is near enough for the end of a run; it says how much is noise of the batches,
not how much another seed would change.
"""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from dolmix.errors import UsageError
from dolmix.mix import OrderSpec
from dolmix.order import diff_specs, difference_lines
from trainer.checkpoint import leaves
from trainer.runfile import RunFile, read_run
from trainer.sinks import METRICS

Floats = NDArray[np.float64]
SCALARS = ("step", "tokens", "loss", "ce", "balance", "grad_norm", "skipped", "mfu",
           "tokens_per_s_gpu")  # fmt: skip
PLACES = ("lock", "output", "processes", "threads", "resume", "log_every", "chain_every", "metrics",
          "profile", "checkpoint", "evaluation", "device")  # fmt: skip
"""Settings that say where and how a run went; differences in them are not told."""


@dataclass(frozen=True, eq=False)
class Curves:
    """One run: N steps, S sources, L layers with experts; NaN where a step has no number."""

    folder: Path
    info: RunFile | None
    values: dict[str, Floats]
    """Of each step, (N,), by name; those of `SCALARS`."""
    sources: dict[str, Floats]
    """Loss of each source, (N,), nats a token."""
    router: dict[str, Floats]
    """`max_share` and `entropy` of each layer, (N, L); empty for runs that did not tell."""
    evals: dict[str, Floats]
    """By name, (3, M): step, tokens and value of each evaluation."""

    @property
    def mix(self) -> str:
        """Name of the mix, else of the folder."""
        return self.folder.name if self.info is None else self.info.mix

    def window(self, tokens: float, steps: int) -> slice:
        """Give the last steps up to so many tokens."""
        stop = int(np.searchsorted(self.values["tokens"], tokens, side="right"))
        return slice(max(stop - steps, 0), stop)


def read_curves(folder: Path) -> Curves:
    """Read a run's output folder. Raises UsageError where it has no metrics."""
    file = folder / METRICS
    if not file.is_file():
        raise UsageError(f"{folder} is no output of a training run: it has no {METRICS}.")
    steps: list[dict[str, Any]] = []
    evals: list[dict[str, Any]] = []
    with file.open("rb") as lines:
        for line in lines:
            if line.endswith(b"\n"):
                row = json.loads(line)
                (evals if "eval" in row else steps).append(row)
    if not steps:
        raise UsageError(f"{file} has no step yet: wait for the first one.")
    names = sorted({name for row in steps for name in row["source_loss"]})
    return Curves(
        folder=folder,
        info=read_run(folder),
        values={name: _column(row.get(name) for row in steps) for name in SCALARS},
        sources={n: _column(row["source_loss"].get(n) for row in steps) for n in names},
        router=_router(steps),
        evals=_evals(evals),
    )


def labels(runs: Sequence[Curves]) -> list[str]:
    """Name runs by their mixes; with their folders where two have one name."""
    mixes = [run.mix for run in runs]
    return [
        mix if mixes.count(mix) == 1 else f"{mix} ({run.folder})"
        for mix, run in zip(mixes, runs, strict=True)
    ]


def smoothed(values: Floats, steps: int) -> Floats:
    """Mean of each value and those before it, `steps` in all; NaN counts as not there."""
    known = np.isfinite(values)
    sums = np.concatenate([[0.0], np.where(known, values, 0.0).cumsum()])
    counts = np.concatenate([[0], known.cumsum()])
    start = np.maximum(np.arange(1, len(values) + 1) - steps, 0)
    count = counts[1:] - counts[start]
    with np.errstate(invalid="ignore"):
        return np.where(count > 0, (sums[1:] - sums[start]) / count, np.nan)


def compared(runs: Sequence[Curves], steps: int) -> dict[str, Any]:
    """Numbers of each run where all are, and what is different from the first run.

    steps: of how many last steps to take means.
    """
    tokens = min(float(run.values["tokens"][-1]) for run in runs)
    named = [*zip(labels(runs), runs, strict=True)]
    told = [_numbers(label, run, tokens, steps) for label, run in named]
    first = runs[0]
    return {
        "at_tokens": int(tokens),
        "mean_of_steps": steps,
        "runs": told,
        "differences": [
            {"run": label, "against": named[0][0]}
            | {"lock": lock_differences(first.info, run.info)}
            | {"settings": setting_differences(first.info, run.info)}
            | _difference(first, run, tokens, steps)
            for label, run in named[1:]
        ],
    }


def lock_differences(a: RunFile | None, b: RunFile | None) -> list[str]:
    """Say how two locks' orders differ, shares of the sources first."""
    if a is None or b is None or a.order_hash == b.order_hash:
        return []
    try:
        first, second = (OrderSpec.model_validate(run.order) for run in (a, b))
    except ValidationError:  # an order of another version
        return [f"order {a.order_hash[:12]} -> {b.order_hash[:12]}"]
    return [*_share_lines(first, second), *difference_lines(diff_specs(first, second))]


def setting_differences(a: RunFile | None, b: RunFile | None) -> list[str]:
    """Say which settings of two runs differ, those apart that only say where a run goes."""
    if a is None or b is None:
        return []
    first, second = (dict(leaves(run.config)) for run in (a, b))
    return [
        f"{path}: {first.get(path)} -> {second.get(path)}"
        for path in sorted(first.keys() | second.keys())
        if path.partition(".")[0] not in PLACES and first.get(path) != second.get(path)
    ]


def _share_lines(a: OrderSpec, b: OrderSpec) -> Iterator[str]:
    """Shares of each stage's instances that changed, a line a stage."""
    theirs = {stage.name: stage for stage in b.stages}
    for stage in a.stages:
        if (other := theirs.get(stage.name)) is None:
            continue
        changed = []
        for source in sorted(stage.quotas.keys() | other.quotas.keys()):
            before = stage.quotas.get(source, 0) / stage.instances
            after = other.quotas.get(source, 0) / other.instances
            if f"{before:.3f}" != f"{after:.3f}":
                changed.append(f"{source} {100 * before:.1f} -> {100 * after:.1f} %")
        if changed:
            yield f"{stage.name}: {', '.join(changed)}"


def _numbers(label: str, run: Curves, tokens: float, steps: int) -> dict[str, Any]:
    part = run.window(tokens, steps)
    return {
        "run": label,
        "folder": str(run.folder),
        "mix": run.mix,
        "order_hash": None if run.info is None else run.info.order_hash,
        "steps": int(run.values["step"][-1]),
        "tokens": int(run.values["tokens"][-1]),
        "ce": _mean(run.values["ce"][part]),
        "loss": _mean(run.values["loss"][part]),
        "sources": {name: _mean(values[part]) for name, values in run.sources.items()},
        "evaluation": {
            name: value
            for name, found in run.evals.items()
            if (value := _last(found, tokens)) is not None
        },
        "balance": _mean(run.values["balance"][part]),
        "router": {
            name: [_mean(layer) for layer in values[part].T] for name, values in run.router.items()
        },
        "skipped": int(np.nansum(run.values["skipped"])),
        "tokens_per_s_gpu": _median(run.values["tokens_per_s_gpu"]),
        "mfu": _median(run.values["mfu"]),
    }


def _difference(a: Curves, b: Curves, tokens: float, steps: int) -> dict[str, Any]:
    """Second minus first: losses with standard errors, evaluations."""
    parts = a.window(tokens, steps), b.window(tokens, steps)

    def of(first: Floats, second: Floats) -> dict[str, float | None]:
        return _gap(first[parts[0]], second[parts[1]])

    measured = {}
    for name in a.evals.keys() & b.evals.keys():
        ends = _last(a.evals[name], tokens), _last(b.evals[name], tokens)
        if ends[0] is not None and ends[1] is not None:
            measured[name] = ends[1] - ends[0]
    return {
        "ce": of(a.values["ce"], b.values["ce"]),
        "sources": {n: of(a.sources[n], b.sources[n]) for n in a.sources if n in b.sources},
        "evaluation": dict(sorted(measured.items())),
    }


def _gap(first: Floats, second: Floats) -> dict[str, float | None]:
    first, second = first[np.isfinite(first)], second[np.isfinite(second)]
    if not len(first) or not len(second):
        return {"difference": None, "standard_error": None}
    error = None
    if min(len(first), len(second)) > 1:
        error = math.sqrt(first.var(ddof=1) / len(first) + second.var(ddof=1) / len(second))
    return {"difference": float(second.mean() - first.mean()), "standard_error": error}


def _router(rows: Sequence[dict[str, Any]]) -> dict[str, Floats]:
    """Values of the rows' `router`, NaN for rows of earlier versions."""
    known = next((row["router"] for row in rows if "router" in row), None)
    if known is None:
        return {}
    missing = {name: [math.nan] * len(values) for name, values in known.items()}
    return {name: np.array([row.get("router", missing)[name] for row in rows]) for name in known}


def _evals(rows: Sequence[dict[str, Any]]) -> dict[str, Floats]:
    names = sorted({name for row in rows for name in row["eval"]})
    return {
        name: np.array(
            [
                (row["step"], row["tokens"], row["eval"][name])
                for row in rows
                if row["eval"].get(name) is not None
            ],
            np.float64,
        ).T.reshape(3, -1)
        for name in names
    }


def _column(values: Iterator[Any]) -> Floats:
    return np.array([math.nan if value is None else float(value) for value in values])


def _last(found_3M: Floats, tokens: float) -> float | None:
    """Last value measured up to so many tokens."""
    within = found_3M[2][found_3M[1] <= tokens]
    return float(within[-1]) if len(within) else None


def _mean(values: Floats) -> float | None:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else None


def _median(values: Floats) -> float | None:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else None
