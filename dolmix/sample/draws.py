"""Numbers that look random and are the same everywhere.

Draw number n of a seed is blake2b-64 of `dolmix-sample-1:<seed>:<n>`, little endian, modulo the
number of choices: no state of Python's own generator is involved, so no Python version can change
the sample.
"""

from collections.abc import Sequence
from hashlib import blake2b
from typing import TypeVar

T = TypeVar("T")


def rank(name: str) -> bytes:
    """Sort key that orders names by chance; new names do not move the others."""
    return blake2b(f"dolmix-sample-1:{name}".encode(), digest_size=16).digest()


class Draws:
    """An endless sequence of draws that follows from one integer."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._drawn = 0

    def below(self, stop: int) -> int:
        """Draw an integer in [0, stop); stop >= 1."""
        text = f"dolmix-sample-1:{self._seed}:{self._drawn}"
        self._drawn += 1
        return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little") % stop

    def one_of(self, choices: Sequence[T]) -> T:
        """Draw one element."""
        return choices[self.below(len(choices))]

    def shuffled(self, items: Sequence[T]) -> list[T]:
        """Return the elements in a drawn order (Durstenfeld's shuffle, from the end)."""
        order = list(items)
        for last in range(len(order) - 1, 0, -1):
            other = self.below(last + 1)
            order[last], order[other] = order[other], order[last]
        return order
