"""The mix as a picture: shares of the sources over the tokens of training, and their epochs.

matplotlib (the extra `plot`) loads when a picture is drawn, and draws to a file without a display.
"""

from itertools import accumulate, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dolmix.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

UNITS = ((10**9, "billion tokens"), (10**6, "million tokens"), (10**3, "thousand tokens"))
FORMATS = (".png", ".svg", ".pdf")
WIDTH_IN, HEIGHT_IN, DPI = 11.0, 4.5, 120


def draw(described: dict[str, Any], path: Path) -> None:
    """Draw what `describe` gave: stacked shares by stage, and epochs of each source, to `path`.

    Sources keep name order and colour in both halves; a stage is as wide as its tokens. Raises
    UsageError if matplotlib is not installed or the file name ends in no known format.
    """
    if path.suffix not in FORMATS:
        raise UsageError(f"{path}: a picture ends in {', '.join(FORMATS)}, not {path.suffix!r}")
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise UsageError(
            "pictures need matplotlib, which is not installed: pip install 'dolmix[plot]'"
        ) from None
    figure = Figure(figsize=(WIDTH_IN, HEIGHT_IN), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    shares, epochs = figure.subplots(1, 2, width_ratios=(3, 2))
    _draw_shares(shares, described)
    _draw_epochs(epochs, described)
    figure.suptitle(f"{described['name']}   order {described['order_hash'][:7]}")
    path.parent.mkdir(parents=True, exist_ok=True)
    # no date in the file: equal mixes give equal pictures
    figure.savefig(path, metadata={"Software": None} if path.suffix == ".png" else {"Date": None})


def stage_edges(described: dict[str, Any]) -> tuple[list[float], str]:
    """Edges of the stages, from 0, and the unit that they are in."""
    fits = (unit for unit in UNITS if described["tokens"] >= unit[0])
    size, unit = next(fits, (1, "tokens"))
    tokens = (stage["tokens"] / size for stage in described["stages"])
    return [*accumulate(tokens, initial=0.0)], unit


def _draw_shares(axes: "Axes", described: dict[str, Any]) -> None:
    """Stack the shares of each stage, sources from below in name order."""
    edges, unit = stage_edges(described)
    lower = [0.0] * len(described["stages"])
    for n, (name, source) in enumerate(described["sources"].items()):
        heights = [source["stages"][s["name"]]["share"] for s in described["stages"]]
        widths = [right - left for left, right in pairwise(edges)]
        axes.bar(
            edges[:-1], heights, widths, lower, align="edge", color=_colour(n), label=name, lw=0
        )
        lower = [a + b for a, b in zip(lower, heights, strict=True)]
    for stage, (left, right) in zip(described["stages"], pairwise(edges), strict=True):
        axes.axvline(right, color="white", lw=1)
        axes.text((left + right) / 2, 1.01, stage["name"], ha="center", va="bottom")
    axes.set(xlim=(0, edges[-1]), ylim=(0, 1), xlabel=unit, ylabel="share of tokens")


def _draw_epochs(axes: "Axes", described: dict[str, Any]) -> None:
    """One bar a source, its stages end to end; a line at one epoch."""
    names = list(described["sources"])
    for row, name in enumerate(names):
        left = 0.0
        for n, stage in enumerate(described["sources"][name]["stages"].values()):
            seen = stage["instances"] / described["sources"][name]["store_instances"]
            alpha = 1 - 0.5 * n / max(1, len(described["stages"]))
            axes.barh(row, seen, left=left, color=_colour(row), alpha=alpha, edgecolor="white")
            left += seen
        axes.text(left, row, f" {left:.2f}", va="center")
    axes.axvline(1, color="black", lw=0.8, ls=":")
    axes.set_yticks(range(len(names)), names)
    axes.margins(x=0.15)
    axes.set(xlabel="epochs, by stage")


def _colour(number: int) -> Any:
    """Twenty colours that tell neighbours apart, then the same again."""
    from matplotlib import colormaps

    colours: Any = colormaps["tab20"]
    return colours.colors[2 * number % 20 + number // 10 % 2]
