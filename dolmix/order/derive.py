"""Making what training reads beside a store: a pack, repeat flags, a loss mask.

Everything made is named by what it follows from, so asking twice makes it once.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, get_args

from dolmix.errors import UsageError
from dolmix.order.repeats import derive_repeats
from dolmix.shards import Packing, Store, open_instances, open_store
from dolmix.shards.derived import Derived
from dolmix.shards.masks import derive_loss
from dolmix.shards.packs import derive_pack


class Wanted(NamedTuple):
    """What to make."""

    length: int | None
    """Tokens of an instance."""
    packing: Packing
    repeats: bool
    loss: str | None
    """Kept column of spans."""
    roles: tuple[str, ...] | None

    @classmethod
    def of(
        cls,
        *,
        length: int | None = None,
        pack: str | None = None,
        repeats: bool = False,
        loss: str | None = None,
        roles: Sequence[str] | None = None,
    ) -> "Wanted":
        """Check what a person asked for. Raises UsageError for what makes nothing, or no sense."""
        packing: Packing = "concat"
        for known in get_args(Packing):
            packing = known if known == pack else packing
        if pack is not None and packing == "concat":
            raise UsageError(f"a pack is bestfit or pad, not {pack!r}")
        if (pack is not None or repeats) != (length is not None):
            raise UsageError(
                f"length is {length}: packs and repeat flags need one, a mask does not"
            )
        if not (pack or repeats or loss):
            raise UsageError(f"nothing to make of length {length}: --pack, --repeats or --loss")
        if roles and loss is None:
            raise UsageError(f"roles {', '.join(roles)} without --loss")
        return cls(length, packing, repeats, loss, tuple(roles) if roles else None)


def derive_for_training(path: Path, wanted: Wanted) -> list[dict[str, Any]]:
    """Make what is wanted beside a store; one entry each: kind, path, digest, counts.

    Raises StoreError where it cannot be made.
    """
    with open_store(path) as store:
        return [
            {
                "kind": made.manifest.kind,
                "path": made.location,
                "digest": made.manifest.digest,
                "counts": made.manifest.counts,
            }
            for made in _made(store, wanted)
        ]


def _made(store: Store, wanted: Wanted) -> Iterator[Derived]:
    if wanted.length is not None:
        if wanted.packing != "concat":
            yield derive_pack(store, sequence_length=wanted.length, packing=wanted.packing)
        if wanted.repeats:
            yield derive_repeats(open_instances(store, wanted.length, wanted.packing))
    if wanted.loss is not None:
        yield derive_loss(store, column=wanted.loss, roles=wanted.roles)
