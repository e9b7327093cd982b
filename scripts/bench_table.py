"""What a bench script measures, printed: one line a row, a peer beside it where there is one.

Importing it puts the repository on the path, and its tests with their plain twins.
"""

import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

LARGE = 1000
Row = dict[str, Any]
"""{name, value, unit, peer, peer_value, ratio}; a ratio above 1 is better than the peer."""


def printed(rows: Iterable[Row], *, width: int = 66) -> Iterator[Row]:
    """Print each row as it comes, and hand it on."""
    print(f"{'':{width}} {'dolmix':>12}  {'':14} peer")
    for row in rows:
        beside = ""
        if row.get("peer"):
            ratio = f"  {row['ratio']:.2f}x" if row.get("ratio") is not None else ""
            beside = f"{row['peer']} {_number(row['peer_value'])}{ratio}"
        line = f"{row['name']:{width}} {_number(row['value']):>12}  {row['unit']:14} {beside}"
        print(line.rstrip(), flush=True)
        yield row


def write(rows: list[Row], path: Path | None) -> None:
    """Write rows as a JSON list, where a path is given."""
    if path is not None:
        path.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= LARGE else f"{value:.4g}"
