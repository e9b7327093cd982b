"""Plain-Python twins of `dolmix/text/sentences.py`: slow, obvious, held to by kernels."""

from collections.abc import Sequence

Place = tuple[int, int]
"""Start and stop in bytes."""


def trim(text: str, places: Sequence[Place]) -> list[Place]:
    """Places without the white space at their ends, and without those that are nothing else."""
    data = text.encode()
    found = []
    for start, stop in places:
        unit = data[start:stop].decode()
        begin = start + len(unit.encode()) - len(unit.lstrip().encode())
        if unit.strip():
            found.append((begin, begin + len(unit.strip().encode())))
    return found


def without(text: str, places: Sequence[Place], out: Sequence[bool]) -> str:
    """Text after some sentences went; of the gaps beside them the one with more newlines stays."""
    data = text.encode()
    if not places:
        return text
    kept = [n for n in range(len(places)) if not out[n]]
    pieces = [data[: places[0][0]]]
    for k, n in enumerate(kept):
        if k:
            first = data[places[kept[k - 1]][1] : places[kept[k - 1] + 1][0]]
            last = data[places[n - 1][1] : places[n][0]]
            pieces.append(last if last.count(b"\n") > first.count(b"\n") else first)
        pieces.append(data[slice(*places[n])])
    return b"".join([*pieces, data[places[-1][1] :]]).decode()
