"""`dolmix mix`: resolve a mix to a lock, check it, show it, compare two."""

from pathlib import Path
from typing import Annotated, Any

import typer

from dolmix.cli import render
from dolmix.cli.options import AsJson, LockFile, MixFile, Overrides

app = typer.Typer(no_args_is_help=True, help="Declare a training mix, pin it, see what it holds.")

LockOut = Annotated[
    Path | None,
    typer.Option("--out", "-o", metavar="LOCK", help="Lock file; default MIX's stem + .lock.json."),
]
MixOrLock = Annotated[Path, typer.Argument(metavar="MIX|LOCK", help="Mix (YAML) or lock (JSON).")]
Quick = Annotated[
    bool, typer.Option("--quick", help="Compare manifests and sizes; digest no file.")
]
PlotOut = Annotated[
    Path | None, typer.Option("--plot", metavar="FILE.png", help="Draw the mix as a picture, too.")
]
OtherLock = Annotated[Path, typer.Argument(metavar="OTHER", help="Lock to compare with.")]


@app.command()
def resolve(
    path: MixFile, overrides: Overrides = None, out: LockOut = None, as_json: AsJson = False
) -> None:
    """Resolve a mix to a lock. Example: dolmix mix resolve configs/mixes/demo.yaml seed=7."""
    from dolmix.mix import describe, lock_path_of, resolve_file

    target = out or lock_path_of(path)
    lock = resolve_file(path, overrides or (), folder=target.parent)
    written = lock.write(target)
    _print(describe(lock) | {"lock": str(target), "written": written}, as_json=as_json)


@app.command()
def check(
    path: MixOrLock, overrides: Overrides = None, quick: Quick = False, as_json: AsJson = False
) -> None:
    """Check a lock against every byte of its stores, or a mix against its stores and its lock."""
    from dolmix.mix import check_file

    lock, findings = check_file(path, overrides or (), quick=quick)
    if as_json:
        found = [finding.model_dump() for finding in findings]
        render.as_json({"order_hash": lock.order_hash, "ok": not found, "findings": found})
    else:
        fits = f"{path}: fits its {len(lock.sources)} stores, order {lock.order_hash[:7]}"
        render.lines([finding.message for finding in findings] or [fits])
    if findings:
        raise typer.Exit(1)


@app.command()
def show(path: LockFile, plot: PlotOut = None, as_json: AsJson = False) -> None:
    """Show a lock: tokens, epochs and shares by source and stage, as text or as a picture."""
    from dolmix.mix import describe, draw, read_lock

    told = describe(read_lock(path))
    if plot is not None:
        draw(told, plot)
    _print(told, as_json=as_json)


@app.command()
def diff(path: LockFile, other: OtherLock, as_json: AsJson = False) -> None:
    """Compare two locks: settings, sources, quotas, and the first step that differs."""
    from dolmix.mix import read_lock
    from dolmix.order import diff_locks, difference_lines

    found = diff_locks(read_lock(path), read_lock(other))
    if as_json:
        render.as_json(found)
    else:
        render.lines(difference_lines(found))


def _print(told: dict[str, Any], *, as_json: bool) -> None:
    from dolmix.mix import tree

    if as_json:
        render.as_json(told)
        return
    render.lines(tree(told))
    if "lock" in told:
        render.lines([f"{told['lock']}: {'written' if told['written'] else 'unchanged'}"])
