"""How many instances of each source the first k places of a stage hold, in closed form.

Exact integers of any size, monotone in k, and never far from the ideal share. A stage whose quotas
change on the way is a row of segments: from the block where a change takes effect, the rest of the
stage is dealt out anew by the new quotas. Normative: docs/order.md, sections 3 and 6.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple


class Cut(NamedTuple):
    """New quotas for the rest of a stage, from the start of a block."""

    from_block: int
    """First block that they hold for."""
    quotas: Mapping[str, int]
    """Instances per source of the whole rest of the stage."""


class _Segment(NamedTuple):
    """The rest of a stage from a place on, dealt out by one set of quotas."""

    start: int
    size: int
    before: list[int]
    """What each source had given at its start."""
    quotas: list[int]
    deals: list[tuple[int, int]]
    """Of what is left before a source, the share (later quotas) / (its own and later) is after."""


class StageCounts:
    """Cumulative counts of a stage, one integer a source, sources in name order.

    size      instances of the stage (K)
    block     instances of a block (B)
    quotas    instances per source, sum `size`
    cuts      later quotas, by `from_block`, each with sum K - from_block * B
    """

    def __init__(
        self, size: int, block: int, quotas: Mapping[str, int], cuts: Sequence[Cut] = ()
    ) -> None:
        self.size = size
        self.names = sorted(quotas)
        self._segments = [self._segment(0, quotas, [0] * len(quotas))]
        for cut in cuts:
            start = cut.from_block * block
            self._segments.append(self._segment(start, cut.quotas, self.at(start)))

    @property
    def totals(self) -> list[int]:
        """Instances of each source in the whole stage, sum `size`."""
        return self.at(self.size)

    @property
    def planned(self) -> list[int]:
        """Instances of each source if the first quotas had held throughout."""
        return list(self._segments[0].quotas)

    def at(self, k: int) -> list[int]:
        """c_s(k): instances of each source among the first k."""
        segment = self._segments[self._of_place(k)]
        counts, left = [], k - segment.start
        for (later, rest), before in zip(segment.deals, segment.before, strict=True):
            after = left * later // rest
            counts.append(before + left - after)
            left = after
        return counts

    def of(self, source: int, k: int) -> int:
        """c_s(k) of one source, by index."""
        segment = self._segments[self._of_place(k)]
        before = left = k - segment.start
        for later, rest in segment.deals[: source + 1]:
            before, left = left, left * later // rest
        return segment.before[source] + before - left

    def span(self, source: int, drawn: int) -> tuple[int, int]:
        """Places [low, high] that surely hold the first k with c_s(k) <= drawn < c_s(k + 1).

        Each source before s, and s itself, moves its count by less than one instance from the ideal
        share, so the place is known within as many instances of the source.
        """
        number = len(self._segments) - 1
        while number and self._segments[number].before[source] > drawn:
            number -= 1
        segment, slack = self._segments[number], source + 1
        quota, inside = segment.quotas[source], drawn - segment.before[source]
        low = segment.start + max(0, (inside - slack) * segment.size // quota - 1)
        high = segment.start - (-(inside + 1 + slack) * segment.size // quota)
        return low, min(high, self.size - 1)

    def _segment(self, start: int, quotas: Mapping[str, int], before: list[int]) -> _Segment:
        listed = [quotas[s] for s in self.names]
        rests = [*accumulate(listed, lambda rest, quota: rest - quota, initial=self.size - start)]
        deals = [(later, rest or 1) for rest, later in pairwise(rests)]
        return _Segment(start, self.size - start, before, listed, deals)

    def _of_place(self, k: int) -> int:
        """Find the segment that deals place k out: the last that starts no later."""
        if len(self._segments) == 1:
            return 0
        return bisect_right(self._segments, k, key=lambda segment: segment.start) - 1
