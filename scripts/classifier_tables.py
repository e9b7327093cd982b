"""Write the tables of docs/classifiers.md from the cards of the models that ship.

python scripts/classifier_tables.py            rewrite what stands between the page's marks
python scripts/classifier_tables.py --check    return 1 if a table is not the cards'

`<!-- ads held_out -->` to `<!-- end -->` holds the figures of a model's held-out rows, `elsewhere`
those of the rows that never train, `thresholds` what dropping a share of these costs.
"""

import argparse
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from dolmix.learned.card import table  # noqa: E402

DOCS = ROOT / "docs" / "classifiers.md"
MODELS = ROOT / "dolmix" / "learned" / "models"
BLOCK = re.compile(r"(<!-- (\w+) (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
COLUMNS = {
    "task": "task", "language": "lang", "rows": "rows", "positive": "positive",
    "AP": "average_precision", "AP constant": "constant", "AP ten rules": "hand_rules",
    "precision": "precision", "recall": "recall",
}  # fmt: skip
FEWEST = {"held_out": 200, "elsewhere": 20}
"""Rows of a language with fewer are left to the card."""


def read_card(name: str) -> dict[str, Any]:
    """Read the card of a model that ships."""
    card: dict[str, Any] = json.loads((MODELS / f"{name}.ftz.card.json").read_bytes())
    return card


def figures(card: dict[str, Any], part: str) -> Iterator[str]:
    """Yield the table of one part: held out, or never trained on."""
    rows = []
    for one in card[part]["by_task"]:
        made = one["task"].startswith("made_page")
        small = one["lang"] != "all" and (made or one["rows"] < FEWEST[part])
        if small or not one["positive"] or one["positive"] == one["rows"]:
            continue
        place = f"{one['task']}/{one['lang']}"
        others = {name: found.get(place) for name, found in card[part]["baselines"].items()}
        rows.append([(one | others)[key] for key in COLUMNS.values()])
    yield from table(list(COLUMNS), rows)


def shares(card: dict[str, Any]) -> Iterator[str]:
    """Yield what dropping a share of the rows that never train costs."""
    names = ("dropped", "threshold", "precision", "recall")
    rows = [[one[key] for key in names] for one in card["elsewhere"]["thresholds"]]
    for row in rows:
        row[1] = f"{row[1]:.4f}"
    yield from table(names, rows)


def rewrite(text: str) -> str:
    """Give the page with the tables of the cards."""

    def block(found: re.Match[str]) -> str:
        card, part = read_card(found[2]), found[3]
        lines = shares(card) if part == "thresholds" else figures(card, part)
        return found[1] + "\n".join(lines) + "\n" + found[4]

    return BLOCK.sub(block, text)


def main() -> int:
    """Rewrite the page, or hold it against the cards."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--check", action="store_true", help="write nothing")
    given = parser.parse_args()
    text = DOCS.read_text(encoding="utf-8")
    made = rewrite(text)
    if not given.check:
        DOCS.write_text(made, encoding="utf-8")
    return int(given.check and made != text)


if __name__ == "__main__":
    sys.exit(main())
