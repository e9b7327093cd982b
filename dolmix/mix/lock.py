"""The lock: a mix fully resolved and pinned, in one JSON file.

`Lock.order` holds every integer that decides which instance trains when, and nothing else;
`Lock.order_hash` is the digest of its canonical JSON. Store paths, token counts and the mix file's
text stand beside it, outside what is hashed, so that moving stores keeps the order. Normative:
docs/order.md, section 7.
"""

import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    Field,
    PrivateAttr,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
)

from dolmix.config import Name, Schema, parse
from dolmix.errors import ConfigError, LockError
from dolmix.files.commit import fingerprint, write_bytes
from dolmix.files.paths import is_remote
from dolmix.mix.schedule import BatchPhase, Schedule

if TYPE_CHECKING:
    from dolmix.shards import Store

Count = Annotated[int, Field(ge=0)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Packing = Literal["concat", "bestfit", "pad"]


class Versions(Schema):
    """Which definitions an order follows: dolmix's own, or (`olmo`) that of OLMo's loader."""

    mix: Literal["dolmix-mix-1", "olmo"] = "dolmix-mix-1"
    perm: Literal["dolmix-perm-1", "numpy-pcg64"] = "dolmix-perm-1"
    store: Literal["dolmix-store-1"] = "dolmix-store-1"


OLMO_VERSIONS = Versions(mix="olmo", perm="numpy-pcg64")


class Window(Schema):
    """Reads in runs: chunks of consecutive instances are permuted, then instances in windows."""

    chunk: Annotated[int, Field(ge=1)]
    """Consecutive instances of a source that are read together (C)."""
    chunks: Annotated[int, Field(ge=1)]
    """Chunks whose instances are permuted together (W)."""


class _Optional(Schema):
    """An object of an order, without the settings that it does not have.

    What is absent is not hashed, so an order keeps its hash when a later version can say more.
    """

    @model_serializer(mode="wrap")
    def _without_absent(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {key: value for key, value in dump(self).items() if value is not None}


class OrderSource(_Optional):
    """What an order knows of a source."""

    content_hash: Digest
    """Content hash of the store: its tokens and document ends."""
    num_instances: Count
    """Instances of the source (N_s)."""
    pack: Digest | None = None
    """Digest of the pack that lays out its instances; absent for `packing: concat`."""


class OrderStage(Schema):
    """A stage in whole instances."""

    name: Name
    """Name of the stage."""
    instances: Count
    """Size of the stage (K)."""
    order: Literal["fresh", "reuse"]
    """`fresh` goes on in each source; `reuse` reshuffles it from the start."""
    quotas: dict[Name, Count]
    """Instances per source, every source of the mix named; their sum is `instances`."""


class OrderSpec(_Optional):
    """Everything that decides an order: integers, names and hashes."""

    versions: Versions = Versions()
    seed: Count
    sequence_length: Annotated[int, Field(ge=1)]
    """Tokens that a model sees of one instance (L)."""
    packing: Packing = "concat"
    """How documents fill instances."""
    block: Annotated[int, Field(ge=1)]
    """Instances of a block (B)."""
    window: Window | None = None
    """Reads in runs; absent where every instance is drawn for itself."""
    batch_size: Annotated[tuple[BatchPhase, ...], Field(min_length=1)]
    """Batch schedule."""
    sources: dict[Name, OrderSource]
    stages: tuple[OrderStage, ...]

    @property
    def hash(self) -> str:
        """Blake2b-256 of the canonical JSON of this object."""
        return fingerprint(self.model_dump(mode="json"))

    @property
    def schedule(self) -> Schedule:
        """Batch sizes by step."""
        return Schedule(self.batch_size)

    @property
    def num_instances(self) -> int:
        """Instances of all stages together."""
        return sum(stage.instances for stage in self.stages)

    @property
    def num_steps(self) -> int:
        """Whole steps that the stages fill."""
        return self.schedule.step_of(self.num_instances) - 1


class LossPin(Schema):
    """The loss mask of a source, as made and pinned."""

    column: str
    """Kept column of the store that holds the spans which count as labels."""
    roles: tuple[str, ...] | None
    """Roles whose spans count; null counts all."""
    digest: Digest
    """Digest of the mask."""


class LockSource(_Optional):
    """Where a source lies and how much of it the mix takes; none of it decides the order."""

    path: str
    """Store directory, relative to the folder of the lock file, or a URI."""
    version: int
    """Version of the store."""
    tokens: Count
    """Tokens in the store."""
    documents: Count
    """Documents in the store."""
    epochs: tuple[float, ...]
    """Passes over the source in each stage, in training order, to four decimals."""
    loss: LossPin | None = None
    """Mask of labels that count; absent where all do."""


class LockStage(Schema):
    """What was asked of a stage."""

    asked_tokens: Count
    """Tokens in the mix file, before rounding down to whole steps."""


class Lock(Schema):
    """A resolved mix. `read_lock` gives one from a file, `dolmix.mix.resolve` from a mix."""

    format: Literal["dolmix-lock-2"] = "dolmix-lock-2"
    name: Name
    """Name of the mix."""
    order: OrderSpec
    """What is hashed: everything that decides which instance trains when."""
    order_hash: Digest
    """Hash of `order`."""
    sources: dict[Name, LockSource]
    stages: dict[Name, LockStage]
    mix: str
    """Text of the mix file."""
    overrides: tuple[str, ...] = ()
    """`key.path=value` settings that replaced those of the file."""

    _folder: Path = PrivateAttr(default_factory=Path)

    @property
    def folder(self) -> Path:
        """Folder that store paths are relative to."""
        return self._folder

    def at(self, folder: Path) -> "Lock":
        """Return the same lock, to be read from `folder`; store paths as they are."""
        copy = self.model_copy()
        copy._folder = folder  # noqa: SLF001 - its own class
        return copy

    def store_path(self, source: str) -> Path:
        """Path of a source's store, from the working directory."""
        return self.folder / self.sources[source].path

    def store_location(self, source: str) -> str:
        """Path of a source's store from the working directory, or its URI."""
        path = self.sources[source].path
        return path if is_remote(path) else str(self.store_path(source))

    def open_store(self, source: str) -> "Store":
        """Open the store of a source.

        Raises StoreError if there is none, LockError if its content is not what was pinned: both
        hashes, and what differs.
        """
        from dolmix.shards import open_store

        store = open_store(self.store_location(source))
        if store.content_hash == self.order.sources[source].content_hash:
            return store
        message = self._other_content(source, store)
        store.close()
        raise LockError(message)

    def write(self, path: str | Path) -> bool:
        """Write the lock file at once; store paths are rewritten to start from its folder.

        Returns False where the file already holds these bytes: it is left alone.
        """
        path = Path(path)
        data = self._encoded(path.parent)
        if path.is_file() and path.read_bytes() == data:
            return False
        write_bytes(path, data)
        return True

    def _encoded(self, folder: Path) -> bytes:
        value = self.model_dump(mode="json")
        for source, entry in value["sources"].items():
            if not is_remote(entry["path"]):
                entry["path"] = relative_to(folder, self.store_path(source))
        return ("".join(_laid_out(value)) + "\n").encode()

    def _other_content(self, source: str, store: "Store") -> str:
        locked = self.sources[source]
        counts = (
            ("tokens", locked.tokens, store.num_tokens),
            ("documents", locked.documents, store.num_documents),
        )
        differing = [f"{name} {was:,} -> {now:,}" for name, was, now in counts if was != now]
        return (
            f"source {source!r}: the store at {self.store_location(source)} is not the one"
            f" locked.\n"
            f"  locked  {self.order.sources[source].content_hash}\n"
            f"  found   {store.content_hash}\n"
            f"  differs in {', '.join(differing) or 'tokens of equal number'}\n"
            f"Restore the locked version, or resolve the mix again: its order changes."
        )


def read_lock(path: str | Path) -> Lock:
    """Read a lock file.

    Raises LockError if there is none, if it is no lock, if its order does not hash to `order_hash`,
    or if its numbers make no order.
    """
    path = Path(path)
    raw = _read_json(path)
    lock = _parsed(raw, path).at(path.parent)
    if lock.order.hash != lock.order_hash:
        raise LockError(
            f"{path}: order_hash is {lock.order_hash}, but its order hashes to {lock.order.hash}: "
            f"the file was changed by hand. Write the lock anew: dolmix mix resolve MIX"
        )
    for fault in _faults(lock):
        raise LockError(f"{path}: {fault}. Write the lock anew: dolmix mix resolve MIX")
    return lock


def _parsed(raw: Any, path: Path) -> Lock:
    try:
        return Lock.model_validate(raw)
    except ValidationError:
        pass  # `parse` explains what is wrong, which takes it longer than reading
    try:
        return parse(Lock, raw, origin=str(path))
    except ConfigError as error:
        raise LockError(f"{error}\nWrite the lock anew: dolmix mix resolve MIX") from None


def _laid_out(value: Any, indent: str = "\n") -> Iterator[str]:
    """Write JSON for people and diffs: whatever holds no object inside an object is one line."""
    items = list(value.values() if isinstance(value, dict) else value)
    if not any(isinstance(item, dict) for item in items) and indent != "\n":
        yield json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return
    keyed = isinstance(value, dict)
    between = "{" if keyed else "["
    for key in sorted(value) if keyed else range(len(value)):
        yield between + indent + " " + (f"{json.dumps(key)}: " if keyed else "")
        if isinstance(value[key], (dict, list)):
            yield from _laid_out(value[key], indent + " ")
        else:
            yield json.dumps(value[key], ensure_ascii=False)
        between = ","
    yield indent + ("}" if keyed else "]")


def relative_to(folder: Path, path: Path) -> str:
    """Path as seen from `folder`, with forward slashes."""
    return Path(os.path.relpath(path, folder)).as_posix()


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        raise LockError(f"{path}: no such lock. Write it: dolmix mix resolve MIX") from None
    except (ValueError, OSError) as error:
        raise LockError(
            f"{path}: not a lock, which is JSON ({error}). A mix file becomes a lock by: "
            f"dolmix mix resolve {path}"
        ) from None


def _faults(lock: Lock) -> Iterator[str]:
    """Tell where a lock contradicts itself; each check may rely on the ones before it."""
    yield from _schedule_faults(lock.order.batch_size)
    yield from _stage_faults(lock.order)
    names = {stage.name for stage in lock.order.stages}
    for source, pin in lock.order.sources.items():
        if (pin.pack is None) != (lock.order.packing == "concat"):
            said = "names no pack" if pin.pack is None else "names a pack"
            yield f"packing is {lock.order.packing!r}, and source {source!r} {said}"
    if lock.stages.keys() != names:
        yield "stages and order.stages differ"
    if lock.sources.keys() != lock.order.sources.keys():
        yield "sources and order.sources differ"
    for source, entry in lock.sources.items():
        if len(entry.epochs) != len(names):
            yield f"sources.{source}.epochs and order.stages differ"


def _schedule_faults(phases: Sequence[BatchPhase]) -> Iterator[str]:
    if phases[0].from_step != 1:
        yield f"batch_size begins at step {phases[0].from_step:,}, not 1"
    for one, following in pairwise(phases):
        if following.from_step <= one.from_step:
            yield f"batch_size goes from step {one.from_step:,} to step {following.from_step:,}"


def _stage_faults(order: OrderSpec) -> Iterator[str]:
    names, done = order.sources.keys(), 0
    for name, count in Counter(stage.name for stage in order.stages).items():
        if count > 1:
            yield f"{count} stages are named {name!r}"
    for stage in order.stages:
        total = sum(stage.quotas.values())
        if stage.quotas.keys() != names or total != stage.instances:
            yield (
                f"stage {stage.name!r} holds {stage.instances:,} instances, its quotas name "
                f"{len(stage.quotas)} of {len(names)} sources with sum {total:,}"
            )
        for source, quota in stage.quotas.items():
            if quota and not order.sources[source].num_instances:
                yield (
                    f"source {source!r} has 0 instances, and stage {stage.name!r} takes {quota:,}"
                )
        done += stage.instances
        step = order.schedule.step_of(done)
        if order.schedule.offset(step - 1) != done:
            yield f"stage {stage.name!r} ends after {done:,} instances, within step {step:,}"
