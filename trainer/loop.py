"""The training loop: batch, forward and backward by microbatch, clip, update, tell, save.

On one machine the state after a step is a function of the configuration, the lock and the number of
ranks, wherever the run was interrupted. Nothing inside a step waits for the device: losses are
fetched after the first step, every `log_every` steps and before each checkpoint, so no checkpoint
holds weights that a non-finite loss has touched.
"""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dolmix.errors import UsageError
from dolmix.order import CHAIN_START, chain
from trainer import checkpoint
from trainer.attention import Documents
from trainer.config import TrainConfig
from trainer.data import Batch, Data
from trainer.loss import explain
from trainer.metrics import Layout, Metrics, StepFacts
from trainer.model import Model, count_parameters, initial_value
from trainer.optim import AdamW
from trainer.parallel import Draw, World, build_model
from trainer.prefetch import ahead
from trainer.schedule import Schedule
from trainer.step import Rows, Step
from trainer.weights import open_weights

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

    def __init__(
        self, config: TrainConfig, data: Data, world: World, *, draw: Draw = initial_value
    ) -> None:
        self.config, self.data, self.world = config, data, world
        self.checkpoints = config.output / "checkpoints"
        self.schedule = make_schedule(config, data)
        if config.init is not None:
            draw = initial_weights(config, config.init)
        self.model = build_model(config, world, draw=draw)
        self.optimizer = AdamW(self.model.parameters(), config.optimizer)
        self.layout = Layout(
            sources=data.sources,
            layers=len(config.model.moe_layers),
            experts=config.model.experts,
            load_balance=config.loss.load_balance,
            router_z=config.loss.router_z,
        )
        self.step = Step(config, self.model, self.optimizer, self.layout, world)
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
            for step, batch in self._batches(first):
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

    def _batches(self, first: int) -> Iterator[tuple[int, Batch]]:
        """Batches of the steps to do, read ahead."""
        steps = range(first, self.data.num_steps + 1)
        return zip(steps, ahead(map(self.data.batch, steps)), strict=True)

    def _update(self, step: int, batch: Batch, digests: NDArray[np.uint8]) -> None:
        tokens = self.data.tokens_through(step)
        lr = self.schedule.lr(tokens)
        if self.config.model.router.noise:  # the same noise however the run came to this step
            torch.manual_seed(hash((self.config.seed, step, self.world.rank)) % 2**63)
        sums, norm = self.step.run(self._send(batch), lr)
        self.progress = Progress(step, chain(self.progress.chain, digests))
        logged = self.progress.chain if step % self.config.chain_every == 0 else None
        self.metrics.add(StepFacts(step, tokens, lr, logged), sums, norm)

    def _send(self, batch: Batch) -> Rows:
        send = self.world.send
        documents = None
        if batch.documents is not None:
            documents = tuple(Documents(send(d.ids), send(d.starts)) for d in batch.documents)
        counted = None if batch.labels is None else send(batch.labels)
        return Rows(send(batch.tokens), send(batch.sources), send(batch.masked), documents, counted)

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


def initial_weights(config: TrainConfig, path: Path) -> Draw:
    """Read initial values from a folder of weights. Raises UsageError for another model's."""
    weights = open_weights(path)
    with torch.device("meta"):
        ours, theirs = (
            {name: p.shape for name, p in Model(model).named_parameters()}
            for model in (config.model, weights.model)
        )
    if wrong := [n for n in ours.keys() | theirs.keys() if ours.get(n) != theirs.get(n)]:
        name = min(wrong)
        raise UsageError(
            f"init: {path} is another model: {len(wrong):,} tensors differ, such as {name}, "
            f"{tuple(theirs.get(name, ()))} there and {tuple(ours.get(name, ()))} in this "
            "configuration. Set model to what it is."
        )

    def read(name: str, shape: torch.Size, *, seed: int, std: float) -> Tensor:
        del shape, seed, std
        return weights.read(name)

    return read


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


def make_schedule(config: TrainConfig, data: Data) -> Schedule:
    """Resolve the schedule's spans to tokens with the lock's batch schedule."""
    schedule, peak = config.schedule, config.optimizer.lr
    warmup, total = data.schedule_ends(schedule)
    return Schedule(
        curve=schedule.type,
        peak=peak,
        warmup_from=peak * schedule.warmup_from_frac,
        final=peak * schedule.final_frac,
        warmup=warmup,
        total=total,
        decay=data.tokens_in(schedule.decay) if schedule.decay else 0,
    )


def describe(config: TrainConfig, data: Data, world: World) -> str:
    """One line: what is about to be trained on what, and the conventions of its losses."""
    total, active = count_parameters(config.model)
    tokens = data.tokens_through(data.num_steps)
    return (
        f"{total:,} parameters ({active:,} active), {data.num_steps:,} steps, {tokens:,} tokens of "
        f"{', '.join(data.sources)}, order {data.order_hash[:12]}, "
        f"{world.size} x {world.device.type}, {torch.get_num_threads()} threads; "
        f"{explain(config.loss, config.model.top_k)}"
    )
