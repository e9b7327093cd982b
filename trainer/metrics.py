"""What a run tells about itself: one JSON line a step, and a console line every few steps.

`OUT/metrics.jsonl`, a line a step: step, tokens, loss (all terms, as minimised: masked rows count
as 0), ce (nats a token of the rows that are not masked; null where all are), lbl and z (unweighted,
as trained with), lbl_olmoe and lbl_hf (the load balance in both conventions of `trainer.loss`),
masked (rows of the batch left out of the cross-entropy), source_loss (ce of each source with such
rows in the batch), grad_norm (before clipping), skipped (whether the update was left out, see
`trainer.guard`), lr, tokens_per_s (over the steps since the last fetch), balance (largest load of
an expert over the mean load, averaged over layers; 1 is even) and chain (the batch proof, hex). A
resumed run continues the file exactly where its checkpoint stood: each step has one line.
"""

import json
import logging
import math
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import torch
from torch import Tensor

from dolmix.files.commit import write_bytes

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StepFacts:
    """What the host knows of a step without asking the device."""

    step: int
    tokens: int
    """Tokens of all steps so far."""
    lr: float
    chain: bytes | None
    """Batch proof; None where it is not to be logged."""


@dataclass(frozen=True)
class Layout:
    """Where a step's sums lie in one float64 vector, so that all ranks add them in one reduction.

    [rows, masked rows, ce, lbl, z, lbl_olmoe, lbl_hf, ce of each source, its rows that are not
    masked, visits of each layer's experts]
    """

    sources: tuple[str, ...]
    layers: int
    experts: int
    load_balance: float
    router_z: float

    def pack(
        self,
        source_B: Tensor,
        masked_B: Tensor,
        ce_B: Tensor,
        router_M4: Tensor,
        visits_MLE: Sequence[Tensor | None],
    ) -> Tensor:
        """Join one rank's step of B rows and M microbatches, on the device of `ce_B`.

        source_B is a row's source, ce_B its mean cross-entropy, 0 where masked_B is true, router_M4
        the `RouterLosses`, already divided by M.
        """
        names = torch.arange(len(self.sources), device=ce_B.device)
        member_SB = ((source_B == names[:, None]) & ~masked_B).double()
        ce = ce_B.double()
        rows = torch.full((1,), len(source_B), dtype=torch.float64, device=ce.device)
        masked = masked_B.double().sum(0, keepdim=True)
        visits = [v.flatten().double() for v in visits_MLE if v is not None]
        parts = [rows, masked, ce.sum(0, keepdim=True), router_M4.double().sum(0)]
        parts += [member_SB @ ce, member_SB.sum(1)]
        return torch.cat(parts + ([torch.stack(visits).sum(0)] if visits else []))

    def visits(self, sums: Tensor) -> Tensor:
        """Visits of each layer's experts, (layers, experts) float64, where the sums are."""
        return sums[7 + 2 * len(self.sources) :].view(self.layers, self.experts)

    def loss(self, sums: Tensor, world: int) -> Tensor:
        """Loss as minimised, () float64, where the sums are: what `unpack` gives as `loss`."""
        router = self.load_balance * sums[3] + self.router_z * sums[4]
        return sums[2] / sums[0] + router / world

    def unpack(self, sums: Tensor, world: int) -> dict[str, Any]:
        """Means over the batch from sums over all ranks (on the host)."""
        count = len(self.sources)
        rows, masked, ce = sums[:3].tolist()
        lbl, z, olmoe, hf = (sums[3:7] / world).tolist()
        source_ce, source_rows = sums[7 : 7 + 2 * count].chunk(2)
        drawn = zip(self.sources, source_ce.tolist(), source_rows.tolist(), strict=True)
        load = self.visits(sums)
        return {
            "loss": ce / rows + self.load_balance * lbl + self.router_z * z,
            "ce": ce / (rows - masked) if masked < rows else None,
            "lbl": lbl,
            "z": z,
            "lbl_olmoe": olmoe,
            "lbl_hf": hf,
            "masked": int(masked),
            "source_loss": {name: total / n for name, total, n in drawn if n},
            "balance": (load.amax(1) / load.mean(1)).mean().item() if self.layers else 1.0,
        }


