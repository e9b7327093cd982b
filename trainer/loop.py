"""The training loop: batch, forward and backward by microbatch, clip, update, tell, save.

On one machine the state after a step is a function of the configuration, the lock and the number of
ranks, wherever the run was interrupted. Nothing inside a step waits for the device: losses are
fetched after the first step, every `log_every` steps and before each checkpoint, so no checkpoint
holds weights that a non-finite loss has touched.
"""

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.nn.utils import clip_grad_norm_

from dolmix.errors import UsageError
from dolmix.order import CHAIN_START, chain
from trainer import checkpoint
from trainer.config import TrainConfig
from trainer.data import Batch, Data
from trainer.loss import IGNORED, cross_entropy, router_losses
from trainer.metrics import Layout, Metrics, StepFacts
from trainer.model import count_parameters
from trainer.optim import Cosine, adamw, set_lr
from trainer.parallel import World, build_model

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Progress:
    """How far a run is."""

    step: int = 0
    """Updates done."""
    chain: bytes = CHAIN_START
    """Batch proof of the steps done."""


class Training:
    """One rank's part of a run; made on every rank, and ready to go on where the run stood.

    Raises UsageError, LockError or ConfigError if there is a checkpoint that it cannot go on from.
    """

    def __init__(self, config: TrainConfig, data: Data, world: World) -> None:
        self.config, self.data, self.world = config, data, world
        self.checkpoints = config.output / "checkpoints"
        self.schedule = make_schedule(config, data)
        self.model = build_model(config.model, world, seed=config.seed)
        self.optimizer = adamw(self.model.parameters(), config.optimizer)
        self.layout = Layout(
            sources=data.sources,
            layers=len(config.model.moe_layers),
            experts=config.model.experts,
            load_balance=config.loss.load_balance,
            router_z=config.loss.router_z,
        )
        self.metrics = Metrics(
            config.output / "metrics.jsonl" if world.is_first else None,
            self.layout,
            num_steps=data.num_steps,
            num_tokens=data.tokens_through(data.num_steps),
            lock=config.lock,
        )
        self.progress = self._resume()
        self.saved_step = self.progress.step

    def run(self, stop: Callable[[], bool] = lambda: False) -> bool:
        """Train to the last step (True), or until any rank is asked to stop (False).

        Either way the last step done has a checkpoint afterwards. Raises NonFiniteError where a
        loss is no number, StoreError where a store cannot be read.
        """
        self.metrics.start(self.progress.step, self.data.tokens_through(self.progress.step))
        first = self.progress.step + 1
        try:
            for step in range(first, self.data.num_steps + 1):
                batch = self.data.batch(step)
                digests, stopping = self._share(batch, stopping=stop())
                if stopping:
                    self.save()
                    return False
                self._update(step, batch, digests)
                if step % self.config.log_every == 0 or step == first:
                    self.metrics.fetch(self.world.size)
                every = self.config.checkpoint.every_steps
                if every is not None and step % every == 0:
                    self.save()
            self.save()
        finally:
            self.metrics.close()
        return True

    def save(self) -> None:
        """Write a checkpoint of the steps done, unless one was written or read; drop those too old.

        Every rank calls it. Raises NonFiniteError, and writes nothing, after a loss that is no
        number.
        """
        self.metrics.fetch(self.world.size)
        if self.saved_step == self.progress.step:
            return
        self.metrics.sync()
        meta = checkpoint.Meta(
            step=self.progress.step,
            tokens=self.data.tokens_through(self.progress.step),
            order_hash=self.data.order_hash,
            chain=self.progress.chain.hex(),
            config=self.config.model_dump(mode="json"),
            versions=checkpoint.versions(),
        )
        tensors = checkpoint.training_tensors(self.model, self.optimizer)
        path = checkpoint.save(self.checkpoints, tensors, meta, self.world)
        self.saved_step = self.progress.step
        if self.world.is_first:
            log.info("checkpoint %s", path)
            checkpoint.prune(self.checkpoints, self.config.checkpoint.keep)

    def _update(self, step: int, batch: Batch, digests: NDArray[np.uint8]) -> None:
        tokens = self.data.tokens_through(step)
        lr = self.schedule.lr(tokens)
        set_lr(self.optimizer, lr)
        sums = self._gradients(batch)
        norm = clip_grad_norm_(self.model.parameters(), self.config.optimizer.clip or math.inf)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.progress = Progress(step, chain(self.progress.chain, digests))
        logged = self.progress.chain if step % self.config.chain_every == 0 else None
        self.metrics.add(StepFacts(step, tokens, lr, logged), self.world.sum(sums), _whole(norm))

    def _gradients(self, batch: Batch) -> Tensor:
        """Forward and backward of this rank's rows; returns its sums for the metrics.

        Cross-entropy is divided by the rank's tokens, those of masked rows included, as OLMo does:
        the weight of a token then depends neither on what is masked beside it nor on the number of
        ranks. Router losses are averaged over microbatches and see masked rows, whose tokens visit
        experts like any others. FSDP averages the gradients over the ranks.
        """
        weights = self.config.loss
        sources, masked = self.world.send(batch.sources), self.world.send(batch.masked)
        tokens = self.world.send(batch.tokens)
        labels = tokens[:, 1:].masked_fill(masked[:, None], IGNORED).split(self.config.microbatch)
        parts = tokens[:, :-1].split(self.config.microbatch)
        ce, router, visits = [], [], []
        for rows, next_tokens in zip(parts, labels, strict=True):
            logits, routings = self.model(rows)
            row_ce = cross_entropy(logits, next_tokens)
            aux = router_losses(routings, self.config.model.top_k)
            penalty = weights.load_balance * aux.load_balance + weights.router_z * aux.router_z
            (row_ce.sum() / len(batch.tokens) + penalty / len(parts)).backward()
            ce.append(row_ce.detach())
            router.append(torch.stack(aux).detach().to(sources.device) / len(parts))
            visits.append(torch.stack([r.counts for r in routings]) if routings else None)
        return self.layout.pack(sources, masked, torch.cat(ce), torch.stack(router), visits)

    def _share(self, batch: Batch, *, stopping: bool) -> tuple[NDArray[np.uint8], bool]:
        """Every rank's row digests in place order, and whether any rank is asked to stop."""
        mine = np.append(batch.digests.ravel(), np.uint8(stopping))
        every = self.world.gather_bytes(mine)
        digests = every[:, :-1].reshape(self.world.size, -1, batch.digests.shape[1])
        return digests.swapaxes(0, 1).reshape(-1, batch.digests.shape[1]), bool(every[:, -1].any())

    def _resume(self) -> Progress:
        path = resume_path(self.config, self._latest())
        if path is None:
            return Progress()
        meta = checkpoint.read_meta(path)
        checkpoint.check_fits(path, meta, self.data.order_hash, self.config.model)
        checkpoint.restore(path, self.model, self.optimizer, meta)
        if self.world.is_first:
            log.info("resumed from %s, after step %d", path, meta.step)
            for change in checkpoint.changed_settings(meta, self.config):
                log.warning("changed since that checkpoint: %s", change)
        return Progress(meta.step, bytes.fromhex(meta.chain))

    def _latest(self) -> Path | None:
        """Remove leftovers; return the output's latest checkpoint, as the first rank sees it."""
        latest = ""
        if self.world.is_first and self.checkpoints.is_dir():
            checkpoint.remove_leftovers(self.checkpoints)
            latest = "".join(map(str, checkpoint.complete(self.checkpoints)[-1:]))
        latest = self.world.broadcast_text(latest)
        return Path(latest) if latest else None


