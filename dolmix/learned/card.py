"""The card of a model: what it was trained on, how, and how well it does, as JSON and as Markdown.

`<model>.card.json` holds everything that `<model>.card.md` shows, and the model's digest, so that
a card can be held against its model.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import orjson

from dolmix import __version__
from dolmix.files.commit import file_digest
from dolmix.learned.examples import Example

TRAINER = "fasttext-numpy2-wheel"


def card_paths(model: Path) -> tuple[Path, Path]:
    """Where a model's card is, as JSON and as Markdown."""
    return model.with_name(f"{model.name}.card.json"), model.with_name(f"{model.name}.card.md")


def read_card(model: Path) -> dict[str, Any] | None:
    """Read the card of a model; None where there is none, or it is another model's."""
    path = card_paths(model)[0]
    if not path.is_file():
        return None
    card: dict[str, Any] = orjson.loads(path.read_bytes())
    return card if card.get("digest") == file_digest(model) else None


def describe(
    model: Path, *, settings: Mapping[str, Any], examples: Sequence[Example]
) -> dict[str, Any]:
    """Give a card without figures.

    settings  of the training, as plain data
    examples  that the model was trained on
    """
    elsewhere = ("rows", "output", "name", "notes")
    return {
        "name": settings["name"],
        "digest": file_digest(model),
        "bytes": model.stat().st_size,
        "notes": list(settings["notes"]),
        "settings": {k: v for k, v in settings.items() if k not in elsewhere},
        "versions": {"dolmix": __version__, TRAINER: _installed(TRAINER)},
        "trained_on": _counted(examples),
    }


def render(card: Mapping[str, Any]) -> str:
    """Write a card as Markdown."""
    return "\n".join(_lines(card)) + "\n"


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> Iterator[str]:
    """Yield the lines of a Markdown table."""
    yield "| " + " | ".join(header) + " |"
    yield "|" + " --- |" * len(header)
    for row in rows:
        yield "| " + " | ".join(_cell(value) for value in row) + " |"


def figure_table(figures: Mapping[str, Any]) -> tuple[list[str], list[list[object]]]:
    """Give the head and the rows of a table of figures, one row a task and language."""
    baselines = figures.get("baselines", {})
    head = [*FIGURES, *(f"AP {name.replace('_', ' ')}" for name in baselines)]
    rows = []
    for one in figures["by_task"]:
        others = [each.get(f"{one['task']}/{one['lang']}") for each in baselines.values()]
        rows.append([*(one[key] for key in FIGURES.values()), *others])
    return head, rows


FIGURES = {
    "task": "task",
    "language": "lang",
    "rows": "rows",
    "positive": "positive",
    "AP": "average_precision",
    "precision": "precision",
    "recall": "recall",
    "accuracy": "accuracy",
}
"""Columns of a table of figures, by their heads."""


def _installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


def _counted(examples: Sequence[Example]) -> list[dict[str, Any]]:
    counts = Counter((e.task, e.lang, e.label, e.licence) for e in examples)
    names = ("task", "lang", "label", "licence")
    return [dict(zip(names, key, strict=True)) | {"rows": counts[key]} for key in sorted(counts)]


def _lines(card: Mapping[str, Any]) -> Iterator[str]:
    settings = card["settings"]
    yield f"# {card['name']}\n"
    yield (
        f"A fastText classifier, {card['bytes']:,} bytes, blake2b-256 `{card['digest']}`. Its "
        f"score is the probability of `{settings['positive']}`; it reads texts prepared as "
        f"`{settings['text']}`; `{settings['worst']}` scores are the ones to drop.\n"
    )
    yield from (f"- {note}" for note in card["notes"])
    yield "\n## Settings\n"
    fitting = ", ".join(f"{k} {v}" for k, v in settings["fitting"].items())
    yield f"{fitting}; held out {settings['held_out_frac']} of the sources.\n"
    yield "Made with " + ", ".join(f"{k} {v}" for k, v in card["versions"].items()) + "."
    yield "\n## Trained on\n"
    columns = ("task", "lang", "label", "licence", "rows")
    yield from table(columns, [[row[k] for k in columns] for row in card["trained_on"]])
    for key, title in (("held_out", "Held-out rows"), ("elsewhere", "Evaluation only")):
        if card.get(key):
            yield from _figures(title, card[key], settings)


def _figures(title: str, figures: Mapping[str, Any], settings: Mapping[str, Any]) -> Iterator[str]:
    yield f"\n## {title}\n"
    yield f"Precision, recall and accuracy of `score > {settings['threshold']}`.\n"
    yield from table(*figure_table(figures))
    if figures["thresholds"]:
        yield "\nWhat dropping a share costs: precision and recall of the label that is dropped.\n"
        names = ("dropped", "threshold", "share", "precision", "recall")
        yield from table(names, [[row[k] for k in names] for row in figures["thresholds"]])


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, int):
        return f"{value:,}"
    return "-" if value is None else str(value).replace("|", "\\|")
