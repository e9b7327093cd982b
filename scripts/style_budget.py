"""Print how long, typed and documented the code is, and check that against the style budget.

    python scripts/style_budget.py [FOLDER...]        # default: dolmix trainer

A function's length is its lines without its docstring. Medians and 90th percentiles are over all
functions, files or classes of the folders together. Exit 1 if any limit is passed; the offending
places are listed as `file:line: what`, so that an editor can jump to them.
"""

import ast
import statistics
import sys
import tokenize
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

ROOT = Path(__file__).resolve().parent.parent
NOT_OURS = ROOT / "dolmix" / "sample" / "documents"
"""Documents of the sample that happen to be Python."""
MOST_COMMENTS = 12.0
BANNED_WORDS = ("handle", "process", "manager", "utils")
"""Names that say nothing; the glossary has better ones."""

Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Module:
    """One parsed file."""

    path: Path
    lines: tuple[str, ...]
    tree: ast.Module
    comments: int

    def place(self, line: int) -> str:
        """`file:line`, from the root of the repository where the file lies below it."""
        inside = self.path.is_relative_to(ROOT)
        return f"{self.path.relative_to(ROOT) if inside else self.path}:{line}"

    def functions(self) -> Iterator[Function]:
        """Every function and method, nested ones too."""
        kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
        return (node for node in ast.walk(self.tree) if isinstance(node, kinds))

    def classes(self) -> Iterator[ast.ClassDef]:
        """Every class."""
        return (node for node in ast.walk(self.tree) if isinstance(node, ast.ClassDef))


@dataclass
class Figure:
    """One line of the budget: what was measured, its limit, and what passes it."""

    name: str
    value: float
    limit: str
    good: bool
    places: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        """Format as a line of the table."""
        mark = "ok  " if self.good else "OVER"
        return f"{mark} {self.name:<38} {self.value:>8.1f}   {self.limit}"


def read(path: Path) -> Module:
    """Parse one file."""
    with tokenize.open(path) as file:
        text = file.read()
    with path.open("rb") as raw:
        comments = sum(t.type == tokenize.COMMENT for t in tokenize.tokenize(raw.readline))
    return Module(path, tuple(text.splitlines()), ast.parse(text, str(path)), comments)


def modules(folders: Sequence[Path]) -> list[Module]:
    """Parse every Python file below the folders, in the order of their paths."""
    paths = sorted(path for folder in folders for path in folder.rglob("*.py"))
    return [read(path) for path in paths if NOT_OURS not in path.parents]


# --- what is measured -----------------------------------------------------------------------------


def span(node: ast.stmt) -> int:
    """Lines of a statement, decorators left out."""
    return (node.end_lineno or node.lineno) - node.lineno + 1


def function_lines(node: Function) -> int:
    """Lines of a function without its docstring."""
    return span(node) - (span(node.body[0]) if ast.get_docstring(node) else 0)


def parameters(node: Function) -> list[ast.arg]:
    """Parameters that a caller gives: all but self and cls."""
    args = node.args
    listed = [*args.posonlyargs, *args.args, *args.kwonlyargs]
    listed += [a for a in (args.vararg, args.kwarg) if a is not None]
    return [a for a in listed if a.arg not in {"self", "cls"}]


def untyped(node: Function) -> list[str]:
    """Parameters without a type, and `return`."""
    missing = [a.arg for a in parameters(node) if a.annotation is None]
    return missing + (["return"] if node.returns is None else [])


def public_nodes(module: Module) -> Iterator[Function | ast.ClassDef]:
    """Classes, functions and methods for use from outside: no leading underscore on the way.

    Magic methods are left out, their class describes them.
    """

    def walk(body: Sequence[ast.stmt]) -> Iterator[Function | ast.ClassDef]:
        for node in body:
            if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                continue
            if node.name.startswith("_"):
                continue
            yield node
            if isinstance(node, ast.ClassDef):
                yield from walk(node.body)

    return walk(module.tree.body)