def resume_path(config: TrainConfig, latest: Path | None) -> Path | None:
    """Which checkpoint a run goes on from: the output's latest, else the one named, else none.

    Raises UsageError under `resume: never` where the output has a checkpoint.
    """
    if latest is not None and config.resume == "never":
        raise UsageError(
            f"resume: never, but {config.output} holds checkpoints, the latest {latest}. "
            "Choose another output, remove them, or set resume: auto."
        )
    return config.resume if latest is None and isinstance(config.resume, Path) else latest


def make_schedule(config: TrainConfig, data: Data) -> Cosine:
    """Resolve the schedule's spans to tokens with the lock's batch schedule."""
    schedule, peak = config.schedule, config.optimizer.lr
    warmup, total = data.schedule_ends(schedule)
    return Cosine(
        peak=peak,
        warmup_from=peak * schedule.warmup_from_frac,
        final=peak * schedule.final_frac,
        warmup=warmup,
        total=total,
    )


def describe(config: TrainConfig, data: Data, world: World) -> str:
    """One line: what is about to be trained, on what."""
    total, active = count_parameters(config.model)
    tokens = data.tokens_through(data.num_steps)
    return (
        f"{total:,} parameters ({active:,} active), {data.num_steps:,} steps, {tokens:,} tokens of "
        f"{', '.join(data.sources)}, order {data.order_hash[:12]}, "
        f"{world.size} x {world.device.type}, {torch.get_num_threads()} threads"
    )


def _whole(norm: Tensor) -> Tensor:
    return norm.full_tensor() if isinstance(norm, DTensor) else norm
