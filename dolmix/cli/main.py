"""The `dolmix` command: mounts one module a noun, turns errors into exit codes.

Exit codes: 0 ok, 1 findings or bad data, 2 usage or configuration, 130 interrupted and resumable.
Importing this module loads no numpy, numba, pyarrow or torch; each command imports what it needs.
"""

import logging
import os
import sys
from typing import Annotated

import typer

from dolmix import __version__
from dolmix.cli import classifier, mix, order, run, sample, shards, stats, train, why
from dolmix.errors import DolmixError

INTERRUPTED = 130

app = typer.Typer(
    name="dolmix",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Raw text in; a named, pinned, inspectable training mix out; a MoE trained on exactly it.",
)
app.command("sample")(sample.sample)
app.command("run")(run.run)
app.command("plan")(run.plan)
app.command("status")(run.status)
app.command("why")(why.why)
app.command("whatif")(why.whatif)
app.command("stats")(stats.stats)
app.add_typer(classifier.app, name="classifier")
app.add_typer(shards.app, name="shards")
app.add_typer(mix.app, name="mix")
app.add_typer(order.app, name="order")
app.command("train")(train.train)


def _version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"dolmix {__version__}\n")
        raise typer.Exit


@app.callback()
def main(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log more, on stderr.")] = False,
) -> None:
    """Set up logging; every command reads its own arguments."""
    del version
    level = logging.DEBUG if verbose else logging.WARNING
    logging.basicConfig(
        level=level, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s"
    )


def run_cli() -> int:
    """Run the command line and return its exit code."""
    try:
        code = int(app(standalone_mode=False) or 0)
        sys.stdout.flush()
    except DolmixError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort) as stop:
        if isinstance(stop.__cause__ or stop.__context__, EOFError):
            raise
        code = INTERRUPTED
    except (BrokenPipeError, SystemExit) as end:  # Typer leaves by SystemExit on a broken pipe
        if not any(isinstance(e, BrokenPipeError) for e in (end, end.__context__)):
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the reader, `head` say, has seen enough
        return 0
    except Exception as error:
        show = getattr(error, "show", None)  # click's usage errors print themselves
        if show is None:
            raise
        show()
        return int(getattr(error, "exit_code", 2))
    if code == INTERRUPTED:  # Typer catches Ctrl-C itself and returns this
        sys.stderr.write("interrupted: run the same command again to go on\n")
    return code


def run_main() -> None:
    """Run the command line, and leave with its exit code."""
    sys.exit(run_cli())
