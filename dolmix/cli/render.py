"""Printing: data on stdout, as text or as JSON, and nothing else anywhere."""

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any


def as_json(value: Any) -> None:
    """Print one JSON document."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=2) + "\n")


def lines(text: Iterable[str]) -> None:
    """Print lines as they are."""
    sys.stdout.writelines(f"{line}\n" for line in text)


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print aligned columns: text to the left, numbers to the right, thousands separated."""
    cells = [[_cell(value) for value in row] for row in rows]
    kept = [list(header), *[[text for text, _ in row] for row in cells]]
    widths = [max(len(row[n]) for row in kept) for n in range(len(header))]
    numeric = [bool(cells) and all(row[n][1] for row in cells) for n in range(len(header))]
    for row in kept:
        padded = (
            text.rjust(width) if right else text.ljust(width)
            for text, width, right in zip(row, widths, numeric, strict=True)
        )
        sys.stdout.write("  ".join(padded).rstrip() + "\n")


def count(number: float) -> str:
    """Write a large count as a person says it: 950, 12.3K, 4.5M, 100.0B."""
    for limit, unit in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e4, "K")):
        if number >= limit:
            return f"{number / (1e3 if unit == 'K' else limit):.1f}{unit}"
    return f"{number:,}"


def _cell(value: object) -> tuple[str, bool]:
    if isinstance(value, bool):
        return ("yes" if value else "no"), False
    if isinstance(value, int):
        return f"{value:,}", True
    if isinstance(value, float):
        return f"{value:,.4g}", True
    return ("-" if value is None else str(value)), value is None
