"""Plain-Python twins of the edit kernels: a text, and a list of (start, stop, put) spans."""

from dolmix.text.edits import PUTS, Edits, read_edits

Span = tuple[int, int, int]


def edited(text: str, spans: list[Span]) -> str:
    """Text after its edit; spans are in bytes of its UTF-8."""
    data, pieces, place = text.encode(), [], 0
    for start, stop, put in spans:
        pieces += [data[place:start], PUTS[put].encode()]
        place = stop
    return b"".join([*pieces, data[place:]]).decode()


def spans_of(edits: Edits) -> list[list[Span]]:
    """Spans of every document."""
    rows = list(zip(edits.starts.tolist(), edits.stops.tolist(), edits.puts.tolist(), strict=True))
    ends = edits.ends.tolist()
    return [rows[ends[n] : ends[n + 1]] for n in range(len(edits))]


def edits_of(spans: list[list[Span]]) -> Edits:
    """Build edits from the spans of every document."""
    import pyarrow as pa

    from dolmix.text.edits import EDIT_TYPE

    rows = [[{"start": a, "stop": b, "put": p} for a, b, p in row] for row in spans]
    return read_edits(pa.array(rows, EDIT_TYPE))
