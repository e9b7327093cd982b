"""What a run tells about itself: a row a step, and a console line every few steps.

`OUT/metrics.jsonl`, a line a step: step, tokens, loss (all terms, as minimised: masked rows count
as 0), ce (nats a token of the rows that are not masked; null where all are), lbl and z (unweighted,
as trained with), lbl_olmoe and lbl_hf (the load balance in both conventions of `trainer.loss`),
masked (rows of the batch left out of the cross-entropy), source_loss (ce of each source with such
rows in the batch), grad_norm (before clipping), skipped (whether the update was left out, see
`trainer.guard`), skipped_frac (of all steps so far), lr, tokens_per_s (over the steps since the
last fetch), tokens_per_s_gpu, mfu, memory_gib (see `trainer.speed`), balance (largest load of an
expert over the mean load, averaged over layers; 1 is even), router (for each layer with experts:
max_share, the largest share of the visits that one expert got, and entropy, that of all shares
over ln E; 1 is even, 0 means one expert alone) and chain (the batch proof, hex).

An evaluation is a row of its own after that of its step: step, tokens, eval (numbers by name), and
eval_s, the seconds it took. A resumed run continues the file exactly where its checkpoint stood:
each step has one line. `trainer.sinks` writes rows; nothing here waits for the device but `fetch`.
"""

import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from trainer.sinks import Sinks
from trainer.speed import Speed

log = logging.getLogger(__name__)
SHOWN = ("loss", "bpb", "acc_norm")
"""Measures of an evaluation that the console shows; its row has all."""


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
        spread = {"router": _spread(load)} if self.layers else {}
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
            **spread,
        }


class Metrics:
    """Collects steps on the device, fetches them together, and gives the rows to the sinks."""

    def __init__(
        self, sinks: Sinks | None, layout: Layout, speed: Speed, *, num_steps: int, num_tokens: int
    ) -> None:
        """sinks: those of the first rank; None on all others, which say nothing."""
        self._sinks, self._layout, self._speed = sinks, layout, speed
        self._num_steps, self._num_tokens = num_steps, num_tokens
        self._waiting: list[tuple[StepFacts, Tensor]] = []
        self._since = self._began = time.perf_counter()
        self._tokens = self._first_tokens = 0
        self._num_skipped = 0

    def start(self, step: int, tokens: int, num_skipped: int = 0) -> None:
        """Begin after `step`, up to which `num_skipped` updates were left out.

        Rows of later steps, of a killed run, are taken back. Raises UsageError where a sink does
        not open.
        """
        if self._sinks is not None:
            self._sinks.start(step)
        self._tokens = self._first_tokens = tokens
        self._num_skipped = num_skipped
        self._since = self._began = time.perf_counter()

    def close(self) -> None:
        """Close the sinks."""
        if self._sinks is not None:
            self._sinks.close()

    def add(self, facts: StepFacts, sums: Tensor, grad_norm: Tensor, skipped: Tensor) -> None:
        """Take a step's sums over all ranks and its gradient norm, still on the device.

        skipped: () bool, whether its update was left out.
        """
        first = torch.stack([grad_norm.double(), skipped.double()])
        self._waiting.append((facts, torch.cat([first, sums])))

    def fetch(self, world: int) -> list[dict[str, Any]]:
        """Fetch waiting steps from the device, write and log them; returns their rows."""
        if not self._waiting:
            return []
        fetched = torch.stack([sums for _, sums in self._waiting]).cpu()
        now, tokens = time.perf_counter(), self._waiting[-1][0].tokens
        speed = self._speed.facts((tokens - self._tokens) / max(now - self._since, 1e-9))
        rows = [
            self._row(facts, sums, world, speed)
            for (facts, _), sums in zip(self._waiting, fetched, strict=True)
        ]
        self._waiting.clear()
        self._since, self._tokens = now, tokens
        if self._sinks is not None:
            self._sinks.write(rows)
            self._log(rows, now)
        return rows

    def add_evaluation(
        self, step: int, tokens: int, values: dict[str, float], seconds: float
    ) -> None:
        """Write and log what a model was measured on after a step whose row was fetched.

        The time that it took counts as no time of training.
        """
        self.leave_out(seconds)
        if self._sinks is None:
            return
        row = {"step": step, "tokens": tokens, "eval": values, "eval_s": round(seconds, 3)}
        self._sinks.write([row])
        shown = "  ".join(
            f"{name} {value:.4g}"
            for name, value in values.items()
            if name.partition("/")[0] in SHOWN
        )
        log.info("evaluation after step %d  %s", step, shown)

    def leave_out(self, seconds: float) -> None:
        """Count so many seconds since the last fetch as no time of training."""
        self._since += seconds

    def sync(self) -> None:
        """Have all rows on disk: before a checkpoint is committed."""
        if self._sinks is not None:
            self._sinks.sync()

    def _row(
        self, facts: StepFacts, sums: Tensor, world: int, speed: dict[str, Any]
    ) -> dict[str, Any]:
        skipped = bool(sums[1])
        self._num_skipped += skipped
        row: dict[str, Any] = {"step": facts.step, "tokens": facts.tokens}
        row |= self._layout.unpack(sums[2:], world)
        row |= {"grad_norm": sums[0].item(), "skipped": skipped}
        row |= {"skipped_frac": self._num_skipped / facts.step, "lr": facts.lr} | speed
        if facts.chain is not None:
            row["chain"] = facts.chain.hex()
        return row

    def _log(self, rows: list[dict[str, Any]], now: float) -> None:
        last = rows[-1]
        done = (last["tokens"] - self._first_tokens) / (now - self._began)
        left = (self._num_tokens - last["tokens"]) / max(done, 1e-9)
        mfu = "" if last["mfu"] is None else f"  MFU {100 * last['mfu']:.1f} %"
        log.info(
            "step %s/%d  %s left  loss %.3f  %s  norm %.2f  balance %.2f  %s tok/s%s",
            str(last["step"]).rjust(len(str(self._num_steps))),
            self._num_steps,
            f"{int(left) // 3600}:{int(left) // 60 % 60:02d}:{int(left) % 60:02d}",
            _mean(row["loss"] for row in rows),
            "  ".join(f"{name} {_source_mean(rows, name)}" for name in self._layout.sources),
            _mean(row["grad_norm"] for row in rows),
            _mean(row["balance"] for row in rows),
            f"{last['tokens_per_s']:,.0f}",
            mfu,
            extra={"passing": True},
        )


def _spread(load_LE: Tensor) -> dict[str, list[float]]:
    """Largest share of an expert, and entropy of the shares over ln E, of each layer's visits."""
    share_LE = load_LE / load_LE.sum(1, keepdim=True)
    entropy_L = torch.special.entr(share_LE).sum(1) / max(math.log(load_LE.shape[1]), 1e-9)
    rounded = (part.clamp(0, 1).tolist() for part in (share_LE.amax(1), entropy_L))
    return dict(
        zip(("max_share", "entropy"), ([round(x, 5) for x in r] for r in rounded), strict=True)
    )


def _mean(values: Any) -> float:
    values = list(values)
    return sum(values) / len(values)


def _source_mean(lines: list[dict[str, Any]], name: str) -> str:
    values = [line["source_loss"][name] for line in lines if name in line["source_loss"]]
    return f"{_mean(values):.3f}" if values else "-"
