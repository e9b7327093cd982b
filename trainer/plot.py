"""`python -m trainer plot RUN [RUN ...] -o FILE.png`: what runs did, as one picture and as numbers.

A run is the output folder of a training. Loss, loss of each source, evaluations and the balance of
the routers; of several runs each panel has one line a run, named by its mix, and the picture says
how the others differ from the first. Thin lines are steps, thick ones means over the last steps.
matplotlib (extra `plot`) loads when a picture is drawn, and needs no display.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Any

import numpy as np

from dolmix.errors import UsageError
from trainer.curves import Curves, Floats, compared, labels, read_curves, smoothed

if TYPE_CHECKING:
    from matplotlib.axes import Axes

UNITS = ((10**9, "billion "), (10**6, "million "), (10**3, "thousand "), (1, ""))
UNEQUAL = {".png": "Software", ".svg": "Date", ".pdf": "CreationDate"}
"""What each format would say of when, or by what, a picture was drawn."""
PANEL_IN, DPI, COLUMNS = (5.2, 3.4), 110, 3
MOST_POINTS, MOST_PANELS, MOST_NOTES, LONGEST_NOTE = 2000, 12, 4, 170
Panel = Callable[["Axes"], None]


def plot_options(parser: argparse.ArgumentParser) -> None:
    """Describe the verb's arguments."""
    parser.description = "Draw runs, or compare them: loss, by source, evaluation, router balance."
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="output of a training")
    parser.add_argument("-o", "--output", type=Path, help="picture: .png, .svg or .pdf")
    parser.add_argument("--x", choices=("tokens", "steps"), default="tokens")
    parser.add_argument("--smooth", type=int, help="mean over so many steps; default: a 50th")
    parser.add_argument("--json", action="store_true", help="numbers as JSON on stdout")


def plot(options: argparse.Namespace) -> int:
    """Draw and tell; returns the exit code. Raises UsageError for what is no run."""
    if options.smooth is not None and options.smooth < 1:
        raise UsageError(f"--smooth {options.smooth}: take the mean of 1 step or more")
    runs = [read_curves(folder) for folder in options.runs]
    steps = options.smooth or _window(min(len(run.values["step"]) for run in runs))
    found = compared(runs, steps)
    if options.output is not None:
        draw(runs, options.output, x=options.x, steps=steps, differences=found["differences"])
    if options.json:
        sys.stdout.write(json.dumps(found, indent=1) + "\n")
    else:
        sys.stdout.write("".join(line + "\n" for line in told(found)))
    return 0


