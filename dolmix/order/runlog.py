"""What a training run leaves behind about its order: logged chains, the step reached, its lock.

Read from the run's output folder, from the `metrics.jsonl` in it, or from one of its checkpoints,
as JSON: nothing here needs torch. The folders' layout is that of docs/formats.md, "A training run".
"""

import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from dolmix.errors import DataError, UsageError

METRICS = "metrics.jsonl"
META = "meta.json"
LEDGER = "ledger.jsonl"
CHECKPOINTS = "checkpoints"
CHAIN_HEX_DIGITS = 32


class LoggedChain(NamedTuple):
    """A batch proof as it was logged: chain_step."""

    step: int
    chain: bytes


def read_chains(path: Path) -> list[LoggedChain]:
    """Chains that a run, a metrics file or a checkpoint holds, by step.

    A line torn by a kill ends a metrics file. Raises UsageError for a path that is none of these,
    DataError for a damaged file, steps that do not increase, or a file without any chain.
    """
    if _is_checkpoint(path):
        meta = _read_meta(path)
        return [LoggedChain(int(meta["step"]), _parse_chain(meta["chain"], path / META))]
    file = _metrics_file(path)
    chains = [
        LoggedChain(line["step"], _parse_chain(line["chain"], file))
        for line in _lines(file)
        if line.get("chain") is not None
    ]
    for one, following in pairwise(chains):
        if following.step <= one.step:
            raise DataError(
                f"{file}: step {following.step:,} comes after step {one.step:,}: this is not the "
                f"log of one run. Give the metrics file as the trainer wrote it."
            )
    if not chains:
        raise DataError(
            f"{file} holds no chain: no step of the run was logged with one. Set `chain_every` in "
            f"its configuration so that steps are."
        )
    return chains


def step_reached(where: str) -> int:
    """Tell the steps done: a number, or what a run, a metrics file or a checkpoint says.

    Raises UsageError for anything else, DataError for a damaged file.
    """
    if where.isdecimal():
        return int(where)
    path = Path(where)
    if _is_checkpoint(path):
        return int(_read_meta(path)["step"])
    return max((int(line["step"]) for line in _lines(_metrics_file(path))), default=0)


def ledger_of(where: str | Path) -> Path | None:
    """Ledger in the output folder of a run; None for a run whose weights never changed."""
    file = _run_folder(Path(where)) / LEDGER
    return file if file.is_file() else None


def order_hash_of(path: Path) -> str | None:
    """Order hash that the run's checkpoints name; None for a run without any."""
    metas = list(_metas(path))
    return str(metas[-1]["order_hash"]) if metas else None


def lock_of(path: Path) -> Path:
    """Lock that a run was trained on, from its latest checkpoint.

    Raises UsageError where the run has no checkpoint, or where its lock is not found from here.
    """
    metas = list(_metas(path))
    config = metas[-1].get("config") if metas else None
    named = config.get("lock") if isinstance(config, dict) else None
    if named is None:
        raise UsageError(
            f"{path}: the run has no checkpoint that names its lock. Name it with --lock."
        )
    if not Path(named).is_file():
        raise UsageError(
            f"{path}: the run was trained on {named}, which is no file from here. Run this where "
            f"the training ran, or name the lock with --lock."
        )
    return Path(named)


def _run_folder(path: Path) -> Path:
    """Return the output folder of the run that a metrics file, a checkpoint or itself is."""
    if _is_checkpoint(path):
        return path.parent.parent
    return path if path.is_dir() else path.parent


def _is_checkpoint(path: Path) -> bool:
    return (path / META).is_file()


def _metas(path: Path) -> Iterator[dict[str, Any]]:
    """Yield what checkpoints tell: the one named, or all of the run, by step."""
    if _is_checkpoint(path):
        yield _read_meta(path)
        return
    found = [_read_meta(p.parent) for p in (_run_folder(path) / CHECKPOINTS).glob(f"*/{META}")]
    yield from sorted(found, key=lambda meta: int(meta["step"]))


def _read_meta(checkpoint: Path) -> dict[str, Any]:
    file = checkpoint / META
    try:
        meta = json.loads(file.read_bytes())
        int(meta["step"]), meta["order_hash"], meta["chain"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{file} is not what a checkpoint tells about itself ({error!r}). Take another one."
        ) from None
    return dict(meta)


def _metrics_file(path: Path) -> Path:
    file = path / METRICS if path.is_dir() else path
    if not file.is_file():
        raise UsageError(
            f"{path} is neither a step, nor a run with a {METRICS}, nor a metrics file, nor a "
            f"checkpoint. Give the run's output folder."
        )
    return file


def _lines(file: Path) -> Iterator[dict[str, Any]]:
    """Yield the whole lines of a metrics file; one that a kill tore may be the last."""
    with file.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.endswith(b"\n"):
                return
            try:
                told = json.loads(line)
                told["step"] = int(told["step"])
            except (ValueError, KeyError, TypeError):
                raise DataError(
                    f"{file}, line {number:,} is no line of a metrics file: JSON with a step. Give "
                    f"the {METRICS} of a run."
                ) from None
            yield told


def _parse_chain(text: Any, file: Path) -> bytes:
    if not isinstance(text, str) or len(text) != CHAIN_HEX_DIGITS:
        raise DataError(f"{file}: {text!r} is no chain, which has {CHAIN_HEX_DIGITS} hex digits")
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise DataError(f"{file}: {text!r} is no chain: it is not hexadecimal") from None
