"""The ledger of a run: quotas that changed while it trained, as an append-only chain of records.

A record cuts its stage at the start of a block that no step has touched yet and gives the rest of
the stage new quotas. It holds the integers that decide, what they were computed from, and the hash
of the record before it, so the order of a run stays a pure function of its lock and its ledger, and
nobody can change a record unseen. Rank 0 appends; who resumes replays what is there. Normative:
docs/order.md, section 6.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, ValidationError

from dolmix.config import Name, Schema
from dolmix.errors import LedgerError
from dolmix.files.commit import canonical_json, fingerprint, write_bytes
from dolmix.mix.counts import Cut, StageCounts
from dolmix.mix.lock import Count, Digest, OrderSpec


class LedgerRecord(Schema):
    """New quotas for the rest of a stage."""

    stage: Name
    """Stage whose rest they share out."""
    from_block: Annotated[int, Field(ge=0)]
    """First block that they hold for; blocks count from 0 in their stage."""
    quotas: dict[Name, Count]
    """Instances per source, every source of the mix named; their sum is the rest of the stage."""
    inputs: dict[str, Any]
    """What they were computed from, for people; JSON without floats (see `texts`)."""
    prev: Digest
    """Hash of the record before it; of the first record, the order hash."""
    hash: Digest
    """Hash of the canonical JSON of the other fields."""


class Ledger:
    """Records of one run, in the order in which they were made.

    A run that evaluates after `step` and has reached the ledger hash `reached`:

        stage, block = order.open_block(step)
        room = room_left(lock, ledger, stage, block)
        quotas = new_quotas(weights, ledger.rest(stage, block), room=room)
        record = ledger.append(stage, block, quotas, inputs=inputs, after=reached)
        order, reached = order.with_ledger(ledger), record.hash

    Raises LedgerError for records that do not follow one another from the order's hash, whose hash
    is not theirs, or whose numbers make no order: what was forged, cut or mixed up.
    """

    def __init__(self, spec: OrderSpec, records: Iterable[LedgerRecord] = ()) -> None:
        self.spec = spec
        self.order_hash = spec.hash
        self._records: list[LedgerRecord] = []
        for record in records:
            self._check(record)
            self._records.append(record)

    @classmethod
    def read(cls, path: str | Path, spec: OrderSpec) -> Self:
        """Read the ledger of an order, one record a line; no file is an empty ledger.

        Raises LedgerError as the class does, and for a line that is no record.
        """
        path = Path(path)
        data = path.read_bytes() if path.is_file() else b""
        return cls.parse(data, spec, origin=str(path))

    @classmethod
    def parse(cls, data: bytes, spec: OrderSpec, *, origin: str) -> Self:
        """Read the bytes of a ledger; errors, which are those of `read`, name `origin`."""
        records = []
        for number, line in enumerate(data.splitlines(), 1):
            try:
                records.append(LedgerRecord.model_validate(json.loads(line)))
            except (ValidationError, ValueError) as error:
                raise LedgerError(f"{origin}, line {number}: {_said(error)}") from None
        try:
            return cls(spec, records)
        except LedgerError as error:
            raise LedgerError(f"{origin}: {error}") from None

    def write(self, path: str | Path) -> None:
        """Write all records at once: a reader sees the file before or after, nothing between."""
        lines = [canonical_json(record.model_dump(mode="json")) for record in self._records]
        write_bytes(Path(path), b"".join(line + b"\n" for line in lines))

    def __len__(self) -> int:
        return len(self._records)

    @property
    def records(self) -> tuple[LedgerRecord, ...]:
        """Every record, first to last."""
        return tuple(self._records)

    @property
    def hash(self) -> str:
        """Hash of the last record; of an empty ledger, the order hash."""
        return self._records[-1].hash if self._records else self.order_hash

    def upto(self, ledger_hash: str) -> int:
        """Count the records that a checkpoint with this ledger hash had seen.

        Raises LedgerError if the checkpoint's ledger is not the beginning of this one.
        """
        hashes = [self.order_hash, *(record.hash for record in self._records)]
        if ledger_hash not in hashes:
            raise LedgerError(
                f"the checkpoint saw a ledger that ends in {ledger_hash}, which is none of this "
                f"ledger's {len(hashes) - 1:,} records and not its order {self.order_hash}. Resume "
                f"with the run's own ledger, or from a checkpoint of this one."
            )
        return hashes.index(ledger_hash)

    def after(self, ledger_hash: str) -> LedgerRecord | None:
        """Record that comes next after a state of the run, None at the tip.

        A run that resumes asks this before it computes anything: what was recorded is replayed.
        """
        seen = self.upto(ledger_hash)
        return self._records[seen] if seen < len(self._records) else None

    def rest(self, stage: str, from_block: int) -> int:
        """Instances of a stage from a block on: what the quotas of a record sum to.

        Raises LedgerError for a stage or a block that the order does not have.
        """
        sizes = {known.name: known.instances for known in self.spec.stages}
        if stage not in sizes:
            raise LedgerError(f"there is no stage {stage!r}; stages are {', '.join(sizes)}")
        rest = sizes[stage] - from_block * self.spec.block
        if rest <= 0:
            raise LedgerError(
                f"stage {stage!r} has {sizes[stage]:,} instances in blocks of "
                f"{self.spec.block:,}; there is no block {from_block:,}"
            )
        return rest

    def append(
        self,
        stage: str,
        from_block: int,
        quotas: Mapping[str, int],
        *,
        inputs: Mapping[str, Any],
        after: str | None = None,
    ) -> LedgerRecord:
        """Add a record, or return the one that was made here before.

        after   ledger hash that the run has reached, by default the tip. Where the ledger goes on
                from there, its next record is returned and `quotas` and `inputs` are not looked at

        Raises LedgerError for numbers that make no order, and where the record that was made after
        `after` cuts another stage or block than this one.
        """
        made = self.after(self.hash if after is None else after)
        if made is not None:
            if (made.stage, made.from_block) != (stage, from_block):
                raise LedgerError(
                    f"the ledger goes on at block {made.from_block:,} of stage {made.stage!r}, the "
                    f"run asks for block {from_block:,} of stage {stage!r}. Resume with the "
                    f"settings that wrote it (when weights change, batch sizes), or write another."
                )
            return made
        fields = {
            "stage": stage,
            "from_block": from_block,
            "quotas": dict(quotas),
            "inputs": dict(inputs),
            "prev": self.hash,
        }
        try:
            record = LedgerRecord(**fields, hash=_hash_of(fields))
        except ValidationError as error:
            raise LedgerError(_said(error)) from None
        self._check(record)
        self._records.append(record)
        return record

    def _check(self, record: LedgerRecord) -> None:
        fields = record.model_dump(mode="json", exclude={"hash"})
        if record.prev != self.hash:
            raise LedgerError(
                f"record {len(self) + 1:,} follows {record.prev}, but the ledger stands at "
                f"{self.hash}: it is of another lock, or records were taken out or put in"
            )
        if (true := _hash_of(fields)) != record.hash:
            raise LedgerError(
                f"record {len(self) + 1:,} says that its hash is {record.hash}, but it hashes to "
                f"{true}: it was changed after it was written"
            )
        for fault in self._faults(record):
            raise LedgerError(f"record {len(self) + 1:,}: {fault}")

    def _faults(self, record: LedgerRecord) -> Iterator[str]:
        """Tell where a record's numbers make no order; each check may rely on those before it."""
        if self.spec.versions.mix != "dolmix-mix-1":
            yield f"an order of {self.spec.versions.mix!r} has no weights that could change"
        names = [stage.name for stage in self.spec.stages]
        rest, total = self.rest(record.stage, record.from_block), sum(record.quotas.values())
        if record.quotas.keys() != self.spec.sources.keys() or total != rest:
            yield (
                f"{rest:,} instances are left of stage {record.stage!r} from block "
                f"{record.from_block:,} on; the quotas name {len(record.quotas)} of "
                f"{len(self.spec.sources)} sources with sum {total:,}"
            )
        for source, quota in record.quotas.items():
            if quota and not self.spec.sources[source].num_instances:
                yield f"source {source!r} has 0 instances, and the record takes {quota:,}"
        if self._records:
            last = self._records[-1]
            if (names.index(record.stage), record.from_block) < (
                names.index(last.stage),
                last.from_block,
            ):
                yield (
                    f"it cuts stage {record.stage!r} at block {record.from_block:,}, before the "
                    f"last record, which cuts stage {last.stage!r} at block {last.from_block:,}"
                )


