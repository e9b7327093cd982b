"""The training loop: batch, forward and backward by microbatch, clip, update, tell, save.

On one machine the state after a step is a function of the configuration, the lock, the run's ledger
and the number of ranks, wherever the run was interrupted. Nothing inside a step waits for the
device: losses are fetched after the first step, every `log_every` steps and before each checkpoint.
No checkpoint holds a weight that is no finite number.
"""

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.distributed.tensor import DTensor

from dolmix.errors import DolmixError, UsageError
from dolmix.mix import OrderSpec
from dolmix.order import CHAIN_START, chain
from dolmix.shards.prefetch import prefetched
from trainer import checkpoint
from trainer.attention import Documents
from trainer.config import TrainConfig
from trainer.data import Batch, Data
from trainer.evals import evaluate, is_evaluated, source_losses
from trainer.fits import schedule_ends, tokens_in
from trainer.guard import GuardState, SkippedError, Skips
from trainer.loss import explain
from trainer.metrics import Layout, Metrics, StepFacts
from trainer.model import Model, count_parameters, initial_value
from trainer.optim import AdamW
from trainer.parallel import Draw, World, build_model
from trainer.profiling import open_profile
from trainer.reweigh import Reweighing
from trainer.runfile import write_run
from trainer.saving import Saver
from trainer.schedule import Schedule
from trainer.sinks import open_sinks
from trainer.speed import Speed
from trainer.step import Rows, Step
from trainer.tensor_files import DamagedError
from trainer.watch import WAITING, Watch
from trainer.weights import open_weights, values_of

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Progress:
    """How far a run is."""

    step: int = 0
    """Updates done."""
    chain: bytes = CHAIN_START
    """Batch proof of the steps done."""


class NonFiniteError(DolmixError):
    """Weights that are no finite numbers."""


