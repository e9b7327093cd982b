"""Temporary files: a task's, gone when it ends or, after a kill, with the rerun; and a run's."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dolmix.files import commit

TEXTS = Path("work", "texts")
"""Folder of texts that filter tasks set aside (`kept_texts`)."""


@contextmanager
def scratch_folder(parent: Path) -> Iterator[Path]:
    """Yield a new folder below `parent` that no other attempt shares."""
    parent.mkdir(parents=True, exist_ok=True)
    folder = commit.attempt_path(parent / "scratch")  # a name that the next run sweeps away
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def drop_texts(run: Path) -> None:
    """Remove what all tasks of a run set aside."""
    shutil.rmtree(run / TEXTS, ignore_errors=True)
