"""The order of OLMo's loader, for replaying what was published with it (`order: olmo`).

Every source is one token file. Its instances are L tokens without overlap, its tail is dropped, and
the files follow one another in name order. Each epoch shuffles all instance numbers with numpy's
`Generator(PCG64(seed + epoch))` and takes whole batches of them; what is left over is dropped. This
order depends on numpy, so a digest of a small shuffle is compared before any is trusted. Normative:
docs/order.md, section 10.
"""

from collections.abc import Mapping
from functools import lru_cache
from hashlib import blake2b
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from dolmix.errors import MixError, OrderError
from dolmix.mix.lock import OrderStage
from dolmix.mix.quotas import stage_sizes
from dolmix.mix.spec import Mix, exact

U32Array: TypeAlias = NDArray[np.uint32]

MAX_INSTANCES = 1 << 32
"""OLMo numbers instances in 32 bits."""
CHUNK = 1 << 22
"""Numbers whose sources are looked up at a time."""
GOLDEN_SIZE = 10_007
GOLDEN_DIGEST = "2aaaa0308adf4ce8669ee5b237a0b5e7"
"""Blake2b-128 of `shuffled(6198, GOLDEN_SIZE)`, as u32 LE, made with numpy 2.x."""


def count_olmo_instances(num_tokens: int, sequence_length: int) -> int:
    """Instances that a file of so many tokens gives: floor(T / L)."""
    return num_tokens // sequence_length


def epoch_instances(total: int, batch: int) -> int:
    """Instances of an epoch that train: whole batches."""
    return total // batch * batch


@lru_cache(maxsize=2)
def epoch_order(seed: int, total: int) -> U32Array:
    """Instance numbers of an epoch in training order: (total,) uint32, read-only.

    seed    that of the mix plus the epoch's number, from 0

    4 bytes an instance are held, as OLMo holds them. Raises OrderError for 2**32 instances or more,
    and where this numpy shuffles otherwise than the numpy that OLMo used.
    """
    if total >= MAX_INSTANCES:
        raise OrderError(f"`order: olmo` numbers instances in 32 bits; {total:,} are too many")
    check_golden()
    return _shuffled(seed, total)


def plan_olmo(mix: Mix, supply: Mapping[str, int]) -> tuple[OrderStage, ...]:
    """Size the one stage of an `order: olmo` and count what it draws of each source.

    Raises MixError if there is no whole batch in an epoch or in the stage, or a source is drawn
    more often than its max_epochs.
    """
    total, batch = sum(supply.values()), mix.phases[0].instances
    (size,) = stage_sizes(mix, [stage.tokens for stage in mix.stages])
    per_epoch = epoch_instances(total, batch)
    if not size or not per_epoch:
        raise MixError(
            f"stage {mix.stages[0].name!r} holds {size:,} instances in whole steps and an epoch "
            f"{per_epoch:,}: a batch takes {batch:,}. Raise its tokens or lower batch_size."
        )
    quotas = _drawn(mix.seed, supply, size, per_epoch)
    for source, quota in quotas.items():
        if quota > int(exact(mix.sources[source].max_epochs) * supply[source]):
            raise MixError(
                f"source {source!r} gives {quota:,} instances and has {supply[source]:,}: "
                f"{quota / supply[source]:.2f} epochs, max_epochs="
                f"{mix.sources[source].max_epochs:g}. Raise sources.{source}.max_epochs or lower "
                f"the stage's tokens."
            )
    stage = mix.stages[0]
    return (OrderStage(name=stage.name, instances=size, order="fresh", quotas=quotas),)


def check_golden() -> None:
    """Raise OrderError if this numpy does not shuffle as the pinned digest says."""
    small = _shuffled(6198, GOLDEN_SIZE).astype("<u4")
    found = blake2b(small.tobytes(), digest_size=16).hexdigest()
    if found != GOLDEN_DIGEST:
        raise OrderError(
            f"numpy {np.__version__} shuffles otherwise than the numpy that OLMo used: digest "
            f"{found}, {GOLDEN_DIGEST} expected. Install another numpy to replay `order: olmo`."
        )


def _shuffled(seed: int, total: int) -> U32Array:
    numbers = np.arange(total, dtype=np.uint32)
    np.random.Generator(np.random.PCG64(seed)).shuffle(numbers)
    numbers.setflags(write=False)
    return numbers


def _drawn(seed: int, supply: Mapping[str, int], size: int, per_epoch: int) -> dict[str, int]:
    """Instances of each source among the first `size` of all epochs."""
    names = sorted(supply)
    edges = np.cumsum([0, *(supply[s] for s in names)])
    drawn = np.zeros(len(names), np.int64)
    for epoch in range(-(-size // per_epoch)):
        numbers = epoch_order(seed + epoch, int(edges[-1]))
        taken = numbers[: min(per_epoch, size - epoch * per_epoch)]
        for start in range(0, len(taken), CHUNK):
            source = np.searchsorted(edges, taken[start : start + CHUNK], side="right") - 1
            drawn += np.bincount(source, minlength=len(names))
    return dict(zip(names, drawn.tolist(), strict=True))