def _window(steps: int) -> int:
    """Take the mean of a 50th of a run, of 10 steps at least, never of more than a fifth."""
    return max(1, min(steps // 5, max(10, steps // 50)))


def told(found: dict[str, Any]) -> Iterator[str]:
    """Say the numbers of `compared` in lines: one a run, one a loss, one a difference."""
    runs, changes = found["runs"], found["differences"]
    yield (
        f"means of the last {found['mean_of_steps']:,} steps up to {found['at_tokens']:,} tokens; "
        "differences from the first run, with their standard errors"
    )
    for run in runs:
        yield f"{run['run']}: {run['steps']:,} steps, {run['tokens']:,} tokens, {run['folder']}"
    yield _line("ce", [r["ce"] for r in runs], [d["ce"] for d in changes])
    for name in _names(runs, "sources"):
        gaps = [d["sources"].get(name) for d in changes]
        yield _line(f"ce of {name}", [r["sources"].get(name) for r in runs], gaps)
    for name in _names(runs, "evaluation"):
        values = [r["evaluation"].get(name) for r in runs]
        yield _line(name, values, [{"difference": d["evaluation"].get(name)} for d in changes])
    yield _line("balance", [r["balance"] for r in runs], [])
    for change in changes:
        for line in (*change["lock"], *change["settings"]):
            yield f"{change['run']}: {line}"


def _names(runs: Sequence[dict[str, Any]], kind: str) -> list[str]:
    """Names of what any run has numbers of, those of the first run first."""
    return [*dict.fromkeys(name for run in runs for name in run[kind])]


def _line(name: str, values: Sequence[float | None], gaps: Sequence[Any]) -> str:
    words = [f"{name:24}", *("-" if v is None else f"{v:.4f}" for v in values)]
    for gap in gaps:
        if gap is not None and gap["difference"] is not None:
            error = gap.get("standard_error")
            noise = "" if error is None else f" ± {error:.4f}"
            words.append(f"({gap['difference']:+.4f}{noise})")
    return "  ".join(words)


def draw(
    runs: Sequence[Curves],
    path: Path,
    *,
    x: str = "tokens",
    steps: int = 1,
    differences: Sequence[dict[str, Any]] = (),
) -> None:
    """Draw runs to a file; steps: of how many steps thick lines are means.

    Raises UsageError if matplotlib is not installed or the file name ends in no known format.
    """
    if path.suffix not in UNEQUAL:
        raise UsageError(f"{path}: a picture ends in {', '.join(UNEQUAL)}, not {path.suffix!r}")
    try:
        from matplotlib import rc_context
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise UsageError(
            "pictures need matplotlib, which is not installed: pip install 'dolmix[plot]'"
        ) from None
    panels = [*_Panels(runs, x, steps).all()]
    rows = -(-len(panels) // COLUMNS)
    notes = [*_notes(differences)]
    height = rows * PANEL_IN[1] + 0.22 * len(notes) + 0.5
    columns = min(COLUMNS, len(panels))
    figure = Figure(figsize=(columns * PANEL_IN[0], height), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    cells = figure.subplots(rows, columns, squeeze=False).flatten()
    for panel, axes in zip(panels, cells, strict=False):
        panel(axes)
        axes.grid(alpha=0.25)
    for axes in cells[len(panels) :]:
        axes.set_visible(False)
    figure.suptitle("\n".join([_title(runs, steps), *notes]), fontsize=10)
    path.parent.mkdir(parents=True, exist_ok=True)
    # no date and no random name in the file: equal runs give equal pictures
    with rc_context({"svg.hashsalt": "dolmix"}):
        figure.savefig(path, metadata={UNEQUAL[path.suffix]: None})


def _title(runs: Sequence[Curves], steps: int) -> str:
    orders = {run.info.order_hash[:7] for run in runs if run.info is not None}
    order = f"   order {orders.pop()}" if len(orders) == 1 else ""
    means = "" if steps == 1 else f"   thick lines: means of {steps:,} steps"
    return f"{' and '.join(labels(runs))}{order}{means}"


def _notes(differences: Sequence[dict[str, Any]]) -> Iterator[str]:
    for change in differences:
        lines = [*change["lock"], *change["settings"]] or ["no difference in lock or settings"]
        shown = [shorten(line, LONGEST_NOTE, placeholder=" ...") for line in lines[:MOST_NOTES]]
        left = len(lines) - len(shown)
        more = f"; {left} more" if left else ""
        yield f"{change['run']} against {change['against']}:  " + "\n".join(shown) + more


class _Panels:
    """Panels of one picture: of one run a line for each thing, of several one for each run."""

    def __init__(self, runs: Sequence[Curves], x: str, steps: int) -> None:
        self.runs, self.x, self.steps = runs, x, steps
        self.names = labels(runs)
        self._key = "step" if x == "steps" else "tokens"
        most = max(float(run.values[self._key][-1]) for run in runs)
        self.unit, self.unit_name = next(unit for unit in UNITS if most >= unit[0])

    def all(self) -> Iterator[Panel]:
        """Loss, sources, evaluations, routers."""
        yield self._of_values("cross-entropy, nats a token", lambda run: run.values["ce"])
        yield from self._sources()
        yield from self._evaluations()
        yield from self._routers()

    def _sources(self) -> Iterator[Panel]:
        names = sorted({name for run in self.runs for name in run.sources})
        if len(self.runs) == 1:
            (run,) = self.runs
            yield self._of_lines(
                "cross-entropy by source", [(n, run, run.sources[n]) for n in names]
            )
            return
        for name in names[:MOST_PANELS]:
            yield self._of_values(
                f"cross-entropy of {name}", lambda run, n=name: run.sources.get(n)
            )

    def _evaluations(self) -> Iterator[Panel]:
        names = sorted({name for run in self.runs for name in run.evals})
        if len(self.runs) == 1:
            for measure, title in MEASURES.items():
                if some := [n for n in names if n.startswith(f"{measure}/")]:
                    yield self._of_evals(title, some)
            return
        for name in [n for n in names if self._tells(n)][:MOST_PANELS]:
            measure, _, what = name.partition("/")
            yield self._of_evals(f"{MEASURES[measure]}: {what}", [name])

    def _tells(self, name: str) -> bool:
        """Whether runs are compared by a measure: bits a byte say what nats a token say, better."""
        measure, _, what = name.partition("/")
        better = f"bpb/{what}"
        return measure in MEASURES and not (
            measure == "loss" and all(run.evals.get(better, NONE).size for run in self.runs)
        )

    def _routers(self) -> Iterator[Panel]:
        if len(self.runs) > 1:
            yield self._of_values(
                "largest load of an expert over the mean", lambda run: run.values["balance"]
            )
            yield self._of_values("router entropy, least even layer (1 is even)", _least_entropy)
            return
        (run,) = self.runs
        for name, title in ROUTER.items():
            if name in run.router:
                yield self._of_layers(title, run, run.router[name])

    def _of_values(self, title: str, values: Callable[[Curves], Floats | None]) -> Panel:
        """One line for each run that has such values."""
        found = [(n, run, values(run)) for n, run in zip(self.names, self.runs, strict=True)]
        return self._of_lines(title, [(n, run, v) for n, run, v in found if v is not None])

    def _of_lines(self, title: str, lines: Sequence[tuple[str, Curves, Floats]]) -> Panel:
        def panel(axes: "Axes") -> None:
            for number, (name, run, values) in enumerate(lines):
                colour = _colour(number, self.names, name)
                if self.steps > 1:
                    axes.plot(*self._points(run, values), color=colour, alpha=0.25, lw=0.7)
                mean = smoothed(values, self.steps)
                axes.plot(*self._points(run, mean), color=colour, lw=1.6, label=name)
            self._finish(axes, title)

        return panel

    def _of_layers(self, title: str, run: Curves, values_NL: Floats) -> Panel:
        def panel(axes: "Axes") -> None:
            from matplotlib import colormaps

            layers = _layers(run, values_NL.shape[1])
            for number, layer in enumerate(layers):
                colour = colormaps["viridis"](number / max(len(layers) - 1, 1))
                mean = smoothed(values_NL[:, number], self.steps)
                label = f"layer {layer}" if number in (0, len(layers) - 1) else None
                axes.plot(*self._points(run, mean), color=colour, lw=1.0, label=label)
            self._finish(axes, title)

        return panel

    def _of_evals(self, title: str, names: Sequence[str]) -> Panel:
        """Lines with points where a model was measured; bands and chance for tasks."""

        def panel(axes: "Axes") -> None:
            lines = [(name, run, n) for name in names for run, n in zip(self.runs, self.names,
                     strict=True) if name in run.evals]  # fmt: skip
            for number, (name, run, label) in enumerate(lines):
                what = label if len(self.runs) > 1 else name.partition("/")[2]
                self._one_eval(axes, run, name, what, _colour(number, self.names, what))
            self._finish(axes, title)

        return panel

    def _one_eval(self, axes: "Axes", run: Curves, name: str, label: str, colour: Any) -> None:
        measure, _, what = name.partition("/")
        at, values = self._eval_points(run.evals[name])
        axes.plot(at, values, "o-", color=colour, lw=1.4, ms=3, label=label)
        error = run.evals.get(f"{measure}_stderr/{what}")
        if error is not None and error.shape[1] == len(values):
            axes.fill_between(at, values - error[2], values + error[2], color=colour, alpha=0.15)
        chance = run.evals.get(f"chance/{what}")
        if measure.startswith("acc") and chance is not None:
            axes.plot(*self._eval_points(chance), "--", color=colour, lw=0.8)

    def _eval_points(self, found_3M: Floats) -> tuple[Floats, Floats]:
        return found_3M[0 if self.x == "steps" else 1] / self.unit, found_3M[2]

    def _points(self, run: Curves, values: Floats) -> tuple[Floats, Floats]:
        """Positions and values to draw, thinned to what a picture can show."""
        keep = np.flatnonzero(np.isfinite(values))
        keep = keep[:: max(1, len(keep) // MOST_POINTS)]
        return run.values[self._key][keep] / self.unit, values[keep]

    def _finish(self, axes: "Axes", title: str) -> None:
        axes.set_title(title, fontsize=9)
        axes.set_xlabel(f"{self.unit_name}{self.x}", fontsize=8)
        axes.tick_params(labelsize=8)
        axes.margins(x=0.01)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize=7)


NONE: Floats = np.empty((3, 0))
MEASURES = {
    "loss": "held-out loss, nats a token",
    "bpb": "held-out bits a byte",
    "acc_norm": "accuracy, length-normalised; dashed: chance",
    "answer_bpb": "right answer, bits a byte",
}
ROUTER = {
    "max_share": "largest share of visits to one expert, by layer",
    "entropy": "entropy of the visits, by layer (1 is even)",
}


def _least_entropy(run: Curves) -> Floats | None:
    return run.router["entropy"].min(1) if "entropy" in run.router else None


def _layers(run: Curves, count: int) -> list[int]:
    """Numbers of the layers with experts."""
    if run.info is None:
        return [*range(count)]
    model = run.info.config["model"]
    return [n for n in range(model["layers"]) if n not in model["dense_layers"]]


def _colour(number: int, names: Sequence[str], name: str) -> Any:
    """Give a run the same colour in every panel, and other lines one each."""
    from matplotlib import colormaps

    number = names.index(name) if name in names else number
    return colormaps["tab10"](number % 10)
