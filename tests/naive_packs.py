"""Plain-Python twins of the packing: one piece at a time, straight from docs/formats.md."""

from collections.abc import Sequence


def pieces(lengths: Sequence[int], sequence_length: int) -> list[tuple[int, int, int]]:
    """(document, start, length) of all pieces in store order."""
    cut = []
    for document, length in enumerate(lengths):
        start = 0
        while start < length - 1:
            cut.append((document, start, min(sequence_length + 1, length - start)))
            start += sequence_length
    return cut


def best_fit(lengths: Sequence[int], capacity: int) -> list[int]:
    """Row of each piece: from long to short, into the fullest row that takes it."""
    rows = [0] * len(lengths)
    rooms: list[int] = []
    for piece in sorted(range(len(lengths)), key=lambda n: -lengths[n]):
        fits = [(room, row) for row, room in enumerate(rooms) if room >= lengths[piece]]
        if not fits:
            rooms.append(capacity)
            fits = [(capacity, len(rooms) - 1)]
        row = min(fits)[1]
        rooms[row] -= lengths[piece]
        rows[piece] = row
    return rows


def packed(
    lengths: Sequence[int], sequence_length: int, packing: str
) -> list[list[tuple[int, int, int]]]:
    """Pieces of each instance: in store order, instances in the order of their first pieces."""
    cut = pieces(lengths, sequence_length)
    sizes = [length for _, _, length in cut]
    rows = best_fit(sizes, sequence_length + 1) if packing == "bestfit" else range(len(cut))
    held: dict[int, list[tuple[int, int, int]]] = {}
    for piece, row in zip(cut, rows, strict=True):
        held.setdefault(row, []).append(piece)
    return list(held.values())