class Training:
    """One rank's part of a run; made on every rank, and ready to go on where the run stood.

    Raises UsageError, LockError, LedgerError or ConfigError if there is a checkpoint that it cannot
    go on from.
    """

    def __init__(
        self, config: TrainConfig, data: Data, world: World, *, draw: Draw = initial_value
    ) -> None:
        self.config, self.data, self.world = config, data, world
        self.checkpoints = config.output / "checkpoints"
        self.schedule = make_schedule(config, data.lock.order)
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
        self.speed = Speed.of(config, world, data.sequence_length)
        self.metrics = Metrics(
            open_sinks(config) if world.is_first else None,
            self.layout,
            self.speed,
            num_steps=data.num_steps,
            num_tokens=data.tokens_through(data.num_steps),
        )
        self.watch = Watch(
            config.output / "watch",
            rank=world.rank,
            size=world.size,
            timeout_s=config.faults.timeout_s,
        )
        self.saver = Saver(
            self.checkpoints, config.checkpoint, world, on_progress=self._tell_waiting
        )
        self.reweighing = Reweighing(config, data, world)
        self.profile = open_profile(config, world, self.model, self.metrics.leave_out)
        self.skips = Skips(config.faults, GuardState())
        self.progress = self._resume()
        self.saved_step = self.progress.step
        self._losses: tuple[int, dict[str, float]] = (0, {})

    def run(self, stop: Callable[[], bool] = lambda: False) -> bool:
        """Train to the last step (True), or until any rank is asked to stop (False).

        Either way the last step done has a checkpoint afterwards. Raises SkippedError where too
        many updates were left out, NonFiniteError where weights are no numbers, CheckpointError
        where a checkpoint cannot be written, StoreError where a store cannot be read, UsageError
        where metrics cannot be sent where they are to go.
        """
        try:
            self._start_metrics()
            with self.watch:
                return self._run(stop)
        finally:
            self.saver.close()
            self.metrics.close()

    def _start_metrics(self) -> None:
        """Begin the metrics; what fails on the first rank is an error on all."""
        step, problem = self.progress.step, ""
        try:
            self.metrics.start(step, self.data.tokens_through(step), self.skips.total)
            if self.world.is_first:
                write_run(self.config, self.data, self.world, self.speed)
        except (UsageError, OSError) as error:
            problem = str(error)
        if problem := self.world.broadcast_text(problem):
            raise UsageError(problem)

    def _run(self, stop: Callable[[], bool]) -> bool:
        first = self.progress.step + 1
        batches = self._batches(first)
        if self.profile is not None:
            batches = self.profile.around(batches, first)
        for step, batch in batches:
            self.watch.at(step, f"{WAITING} for the other ranks")
            digests, stopping = self._share(batch, stopping=stop())
            if stopping:
                self._save_last()
                return False
            self.watch.at(step, "forward, backward and update")
            self._update(step, batch, digests)
            if is_evaluated(self.config.evaluation, step, self.data.num_steps):
                self._evaluate()
            if step == self.reweighing.next_change(step):
                self.reweighing.change(step, self._measure)
            if step % self.config.log_every == 0 or step == first:
                self._fetch()
            if checkpoint.is_due(self.config.checkpoint, step):
                self.save()
            self.watch.at(step + 1, "reading its batch")
        self._save_last()
        return True

    def _save_last(self) -> None:
        self.save()
        self._tell_waiting()
        self.saver.wait()

    def _tell_waiting(self) -> None:
        self.watch.at(self.progress.step, f"{WAITING} for a checkpoint to be written")

    def save(self) -> None:
        """Begin a checkpoint of the steps done, unless one was begun or read.

        Every rank calls it. Raises NonFiniteError, and writes nothing, where a weight is no number,
        and CheckpointError if the checkpoint before could not be written.
        """
        self._fetch()
        if self.saved_step == self.progress.step:
            return
        self._tell_waiting()
        tensors = checkpoint.training_tensors(self.model, self.optimizer)
        self._check_finite(tensors)
        self.metrics.sync()
        meta = checkpoint.Meta(
            step=self.progress.step,
            tokens=self.data.tokens_through(self.progress.step),
            order_hash=self.data.lock.order_hash,
            order=self.data.lock.order.model_dump(mode="json"),
            tokenizer=self.data.tokenizer,
            ledger_hash=self.reweighing.reached,
            chain=self.progress.chain.hex(),
            guard=self.step.guard.state(self.skips),
            config=self.config.model_dump(mode="json"),
            versions=checkpoint.versions(),
        )
        self.saver.begin(tensors, meta)
        self.saved_step = self.progress.step

    def _batches(self, first: int) -> Iterator[tuple[int, Batch]]:
        """Batches of the steps to do, read ahead, but never past a change of the weights."""
        while first <= self.data.num_steps:
            change = self.reweighing.next_change(first) or self.data.num_steps
            steps = range(first, min(change, self.data.num_steps) + 1)
            yield from zip(steps, prefetched(self.data.batch, steps), strict=True)
            first = steps.stop

    def _update(self, step: int, batch: Batch, digests: NDArray[np.uint8]) -> None:
        tokens = self.data.tokens_through(step)
        lr = self.schedule.lr(tokens)
        if self.data.begins_stage(step):
            self.step.guard.begin_stage()
        if self.config.model.router.noise:  # the same noise however the run came to this step
            torch.manual_seed(hash((self.config.seed, step, self.world.rank)) % 2**63)
        outcome = self.step.run(self._send(batch), lr)
        self.progress = Progress(step, chain(self.progress.chain, digests))
        logged = self.progress.chain if step % self.config.chain_every == 0 else None
        self.metrics.add(StepFacts(step, tokens, lr, logged), *outcome)

    def _send(self, batch: Batch) -> Rows:
        send = self.world.send
        documents = None
        if batch.documents is not None:
            documents = tuple(Documents(send(d.ids), send(d.starts)) for d in batch.documents)
        counted = None if batch.labels is None else send(batch.labels)
        return Rows(send(batch.tokens), send(batch.sources), send(batch.masked), documents, counted)

    def _share(self, batch: Batch, *, stopping: bool) -> tuple[NDArray[np.uint8], bool]:
        """Every rank's row digests in place order, and whether any rank is asked to stop.

        Raises CheckpointError, on every rank, where any knows of one that could not be written.
        """
        flags = np.array([stopping, self.saver.failed], np.uint8)
        every = self.world.gather_bytes(np.append(batch.digests.ravel(), flags))
        if every[:, -1].any():
            self.saver.wait()
        digests = every[:, :-2].reshape(self.world.size, -1, batch.digests.shape[1])
        return digests.swapaxes(0, 1).reshape(-1, batch.digests.shape[1]), bool(every[:, -2].any())

    def _fetch(self) -> None:
        """Fetch what the device knows of the steps done. Raises SkippedError, on every rank."""
        lines = self.metrics.fetch(self.world.size)
        skipped = [line for line in lines if line["skipped"]]
        self.skips.note(self.progress.step, [line["step"] for line in skipped])
        for line in skipped if self.world.is_first else ():
            log.warning("%s. What was in its batch: %s", _left_out(line), self._show(line["step"]))
        if skipped and self.skips.too_many:
            raise SkippedError(
                f"{_left_out(skipped[-1])}: {len(self.skips.recent)} of the last "
                f"{self.config.faults.window} steps, more than faults.max_skipped allows "
                f"({self.config.faults.max_skipped}). Training stopped; checkpoints are whole. "
                f"See what was in the first one's batch: {self._show(self.skips.recent[0])}"
            )

    def _show(self, step: int) -> str:
        """Command that shows the documents of a step."""
        command = f"dolmix order show {self.config.lock} --step {step}"
        has_ledger = len(self.reweighing.ledger) > 0
        return f"{command} --ledger {self.reweighing.path}" if has_ledger else command

    def _check_finite(self, tensors: Mapping[str, Tensor]) -> None:
        local = [t.to_local() if isinstance(t, DTensor) else t for t in tensors.values()]
        wrong = torch.stack([(~t.isfinite()).sum() for t in local]).sum()
        if count := int(self.world.sum(wrong)):
            step = self.skips.recent[0] if self.skips.recent else self.progress.step
            raise NonFiniteError(
                f"after step {self.progress.step}, {count:,} numbers among weights and moments are "
                "not finite; no checkpoint was written. Lower optimizer.lr, or see what was in the "
                f"batch: {self._show(step)}"
            )

    def _evaluate(self) -> None:
        """Measure the model on all that there is, and write that after the row of the step."""
        self._fetch()
        step, data, began = self.progress.step, self.data, time.perf_counter()
        found = evaluate(
            self.model, data.held_out, data.tasks, self.config, self.world, on_progress=self._tell
        )
        self._losses = (step, {source: found[f"loss/{source}"] for source in data.held_out})
        seconds = time.perf_counter() - began
        self.metrics.add_evaluation(step, data.tokens_through(step), found, seconds)

    def _measure(self) -> dict[str, float]:
        """Held-out loss of each source, measured once a step."""
        step, losses = self._losses
        if step == self.progress.step:
            return losses
        return source_losses(
            self.model, self.data.held_out, self.config, self.world, on_progress=self._tell
        )

    def _tell(self, name: str) -> None:
        self.watch.at(self.progress.step, f"evaluating {name}")

    def _resume(self) -> Progress:
        """Read the latest checkpoint that is whole; say so where that is not the latest one."""
        while True:
            found = self._latest()
            path = resume_path(self.config, found)
            if path is None:
                return Progress()
            try:
                return self._restore(path)
            except DamagedError as error:
                self._fall_back(path, error, is_ours=found is not None)

    def _restore(self, path: Path) -> Progress:
        meta = checkpoint.read_meta(path)
        checkpoint.check_fits(path, meta, self.data.lock.order, self.config.model)
        checkpoint.restore(path, self.model, self.optimizer, meta)
        self.reweighing.resume(meta.ledger_hash, path)
        self.step.guard.remember(meta.guard)
        self.skips = Skips(self.config.faults, meta.guard)
        if self.world.is_first:
            log.info("resumed from %s, after step %d", path, meta.step)
            for change in checkpoint.changed_settings(meta, self.config):
                log.warning("changed since that checkpoint: %s", change)
        return Progress(meta.step, bytes.fromhex(meta.chain))

    def _fall_back(self, path: Path, error: DamagedError, *, is_ours: bool) -> None:
        """Set a damaged checkpoint aside, if there is one before it; else raise what was wrong."""
        moved = ""
        if self.world.is_first and is_ours and len(checkpoint.complete(self.checkpoints)) > 1:
            moved = str(checkpoint.set_aside(path, self.config.output))
            log.warning("%s", error)
            log.warning("moved to %s; going on from the checkpoint before it", moved)
        if not self.world.broadcast_text(moved):
            raise error

    def _latest(self) -> Path | None:
        """Remove leftovers; return the output's latest checkpoint, as the first rank sees it."""
        latest = ""
        if self.world.is_first and self.checkpoints.is_dir():
            checkpoint.remove_leftovers(self.checkpoints)
            latest = "".join(map(str, checkpoint.complete(self.checkpoints)[-1:]))
        latest = self.world.broadcast_text(latest)
        return Path(latest) if latest else None


