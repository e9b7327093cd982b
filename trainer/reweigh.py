"""Weights that follow the held-out losses of the sources, by way of the run's ledger.

Every `dynamic.every_steps` steps all ranks measure the loss of each source; the first rank makes
new weights of them, shares the rest of the stage out by these, in whole instances, and appends that
to `OUT/ledger.jsonl`, on disk before any rank trains by it. The others are sent the record. It
holds from the first block that no step has touched. What the ledger already says is replayed, not
measured again: the batches of a run follow from lock and ledger alone (docs/order.md, section 6).
"""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dolmix.errors import DolmixError, LedgerError, MixError
from dolmix.mix import Ledger, LedgerRecord
from dolmix.mix.ledger import texts
from dolmix.mix.updates import code_rule, new_quotas, paper_rule, room_left
from trainer.config import DynamicConfig, TrainConfig
from trainer.data import Data
from trainer.parallel import World

log = logging.getLogger(__name__)
LEDGER = "ledger.jsonl"
Measure = Callable[[], dict[str, float]]
"""Gives the held-out loss of each source, in nats a token, on every rank."""


class Reweighing:
    """The ledger of a run and the changes to come; one on each rank, called alike."""

    def __init__(self, config: TrainConfig, data: Data, world: World) -> None:
        self.config, self.data, self.world = config.dynamic, data, world
        self.path = config.output / LEDGER
        self.ledger = self._read(self.path)
        self.reached = self.ledger.order_hash
        data.follow(self.ledger)

    def resume(self, ledger_hash: str, checkpoint: Path) -> None:
        """Go on from what a checkpoint had reached; replay what the ledger says after it.

        A checkpoint of another run brings its own ledger along. Raises LedgerError, on every rank,
        if the checkpoint's records are not the beginning of the ledger.
        """
        self.reached = ledger_hash or self.ledger.order_hash
        if not len(self.ledger) and self.reached != self.ledger.order_hash:
            theirs = self._read(checkpoint.parent.parent / LEDGER)
            seen = theirs.records[: theirs.upto(self.reached)]
            self.ledger = Ledger(theirs.spec, seen)
            self._write()
        self.ledger.upto(self.reached)
        self.data.follow(self.ledger)

    def next_change(self, step: int) -> int | None:
        """Step of the next change at or after a step."""
        if self.config is None:
            return None
        every = self.config.every_steps
        return -(-step // every) * every

    def change(self, step: int, measure: Measure) -> None:
        """Change the weights after a step, or replay how they were changed then.

        Raises MixError or LedgerError, on every rank.
        """
        place = self.data.open_block(step)
        if self.config is None or place is None:  # the last block of a stage has begun
            return
        made = self.ledger.after(self.reached)
        if made is None:
            made = self._append(step, *place, measure())
        elif (made.stage, made.from_block) != place:
            raise LedgerError(
                f"{self.path} goes on at block {made.from_block:,} of stage {made.stage!r}, but "
                f"step {step:,} opens block {place[1]:,} of stage {place[0]!r}. Go on with the "
                "settings that wrote it (dynamic.every_steps), or set another output."
            )
        self.reached = made.hash
        self.data.follow(self.ledger)
        if self.world.is_first:
            log.info("weights after step %d: %s", step, _weights_line(made))

    def _append(self, step: int, stage: str, block: int, losses: dict[str, float]) -> LedgerRecord:
        """Add a record on every rank; the first computes and writes it."""
        answer: dict[str, Any] = {}
        if self.world.is_first:
            try:
                record = self._make(step, stage, block, losses)
                self._write()
                answer = {"record": record.model_dump(mode="json")}
            except (DolmixError, OSError) as error:
                answer = {"problem": f"weights after step {step:,}: {error}"}
        answer = json.loads(self.world.broadcast_text(json.dumps(answer)))
        if "problem" in answer:
            raise MixError(answer["problem"])
        if not self.world.is_first:
            sent = LedgerRecord.model_validate(answer["record"])
            self.ledger = Ledger(self.ledger.spec, [*self.ledger.records, sent])
        return self.ledger.records[-1]

    def _make(self, step: int, stage: str, block: int, losses: dict[str, float]) -> LedgerRecord:
        assert self.config is not None
        losses = {source: losses[source] for source in self.data.sources}
        weights = self._weights(stage)
        changed = new_weights(self.config, weights, losses)
        room = room_left(self.data.lock, self.ledger, stage, block)
        inputs: dict[str, Any] = {
            "step": step,
            "rule": self.config.rule,
            "weights": texts(weights),
            "losses": texts(losses),
            "references": texts(self.config.references),
            "new_weights": texts(changed),
        }
        if self.config.rule == "code":
            inputs |= {"eta": repr(self.config.eta), "uniform": repr(self.config.uniform)}
        quotas = new_quotas(changed, self.ledger.rest(stage, block), room=room)
        return self.ledger.append(stage, block, quotas, inputs=inputs)

    def _weights(self, stage: str) -> dict[str, float]:
        """Weights of a stage as they are: by its last record, or the lock's quotas."""
        for record in reversed(self.ledger.records):
            if record.stage == stage:
                weights = record.inputs.get("new_weights", record.quotas)
                return {source: float(weight) for source, weight in weights.items()}
        (this,) = (known for known in self.data.lock.order.stages if known.name == stage)
        return {source: quota / this.instances for source, quota in this.quotas.items()}

    def _read(self, path: Path) -> Ledger:
        """Read a ledger as the first rank sees it."""
        text = path.read_text() if self.world.is_first and path.is_file() else ""
        data = self.world.broadcast_text(text).encode()
        return Ledger.parse(data, self.data.lock.order, origin=str(path))

    def _write(self) -> None:
        if self.world.is_first:
            self.ledger.write(self.path)


def new_weights(
    config: DynamicConfig, weights: dict[str, float], losses: dict[str, float]
) -> dict[str, float]:
    """Weights that follow from losses by the configured rule."""
    if config.rule == "paper":
        return paper_rule(weights, losses, config.references)
    return code_rule(weights, losses, config.references, eta=config.eta, uniform=config.uniform)


def _weights_line(record: LedgerRecord) -> str:
    """Say what a record gives to the rest of its stage."""
    rest = sum(record.quotas.values())
    shares = (f"{name} {quota / rest:.4f}" for name, quota in record.quotas.items())
    return f"{', '.join(shares)} of stage {record.stage} from block {record.from_block:,} on"
