"""What removing lines by the builtin classifiers gives, against what people marked.

python scripts/bench_line_filters.py            needs ../shared/data or DOLMIX_SHARED
python scripts/bench_line_filters.py --json

Lines (web_line_labelled): a line marked 0 is noise. Segments (web_messy): boilerplate against main
text. Precision, recall and F1 are of what is removed; token F1 is of the text that remains, against
the text that people kept. Thresholds are chosen on one half of the pages, and figures are of the
other. Beside them: removing nothing, and lines without a full stop or of fewer than five words.
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Any

import numpy as np
from train_default_models import documents

from dolmix.learned import builtin
from dolmix.learned.fit import Scorer
from dolmix.text.classifier_text import spaced

Page = tuple[str, list[str], list[bool]]
"""Language, units, and whether each is to be removed."""
Remover = Callable[[Sequence[str]], np.ndarray[Any, np.dtype[np.float64]]]
SHARES = np.arange(0.02, 1.0, 0.02)
ENDS = ".!?。！？؟۔\"'”»:"  # noqa: RUF001


def line_pages() -> list[Page]:
    """Pages whose lines were marked; empty lines are no unit."""
    pages = []
    for one in documents("web_line_labelled"):
        lines, marks = one["text"].split("\n"), one["metadata"]["line_labels"]
        if len(lines) == len(marks):
            both = [(s, m == "0") for s, m in zip(lines, marks, strict=True) if s.strip()]
            pages.append((one["metadata"]["lang"], [s for s, _ in both], [m for _, m in both]))
    return pages


def segment_pages() -> list[Page]:
    """Pages with segments of main text and of boilerplate."""
    pages = []
    for one in documents("web_messy"):
        about = one["metadata"]
        good, bad = about.get("main_text_segments") or [], about.get("boilerplate_segments") or []
        units, marks = [*good, *bad], [False] * len(good) + [True] * len(bad)
        if units:
            pages.append((about.get("lang_predicted", "-"), units, marks))
    return pages


class Cached:
    """Scores of units, each computed once."""

    def __init__(self, model: str, label: str) -> None:
        self.scorer, self.known = Scorer(builtin(model), label), dict[str, float]()

    def __call__(self, units: Sequence[str]) -> Any:
        """Probability of the label, (N,) float64."""
        new = list(dict.fromkeys(unit for unit in units if unit not in self.known))
        if new:
            found = self.scorer.scores([spaced(unit) for unit in new])
            self.known.update(zip(new, found.tolist(), strict=True))
        return np.array([self.known[unit] for unit in units], np.float64)


def removers() -> dict[str, Remover]:
    """Ways to say how much a unit is to be removed, each higher for worse."""
    by_ads, fluent = Cached("ads", "ad"), Cached("fluency", "fluent")

    def by_fluency(units: Sequence[str]) -> Any:
        return 1 - fluent(units)

    def by_shape(units: Sequence[str]) -> Any:
        return np.array([len(u.split()) < 5 or u.rstrip()[-1:] not in ENDS for u in units], float)  # noqa: PLR2004

    return {
        "ads": by_ads,
        "fluency": by_fluency,
        "ads or fluency": lambda units: np.maximum(by_ads(units), by_fluency(units)),
        "short or no full stop": by_shape,
        "nothing": lambda units: np.full(len(units), -1.0),
    }


def measure(pages: Sequence[Page], remover: Remover) -> dict[str, Any]:
    """Choose a threshold on half of the pages, and give the figures of the other half."""
    scores = [remover(units) for _, units, _ in pages]
    sides = [blake2b("".join(u).encode(), digest_size=1).digest()[0] & 1 for _, u, _ in pages]
    made = [n for n, side in enumerate(sides) if side == 0]
    pooled = np.concatenate([scores[n] for n in made])
    limits = np.unique(np.quantile(pooled, SHARES, method="lower"))
    best = max(limits, key=lambda limit: _figures(pages, scores, made, limit)["f1"])
    rest = [n for n, side in enumerate(sides) if side == 1]
    found = {"threshold": float(best), **_figures(pages, scores, rest, float(best))}
    return found | {"token_f1": _token_f1(pages, scores, rest, float(best))}


def _figures(
    pages: Sequence[Page], scores: Sequence[Any], chosen: Sequence[int], limit: float
) -> dict[str, float]:
    marks = np.concatenate([np.array(pages[n][2], np.bool_) for n in chosen])
    gone = np.concatenate([scores[n] > limit for n in chosen])
    hits = float((gone & marks).sum())
    found = {
        "units": float(marks.size),
        "noise_frac": float(marks.mean()),
        "removed_frac": float(gone.mean()),
        "precision": hits / max(1.0, float(gone.sum())),
        "recall": hits / max(1.0, float(marks.sum())),
    }
    found["f1"] = 2 * hits / max(1.0, float(gone.sum() + marks.sum()))
    return found


def _token_f1(
    pages: Sequence[Page], scores: Sequence[Any], chosen: Sequence[int], limit: float
) -> float:
    shared = left = gold = 0
    for n in chosen:
        _, units, marks = pages[n]
        kept: Counter[str] = Counter()
        wanted: Counter[str] = Counter()
        for unit, mark, score in zip(units, marks, scores[n], strict=True):
            tokens = Counter(spaced(unit).split())
            kept += tokens if score <= limit else Counter()
            wanted += Counter() if mark else tokens
        shared += (kept & wanted).total()
        left, gold = left + kept.total(), gold + wanted.total()
    return 2 * shared / max(1, left + gold)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--json", action="store_true")
    as_json = parser.parse_args().json
    lines, segments = line_pages(), segment_pages()
    sets = {"lines": lines, "segments": segments}
    for lang in sorted({lang for lang, _, _ in lines}):
        sets[f"lines {lang}"] = [page for page in lines if page[0] == lang]
    ways = removers()
    found = {
        name: {way: measure(pages, remover) for way, remover in ways.items()}
        for name, pages in sets.items()
    }
    if as_json:
        print(json.dumps(found, indent=2))
        return 0
    names = ("noise_frac", "removed_frac", "precision", "recall", "f1", "token_f1", "threshold")
    print("| set | removed by | units | " + " | ".join(names) + " |")
    print("|" + " --- |" * (len(names) + 3))
    for name, figures in found.items():
        for way, one in figures.items():
            cells = " | ".join(f"{one[key]:.3f}" for key in names)
            print(f"| {name} | {way} | {one['units']:,.0f} | {cells} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