def _left_out(line: Mapping[str, Any]) -> str:
    loss, norm = line["loss"], line["grad_norm"]
    return f"step {line['step']}: update left out, loss {loss:.4g}, gradient norm {norm:.4g}"


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

    return values_of(weights)


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


def make_schedule(config: TrainConfig, order: OrderSpec) -> Schedule:
    """Resolve the schedule's spans to tokens with the lock's batch schedule."""
    schedule, peak = config.schedule, config.optimizer.lr
    warmup, total = schedule_ends(schedule, order)
    return Schedule(
        curve=schedule.type,
        peak=peak,
        warmup_from=peak * schedule.warmup_from_frac,
        final=peak * schedule.final_frac,
        warmup=warmup,
        total=total,
        decay=tokens_in(schedule.decay, order) if schedule.decay else 0,
    )


def describe(config: TrainConfig, data: Data, world: World) -> str:
    """One line: what is about to be trained on what, and the conventions of its losses."""
    total, active = count_parameters(config.model)
    tokens = data.tokens_through(data.num_steps)
    return (
        f"{total:,} parameters ({active:,} active), {data.num_steps:,} steps, {tokens:,} tokens of "
        f"{', '.join(data.sources)}, order {data.lock.order_hash[:12]}, "
        f"{world.size} x {world.device.type}, {torch.get_num_threads()} threads; "
        f"{explain(config.loss, config.model.top_k)}; "
        f"{Speed.of(config, world, data.sequence_length).explain()}"
    )
