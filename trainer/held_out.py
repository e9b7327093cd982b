"""Stores that a model is measured on, and how many bytes of text a token of theirs stands for."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path

from dolmix.errors import Problem
from dolmix.mix import OrderSpec
from dolmix.shards import Instances, Packing, Store, open_instances, open_store


def packing_of(order: OrderSpec) -> Packing:
    """How an order's documents fill instances; OLMo's are always cut from the whole store."""
    return "concat" if order.versions.mix == "olmo" else order.packing


def open_held_out(
    stores: Mapping[str, Path], length: int, packing: Packing
) -> dict[str, Instances]:
    """Open the instances of held-out stores by source. Raises StoreError."""
    opened: dict[str, Instances] = {}
    try:
        for source, path in stores.items():
            opened[source] = open_instances(open_store(path), length, packing)
    except BaseException:
        close_held_out(opened)
        raise
    return opened


def close_held_out(held_out: Mapping[str, Instances]) -> None:
    """Close the stores."""
    for instances in held_out.values():
        instances.store.close()


def misfits(
    held_out: Mapping[str, Instances], vocab: int, known: Mapping[str, str]
) -> Iterator[Problem]:
    """Find stores that make no instance, that the model has no embedding for, or of other tokens.

    vocab: rows of the embedding; known: digest of the tokenizer that the model was trained with, if
    it is known, with a clause that says so.
    """
    for source, instances in held_out.items():
        key, pin = f"evaluation.stores.{source}", instances.store.manifest.tokenizer
        if not len(instances):
            what = f"{instances.store.num_tokens:,} tokens make no instance"
            yield Problem(key, f"{what} of {instances.sequence_length:,}: take a larger store")
        if pin.largest_id >= vocab:
            what = f"its tokenizer gives ids up to {pin.largest_id:,}"
            yield Problem(key, f"{what}, but the model's vocabulary has {vocab:,}")
        for digest, trained in known.items():
            if pin.digest != digest:
                what = f"its tokenizer has digest {pin.digest}, but {trained} with {digest}"
                yield Problem(key, f"{what}: tokenize it with that one")


def bits_per_byte(loss: float, store: Store) -> float | None:
    """Bits a UTF-8 byte of a store's texts, from the mean loss in nats a token.

    loss · tokens / (bytes · ln 2), Gao et al. 2020, "The Pile", section 3.1, with tokens and bytes
    of the whole store, from its manifest: every document's text as it was tokenized, after the
    filters' edits, and one EOS a document, whose nats count and which has no bytes. Where a part of
    the store is evaluated, that part's bytes are so taken to be in proportion; a token that is
    never predicted (a document's first one under the packings that keep documents apart) counts at
    the mean. None for a store that does not know its bytes.
    """
    totals = store.manifest.totals
    if not totals.bytes:
        return None
    return loss * totals.tokens / (totals.bytes * math.log(2))
