"""From a mix and its stores to a lock.

Opens every store, pins its content hash, counts its instances, shares out the stages. The same mix
over the same stores gives the same lock, to the byte; nothing of the machine enters it.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from dolmix.errors import ConfigError, MixError, StoreError
from dolmix.files.paths import is_remote
from dolmix.mix.caps import plan_stages
from dolmix.mix.lock import (
    OLMO_VERSIONS,
    Lock,
    LockSource,
    LockStage,
    LossPin,
    OrderSource,
    OrderSpec,
    OrderStage,
    Versions,
)
from dolmix.mix.lock import relative_to as path_from
from dolmix.mix.olmo import count_olmo_instances, plan_olmo
from dolmix.mix.spec import Mix, MixSource, load_mix

if TYPE_CHECKING:
    from dolmix.shards import Store


def resolve_file(
    path: str | Path, overrides: Sequence[str] = (), *, folder: Path | None = None
) -> Lock:
    """Resolve a mix file; the lock's store paths start from `folder`, by default the file's own.

    Store paths in a mix file start from the working directory. Raises as `load_mix` and `resolve`.
    """
    path = Path(path)
    mix = load_mix(path, overrides)
    text = path.read_text(encoding="utf-8")
    return resolve(mix, text, folder or path.parent, overrides=overrides)


def resolve(mix: Mix, text: str, base: Path, *, overrides: Sequence[str] = ()) -> Lock:
    """Pin the stores of a mix and share out its stages.

    text       the mix file, kept in the lock as it is
    base       folder of the lock; store paths in the lock start from it
    overrides  settings that replaced those of `text`, kept in the lock

    Raises ConfigError for a mix that contradicts itself, StoreError for stores that cannot be
    opened, MixError where supply, caps or tokenizers do not allow the mix.
    """
    if problems := mix.problems():
        raise ConfigError(mix.name, problems)
    with ExitStack() as stack:
        stores = _open_stores(mix, stack)
        _check_tokenizers(mix, stores)
        pins = _pins(mix, stores)
        supply = {s: pin.num_instances for s, pin in pins.items()}
        stages = plan_olmo(mix, supply) if mix.order == "olmo" else plan_stages(mix, supply)
        order = OrderSpec(
            versions=OLMO_VERSIONS if mix.order == "olmo" else Versions(),
            seed=mix.seed,
            sequence_length=mix.sequence_length,
            packing=mix.packing,
            block=mix.block,
            window=mix.window,
            batch_size=mix.phases,
            sources=pins,
            stages=stages,
        )
        return Lock(
            name=mix.name,
            order=order,
            order_hash=order.hash,
            sources={
                s: _lock_source(mix.sources[s], store, base, _epochs(s, pins[s], stages))
                for s, store in stores.items()
            },
            stages={stage.name: LockStage(asked_tokens=stage.tokens) for stage in mix.stages},
            mix=text,
            overrides=tuple(overrides),
        ).at(base)


def _open_stores(mix: Mix, stack: ExitStack) -> dict[str, "Store"]:
    from dolmix.shards import open_store

    stores, failures = {}, []
    for name in sorted(mix.sources):
        try:
            stores[name] = stack.enter_context(open_store(mix.sources[name].store))
        except StoreError as error:
            failures.append(f"sources.{name}.store: {error}")
    if failures:
        raise StoreError("\n".join(failures))
    return stores


def _check_tokenizers(mix: Mix, stores: Mapping[str, "Store"]) -> None:
    """Refuse stores of different vocabularies: equal ids would mean different text."""
    pins: dict[str, list[str]] = {}
    for name, store in stores.items():
        pins.setdefault(store.manifest.tokenizer.digest, []).append(name)
    if len(pins) > 1:
        each = "\n".join(f"  {digest}  {', '.join(names)}" for digest, names in pins.items())
        raise MixError(
            f"mix {mix.name!r}: its sources were written with {len(pins)} tokenizers:\n{each}\n"
            f"Tokenize them with one tokenizer (`tokenizer.path` of their pipelines)."
        )


def _pins(mix: Mix, stores: Mapping[str, "Store"]) -> dict[str, OrderSource]:
    pins = {}
    for name, store in stores.items():
        pin = _pin(mix, store)
        if pin.num_instances == 0:
            raise MixError(
                f"source {name!r} has {store.num_tokens:,} tokens in {store.location}, and one "
                f"instance needs {mix.sequence_length + 1:,}. Lower sequence_length or take the "
                f"source out."
            )
        pins[name] = pin
    return pins


def _pin(mix: Mix, store: "Store") -> OrderSource:
    """Count a store's instances, by arithmetic or, for packings that need one, by its pack."""
    from dolmix.shards import count_instances

    if mix.packing != "concat":
        from dolmix.shards.packs import make_pack

        pack = make_pack(store, sequence_length=mix.sequence_length, packing=mix.packing)
        return OrderSource(
            content_hash=store.content_hash, num_instances=pack.num_instances, pack=pack.digest
        )
    if mix.order == "olmo":
        count = count_olmo_instances(store.num_tokens, mix.sequence_length)
    else:
        count = count_instances(store.num_tokens, mix.sequence_length)
    return OrderSource(content_hash=store.content_hash, num_instances=count)


def _epochs(source: str, pin: OrderSource, stages: Sequence[OrderStage]) -> tuple[float, ...]:
    return tuple(round(stage.quotas[source] / pin.num_instances, 4) for stage in stages)


def _lock_source(
    source: MixSource, store: "Store", base: Path, epochs: tuple[float, ...]
) -> LockSource:
    remote = is_remote(store.location)
    return LockSource(
        path=store.location if remote else path_from(base, store.path),
        version=store.manifest.version,
        tokens=store.num_tokens,
        documents=store.num_documents,
        epochs=epochs,
        loss=_loss_pin(source, store),
    )


def _loss_pin(source: MixSource, store: "Store") -> LossPin | None:
    """Make the source's loss mask, if it has one, and pin it."""
    if source.loss is None:
        return None
    from dolmix.shards.masks import make_loss_mask

    column, roles = source.loss.column, source.loss.roles
    made = make_loss_mask(store, column=column, roles=roles)
    return LossPin(column=column, roles=roles, digest=made.digest)