def raises(module: Module) -> Iterator[tuple[int, bool]]:
    """Line of each error that is built with a message, and whether the message names a value."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and node.exc.args:
            given = [*node.exc.args, *(k.value for k in node.exc.keywords)]
            yield node.lineno, any(not _constant(value) for value in given)


def _constant(node: ast.expr) -> bool:
    """Whether an expression is literal text or the like, with nothing filled in."""
    return all(
        isinstance(n, (ast.Constant, ast.JoinedStr, ast.expr_context)) for n in ast.walk(node)
    )


# --- the budget -----------------------------------------------------------------------------------


def percentile(values: Sequence[int], percent: int) -> float:
    """Smallest value that `percent` of all do not exceed; 0 where there are none."""
    ordered = sorted(values)
    return float(ordered[-(-len(ordered) * percent // 100) - 1]) if ordered else 0.0


def longest(
    name: str, sized: Sequence[tuple[int, str]], limit: int, *, of: Callable[..., float] = max
) -> Figure:
    """Check the largest size, or another measure of all sizes, against a limit."""
    sizes = [size for size, _ in sized]
    value = float(of(sizes)) if sizes else 0.0
    over = [f"{place}: {size}, limit {limit}" for size, place in sized if size > limit]
    return Figure(name, value, f"<= {limit}", value <= limit, over if of is max else [])


def share(name: str, done: Sequence[tuple[bool, str]], least: int) -> Figure:
    """Check the percentage of places where something is done."""
    value = 100.0 * sum(good for good, _ in done) / len(done) if done else 100.0
    lacking = [place for good, place in done if not good]
    return Figure(name, value, f">= {least} %", value >= least, lacking)


def budget(code: Sequence[Module]) -> list[Figure]:
    """Measure everything, in the order of printing."""
    return [*_sizes(code), *_documentation(code), *_wording(code)]


def _sizes(code: Sequence[Module]) -> list[Figure]:
    def tenth(sizes: Sequence[int]) -> float:
        return percentile(sizes, 90)

    lines = [(len(t), m.place(n)) for m in code for n, t in enumerate(m.lines, 1)]
    functions = [(m, f) for m in code for f in m.functions()]
    bodies = [(function_lines(f), f"{m.place(f.lineno)}: {f.name}") for m, f in functions]
    params = [(len(parameters(f)), m.place(f.lineno)) for m, f in functions]
    files = [(len(m.lines), m.place(1)) for m in code]
    classes = [(span(c), m.place(c.lineno)) for m in code for c in m.classes()]
    return [
        longest("line, longest", lines, 100),
        longest("function, longest", bodies, 60),
        longest("function, 90th percentile", bodies, 40, of=tenth),
        longest("function, median", bodies, 12, of=statistics.median),
        longest("parameters, 90th percentile", params, 5, of=tenth),
        longest("class, 90th percentile", classes, 150, of=tenth),
        longest("file, longest", files, 500),
        longest("file, median", files, 200, of=statistics.median),
    ]


def _documentation(code: Sequence[Module]) -> list[Figure]:
    headed = [(bool(ast.get_docstring(m.tree)), f"{m.place(1)}: no docstring") for m in code]
    told = [
        (bool(ast.get_docstring(n)), f"{m.place(n.lineno)}: {n.name} has no docstring")
        for m in code
        for n in public_nodes(m)
    ]
    typed = [
        (not untyped(f), f"{m.place(f.lineno)}: {f.name} does not type {', '.join(untyped(f))}")
        for m in code
        for f in m.functions()
    ]
    return [
        share("modules with a docstring", headed, 100),
        share("public names with a docstring", told, 90),
        share("functions typed throughout", typed, 100),
    ]


def _wording(code: Sequence[Module]) -> list[Figure]:
    named = [
        (names, f"{m.place(line)}: the error names no value")
        for m in code
        for line, names in raises(m)
    ]
    empty = [
        f"{m.place(getattr(node, 'lineno', 1))}: {name}"
        for m in code
        for name, node in [
            (m.path.stem, m.tree),
            *((n.name, n) for n in (*m.functions(), *m.classes())),
        ]
        if set(_words(name)) & set(BANNED_WORDS)
    ]
    total = sum(len(m.lines) for m in code)
    comments = 100.0 * sum(m.comments for m in code) / total if total else 0.0
    return [
        share("errors that name a value", named, 90),
        Figure(f"names with {', '.join(BANNED_WORDS)}", len(empty), "0", not empty, empty),
        Figure(
            "comments in 100 lines", comments, f"<= {MOST_COMMENTS:g}", comments <= MOST_COMMENTS
        ),
    ]


def _words(name: str) -> list[str]:
    """Words of a snake_case or CamelCase name, in lower case."""
    spaced = "".join(f"_{c}" if c.isupper() else c for c in name)
    return [word for word in spaced.lower().split("_") if word]


def main(arguments: Sequence[str]) -> int:
    """Print the budget and what passes it; return the exit code."""
    folders = [Path(a) for a in arguments] or [ROOT / "dolmix", ROOT / "trainer"]
    absent = [str(folder) for folder in folders if not folder.is_dir()]
    if absent:
        print(f"no such folder: {', '.join(absent)}", file=sys.stderr)
        return 2
    code = modules(folders)
    figures = budget(code)
    print(f"{len(code)} files, {sum(len(m.lines) for m in code):,} lines")
    for figure in figures:
        print(figure)
    over = [figure for figure in figures if not figure.good]
    for figure in over:
        print(f"\n{figure.name}: {figure.value:.1f}, limit {figure.limit}")
        for place in figure.places:
            print(f"  {place}")
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
