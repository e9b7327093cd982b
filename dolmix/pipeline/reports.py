"""Where tasks tell the parent how far they are and why they failed; small files, never results."""

from pathlib import Path

from dolmix.files import commit
from dolmix.pipeline.plan import Task


def progress_folder(run: Path, pass_name: str) -> Path:
    """Folder of the progress files of a pass."""
    return run / "work" / "progress" / pass_name


def progress_path(run: Path, task: Task) -> Path:
    """Where a running task says how far it is."""
    return progress_folder(run, task.pass_name) / f"{task.key}.json"


def failure_path(run: Path, task: Task) -> Path:
    """Where a failed task says why."""
    return run / "work" / "failures" / task.pass_name / f"{task.key}.json"


def write_failure(run: Path, task: Task, message: str, *, explained: bool) -> None:
    """Keep a task's failure for the parent; `explained` tells bad data from a bug."""
    commit.write_json(failure_path(run, task), {"message": message, "explained": explained})
