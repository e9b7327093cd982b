"""`dolmix stats`: what is in a run or a store, counted.

The result is plain data, ready for JSON: `run` or `store`, `view` (`all` documents or the `kept`
ones), `notes`, and by source `counts`, `lengths`, `columns`, `languages`, `domains`, `verdicts` (of
a run), `duplicates`, `tokens` (of a store), and where texts are read `texts` and `ngrams`;
docs/stats.md says what each holds. Guarantee: it depends on the run or store and on what is asked
alone, not on threads or on how much is read at once.
"""

from pathlib import Path
from typing import Any

from dolmix.errors import UsageError
from dolmix.files.paths import is_remote
from dolmix.pipeline.ahead import PLAN_FILE
from dolmix.report.progress import Progress
from dolmix.report.run_stats import run_stats
from dolmix.report.store_stats import store_stats
from dolmix.report.wanted import Wanted
from dolmix.shards.layout import MANIFEST


def describe(location: str, wanted: Wanted, *, quiet: bool = False) -> dict[str, Any]:
    """Describe a run or a store.

    location  folder of a run, or of a store, or the URI of a store

    Raises UsageError for what is neither, StoreError or DataError for what cannot be read.
    """
    progress = Progress(quiet=quiet)
    try:
        if is_remote(location) or (Path(location) / MANIFEST).is_file():
            return store_stats(location, wanted, progress)
        if (Path(location) / PLAN_FILE).is_file():
            return run_stats(Path(location), wanted, progress)
    finally:
        progress.end()
    raise UsageError(
        f"{location}: neither a run nor a store: no {PLAN_FILE} of `dolmix run` here, and no "
        f"{MANIFEST}. Name the output folder of a run, or a store in its stores/."
    )
