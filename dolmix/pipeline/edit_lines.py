"""What edits did to one text, as a person reads it: pieces that went, and what stands there now."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from dolmix.text.edits import PUTS

CONTEXT_BYTES = 40
"""Bytes of the same line that are shown on either side of a change."""

Span = tuple[int, int, int]
"""Start, stop and put of one span, in bytes of the original text."""


@dataclass(frozen=True, slots=True)
class Hunk:
    """One change: `before + removed + after` of the original became `before + put + after`."""

    start: int
    stop: int
    """Bytes [start, stop) of the original text were taken out."""
    by: tuple[str, ...]
    """Filters, or the dedup step, that changed something there, in their order."""
    before: str
    removed: str
    put: str
    after: str

    def describe(self) -> dict[str, Any]:
        """Give the change as plain data."""
        return asdict(self)

    def lines(self) -> Iterator[str]:
        """Write the change as lines of a diff."""
        yield f"@@ bytes {self.start:,} to {self.stop:,}, by {', '.join(self.by)}"
        old, new = (f"{self.before}{t}{self.after}" for t in (self.removed, self.put))
        yield from (f"-{line}" for line in old.splitlines())
        yield from (f"+{line}" for line in new.splitlines())


def hunks(text: bytes, spans: Sequence[Span], steps: Sequence[tuple[str, Sequence[Span]]]) -> list[
    Hunk
]:  # fmt: skip
    """Cut an edit into its changes; spans that touch are one.

    text   the original text
    spans  the edit: all spans of all filters together
    steps  name and edit of each filter that changed the text, in order; each holds those before it
    """
    runs: list[list[Span]] = []
    for span in spans:
        if runs and runs[-1][-1][1] == span[0]:
            runs[-1].append(span)
        else:
            runs.append([span])
    return [_hunk(text, run, steps) for run in runs]


def _hunk(text: bytes, run: Sequence[Span], steps: Sequence[tuple[str, Sequence[Span]]]) -> Hunk:
    start, stop = run[0][0], run[-1][1]
    first = max(text.rfind(b"\n", 0, start) + 1, start - CONTEXT_BYTES)
    end = text.find(b"\n", stop)
    last = min(len(text) if end < 0 else end, stop + CONTEXT_BYTES)
    if stop > 0 and text[stop - 1 : stop] == b"\n" and stop > start:
        last = stop  # a line that went whole: nothing of the next one
    by, earlier = [], set[Span]()
    for name, edit in steps:
        inside = {s for s in edit if s[0] <= stop and s[1] >= start}
        if inside - earlier:
            by.append(name)
        earlier = inside
    return Hunk(
        start=start,
        stop=stop,
        by=tuple(by),
        before=text[first:start].decode(errors="ignore"),
        removed=text[start:stop].decode(errors="replace"),
        put="".join(PUTS[put] for _, _, put in run),
        after=text[stop:last].decode(errors="ignore"),
    )
