"""Plain-Python twins of what candidates and clusters are made with."""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence


def pairs_of_groups(
    keys: Sequence[Hashable], documents: Iterable[int], *, first: int, own: int = 0
) -> list[tuple[int, int]]:
    """Pair each document of a group with the first ones; groups of old documents alone are none."""
    groups = defaultdict(list)
    for key, document in zip(keys, documents, strict=True):
        groups[key].append(document)
    return sorted(
        (members[leader], member)
        for members in map(sorted, groups.values())
        if members[-1] >= own
        for place, member in enumerate(members)
        for leader in range(min(place, first))
    )


def members(labels: Sequence[int]) -> dict[int, int]:
    """Document → smallest of its cluster, of those that share one."""
    sizes = defaultdict(int)
    for label in labels:
        sizes[label] += 1
    return {n: label for n, label in enumerate(labels) if sizes[label] > 1}


def jaccard(left: set[int], right: set[int]) -> float:
    """Share of what either set holds that both hold; 1 for two empty ones."""
    return len(left & right) / len(left | right) if left | right else 1.0