class Metrics:
    """Collects steps on the device, fetches them together; only the first rank writes them."""

    def __init__(
        self, path: Path | None, layout: Layout, *, num_steps: int, num_tokens: int
    ) -> None:
        self._path = path
        self._layout = layout
        self._num_steps, self._num_tokens = num_steps, num_tokens
        self._file: TextIO | None = None
        self._waiting: list[tuple[StepFacts, Tensor]] = []
        self._since = self._began = time.perf_counter()
        self._tokens = self._first_tokens = 0

    def start(self, step: int, tokens: int) -> None:
        """Open the file for the step after `step`; later lines, of a killed run, are cut off."""
        self._tokens = self._first_tokens = tokens
        self._since = self._began = time.perf_counter()
        if self._path is None:
            return
        write_bytes(self._path, b"".join(_lines_through(self._path, step)))
        self._file = self._path.open("a", encoding="utf-8")

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def add(self, facts: StepFacts, sums: Tensor, grad_norm: Tensor, skipped: Tensor) -> None:
        """Take a step's sums over all ranks and its gradient norm, still on the device.

        skipped: () bool, whether its update was left out.
        """
        first = torch.stack([grad_norm.double(), skipped.double()])
        self._waiting.append((facts, torch.cat([first, sums])))

    def fetch(self, world: int) -> list[dict[str, Any]]:
        """Fetch waiting steps from the device, write and log them; returns their lines."""
        if not self._waiting:
            return []
        fetched = torch.stack([sums for _, sums in self._waiting]).cpu()
        now, tokens = time.perf_counter(), self._waiting[-1][0].tokens
        rate = (tokens - self._tokens) / max(now - self._since, 1e-9)
        lines = [
            self._line(facts, sums, world, rate)
            for (facts, _), sums in zip(self._waiting, fetched, strict=True)
        ]
        self._waiting.clear()
        self._since, self._tokens = now, tokens
        self._write(lines)
        self._log(lines, now)
        return lines

    def sync(self) -> None:
        """Flush the file to disk: before a checkpoint is committed."""
        if self._file is not None:
            os.fsync(self._file.fileno())

    def _line(self, facts: StepFacts, sums: Tensor, world: int, rate: float) -> dict[str, Any]:
        line: dict[str, Any] = {"step": facts.step, "tokens": facts.tokens}
        line |= self._layout.unpack(sums[2:], world)
        line |= {"grad_norm": sums[0].item(), "skipped": bool(sums[1])}
        line |= {"lr": facts.lr, "tokens_per_s": round(rate, 1)}
        if facts.chain is not None:
            line["chain"] = facts.chain.hex()
        return line

    def _write(self, lines: list[dict[str, Any]]) -> None:
        if self._file is not None:
            self._file.writelines(json.dumps(_strict(line)) + "\n" for line in lines)
            self._file.flush()

    def _log(self, lines: list[dict[str, Any]], now: float) -> None:
        if self._file is None:
            return
        last = lines[-1]
        done = (last["tokens"] - self._first_tokens) / (now - self._began)
        left = (self._num_tokens - last["tokens"]) / max(done, 1e-9)
        log.info(
            "step %s/%d  loss %.3f  %s  %s tok/s  balance %.2f  %s left",
            str(last["step"]).rjust(len(str(self._num_steps))),
            self._num_steps,
            _mean(line["loss"] for line in lines),
            "  ".join(f"{name} {_source_mean(lines, name)}" for name in self._layout.sources),
            f"{last['tokens_per_s']:,.0f}",
            _mean(line["balance"] for line in lines),
            f"{int(left) // 3600}:{int(left) // 60 % 60:02d}:{int(left) % 60:02d}",
        )


def _lines_through(path: Path, step: int) -> Iterator[bytes]:
    """Yield whole lines up to a step's; what a killed run tore or wrote later ends them."""
    for line in path.read_bytes().splitlines(keepends=True) if path.exists() else []:
        try:
            known = json.loads(line)["step"]
        except ValueError:
            return
        if known > step or not line.endswith(b"\n"):
            return
        yield line


def _strict(value: Any) -> Any:
    """Replace what JSON cannot write (NaN, infinity) by null."""
    if isinstance(value, dict):
        return {key: _strict(item) for key, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _mean(values: Any) -> float:
    values = list(values)
    return sum(values) / len(values)


def _source_mean(lines: list[dict[str, Any]], name: str) -> str:
    values = [line["source_loss"][name] for line in lines if name in line["source_loss"]]
    return f"{_mean(values):.3f}" if values else "-"
