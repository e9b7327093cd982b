"""One step on one rank: forward and backward by microbatch, clip, update.

Nothing waits for the device. Cross-entropy is divided by the rank's tokens, those of masked rows
included, as OLMo does: the weight of a token then depends neither on what is masked beside it nor
on the number of ranks. Router losses are averaged over microbatches and see masked rows, whose
tokens visit experts like any others. FSDP averages the gradients over the ranks.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from trainer.attention import Documents
from trainer.config import TrainConfig
from trainer.cross_entropy import IGNORED
from trainer.guard import Guard
from trainer.loss import RouterLosses, router_losses, stacked_counts
from trainer.metrics import Layout
from trainer.model import Losses, Model, Routing
from trainer.moe import MoE
from trainer.optim import AdamW
from trainer.parallel import World, last_of_step


@dataclass(frozen=True)
class Rows:
    """One rank's part of a batch, or a microbatch of it, on its device."""

    tokens: Tensor
    """(n, L + 1) int64: inputs are [:, :-1], labels [:, 1:]."""
    sources: Tensor
    """(n,) int64."""
    masked: Tensor
    """(n,) bool, rows that the cross-entropy leaves out."""
    documents: tuple[Documents, ...] | None = None
    """One for each microbatch, where attention keeps documents apart."""
    counted: Tensor | None = None
    """(n, L) bool, labels that count; None where all do."""


class Outcome(NamedTuple):
    """What became of a step; on the device, alike on all ranks."""

    sums: Tensor
    """All ranks' sums for the metrics, laid out by `Layout`."""
    norm: Tensor
    """() norm of the gradient before clipping."""
    skipped: Tensor
    """() bool, whether the update was left out."""


class Step:
    """Model, optimiser and what is done with them at every step."""

    def __init__(
        self, config: TrainConfig, model: Model, optimizer: AdamW, layout: Layout, world: World
    ) -> None:
        self.config, self.model, self.optimizer = config, model, optimizer
        self.layout, self.world = layout, world
        self.guard = Guard(config.faults, world.device)

    def run(self, rows: Rows, lr: float) -> Outcome:
        """Train on a batch, or leave its update out."""
        sums = self.world.sum(self.gradients(rows))
        loss = self.layout.loss(sums, self.world.size)
        norm, skipped = self.optimizer.update(lr, lambda norm: self.guard.judge(loss, norm))
        self._balance(sums, skipped)
        return Outcome(sums, norm, skipped)

    def gradients(self, rows: Rows) -> Tensor:
        """Forward and backward of this rank's rows; returns its sums for the metrics."""
        count, length = rows.tokens.shape[0], rows.tokens.shape[1] - 1
        labels = rows.tokens[:, 1:].masked_fill(rows.masked[:, None], IGNORED)
        if rows.counted is not None:
            labels = labels.masked_fill(~rows.counted, IGNORED)
        parts = [*self._parts(rows, labels)]
        ce, router, counts = [], [], []
        visits_LE = None
        for number, (inputs, targets, documents) in enumerate(parts, 1):
            last_of_step(self.model, self.config, last=number == len(parts))
            losses: Losses = self.model(
                inputs, targets, documents=documents, chunk=self.config.parallel.loss_chunk
            )
            if losses.routings:
                counts.append(stacked_counts(losses.routings))
            visits_LE = self._visits(visits_LE, losses.routings)
            aux, penalty = self._penalty(losses.routings, visits_LE)
            (losses.total / (count * length) + penalty / len(parts)).backward()
            ce.append(losses.by_token.mean(1))
            router.append(torch.stack(aux).detach().to(inputs.device) / len(parts))
        return self.layout.pack(
            rows.sources, rows.masked, torch.cat(ce), torch.stack(router), counts
        )

    def _parts(
        self, rows: Rows, labels: Tensor
    ) -> Iterator[tuple[Tensor, Tensor, Documents | None]]:
        size = self.config.microbatch
        inputs = rows.tokens[:, :-1].split(size)
        for number, (some, targets) in enumerate(zip(inputs, labels.split(size), strict=True)):
            documents = None if rows.documents is None else rows.documents[number]
            yield some, targets, documents

    def _penalty(
        self, routings: list[Routing], visits_LE: Tensor | None
    ) -> tuple[RouterLosses, Tensor]:
        loss, top_k = self.config.loss, self.config.model.top_k
        aux = router_losses(routings, top_k, loss.convention, visits_LE=visits_LE)
        return aux, loss.load_balance * aux.load_balance + loss.router_z * aux.router_z

    def _visits(self, before: Tensor | None, routings: list[Routing]) -> Tensor | None:
        """Visits of all ranks in the step so far, for the `global` convention."""
        if self.config.loss.convention != "global" or not routings:
            return None
        counts = self.world.sum(stacked_counts(routings))
        return counts if before is None else before + counts

    @torch.no_grad()
    def _balance(self, sums: Tensor, skipped: Tensor) -> None:
        """Move the biases for choosing towards experts that all ranks visited too little."""
        rate = self.config.model.router.bias_rate
        if rate == 0:
            return
        routers = [b.mlp for b in self.model.blocks if isinstance(b.mlp, MoE)]
        visits = self.layout.visits(sums)
        for mlp, counts in zip(routers, visits, strict=True):
            change = rate * torch.sign(counts.mean() - counts)
            mlp.choice_bias += torch.where(skipped, 0.0, change)
