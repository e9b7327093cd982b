"""OLMo's published order as a stage like any other, and its instances: L tokens without overlap.

Lookups go both ways, as in dolmix's own order; the price is that the shuffle of an epoch is held in
memory, 4 bytes an instance, and its inverse as well where a document is looked up. Normative:
docs/order.md, section 10.
"""

from collections.abc import Iterator
from functools import lru_cache
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from dolmix.mix import OrderSpec
from dolmix.mix.olmo import count_olmo_instances, epoch_instances, epoch_order
from dolmix.order.interleave import I64Array
from dolmix.shards import Piece, Store
from dolmix.shards.instances import Instances, Spans


class OlmoStage:
    """The one stage of an `order: olmo`. `k` counts instances from 0; sources go by index."""

    def __init__(self, spec: OrderSpec) -> None:
        (this,) = spec.stages
        self.name, self.size = this.name, this.instances
        self._seed = spec.seed
        supply = [spec.sources[s].num_instances for s in sorted(spec.sources)]
        self._edges = np.cumsum([0, *supply])
        self._total = int(self._edges[-1])
        self._per_epoch = epoch_instances(self._total, spec.batch_size[0].instances)

    def draw(self, start: int, stop: int) -> tuple[I64Array, I64Array, I64Array]:
        """Return sources, epochs, instances of places [start, stop), each (stop - start,) int64."""
        epoch, place = np.divmod(np.arange(start, stop, dtype=np.int64), self._per_epoch)
        number = np.empty_like(place)
        for e in range(start // self._per_epoch, -(-stop // self._per_epoch)):
            rows = epoch == e
            number[rows] = epoch_order(self._seed + e, self._total)[place[rows]]
        source = np.searchsorted(self._edges, number, side="right") - 1
        return source, epoch, number - self._edges[source]

    def find(self, source: int, instance: int) -> Iterator[tuple[int, int]]:
        """Places of an instance of a source: (k, epoch), each once, by epoch."""
        number = int(self._edges[source]) + instance
        for epoch in range(-(-self.size // self._per_epoch)):
            place = int(_places(self._seed + epoch, self._total)[number])
            k = epoch * self._per_epoch + place
            if place < self._per_epoch and k < self.size:
                yield k, epoch


class OlmoInstances(Instances):
    """Windows of L tokens over a store, as OLMo's loader cuts a file.

    A row has L + 1 places as all rows have: the L tokens, then EOS as filler. The inputs are all L
    tokens; the label of the last one is not known and does not count.
    """

    def __init__(self, store: Store, sequence_length: int) -> None:
        super().__init__(store, sequence_length)
        self._count = count_olmo_instances(store.num_tokens, sequence_length)

    @property
    def num_instances(self) -> int:
        """Whole windows: floor(T / L)."""
        return self._count

    @property
    def layout(self) -> dict[str, str | int]:
        """Packing and length."""
        return {"packing": "olmo", "sequence_length": self.sequence_length}

    def spans(self, numbers: I64Array) -> Spans:
        """Return one run of L tokens a row."""
        self._check(numbers)
        rows, at = np.arange(len(numbers)), np.zeros(len(numbers), np.int64)
        lengths = np.full(len(numbers), self.sequence_length)
        return Spans(rows, at, numbers * self.sequence_length, lengths)

    def starts(self, numbers: I64Array) -> tuple[I64Array, I64Array]:
        """Return the beginnings of rows, the ends of documents within them, and the filler."""
        places = [self._starts_of(number) for number in numbers.tolist()]
        rows = np.repeat(np.arange(len(numbers)), [len(at) for at in places])
        return rows, np.array([at for row in places for at in row], np.int64)

    def labels(self, numbers: I64Array) -> NDArray[np.bool_]:
        """(n, L) bool: all labels but the last."""
        self._check(numbers)
        counted = np.ones((len(numbers), self.sequence_length), np.bool_)
        counted[:, -1] = False
        return counted

    def of_document(self, document: int) -> range:
        """Return the instances that hold a token of the document; empty if it is in the tail."""
        start, stop = self.store.document_span(document)
        first = start // self.sequence_length
        last = min(self._count - 1, (stop - 1) // self.sequence_length)
        return range(first, max(first, last + 1))

    def documents(self, instance: int) -> list[Piece]:
        """Return the pieces of an instance in order; their lengths sum to L."""
        self._check(np.array([instance]))
        start = instance * self.sequence_length
        stop = start + self.sequence_length
        pieces = []
        for document in self.store.documents_in(start, stop):
            begin, end = self.store.document_span(document)
            left, right = max(begin, start), min(end, stop)
            pieces.append(Piece(document, left - begin, right - left))
        return pieces

    def _starts_of(self, instance: int) -> list[int]:
        lengths = [piece.length for piece in self.documents(instance)]
        return [0, *accumulate(lengths)]


@lru_cache(maxsize=2)
def _places(seed: int, total: int) -> NDArray[np.uint32]:
    """Place of every instance number in an epoch: the inverse of `epoch_order`."""
    order = epoch_order(seed, total)
    places = np.empty_like(order)
    places[order] = np.arange(total, dtype=np.uint32)
    return places