def texts(values: Mapping[str, float]) -> dict[str, str]:
    """Numbers as a record's `inputs` keep them: their shortest decimal text, by name."""
    return {name: repr(float(value)) for name, value in sorted(values.items())}


def stage_counts(spec: OrderSpec, stage: int, records: Iterable[LedgerRecord] = ()) -> StageCounts:
    """Cumulative counts of a stage of an order, as the records of a ledger change them."""
    this = spec.stages[stage]
    cuts = [Cut(r.from_block, r.quotas) for r in records if r.stage == this.name]
    return StageCounts(this.instances, spec.block, this.quotas, cuts)


def _hash_of(fields: Mapping[str, Any]) -> str:
    if (number := _some_float(fields)) is not None:
        raise LedgerError(f"a record holds {number!r}: write numbers with decimals as text")
    try:
        return fingerprint(fields)
    except (TypeError, ValueError) as error:
        raise LedgerError(f"the inputs of a record are not JSON: {error}") from None


def _some_float(value: Any) -> float | None:
    """Find a float in nested JSON: its digits would depend on who writes them."""
    if isinstance(value, float):
        return value
    below = value.values() if isinstance(value, Mapping) else value
    if isinstance(below, str) or not isinstance(below, Iterable):
        return None
    return next((found for v in below if (found := _some_float(v)) is not None), None)


def _said(error: ValueError) -> str:
    if not isinstance(error, ValidationError):
        return f"not JSON: {error}"
    first = error.errors(include_url=False)[0]
    return f"not a record: {'.'.join(map(str, first['loc']))}: {first['msg']}"
