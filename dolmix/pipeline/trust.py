"""Whether a faster engine may still encode in a run: what one task finds out, all tasks heed.

A file in `work/engines/`, named after the engine's version, says what it got wrong. While it is
there the reference alone encodes, and what the engine encoded before is done again.
"""

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from dolmix.files import commit
from dolmix.tokenizer import Tokenizer, load_tokenizer

if TYPE_CHECKING:
    from dolmix.pipeline.context import TaskContext


def trusted_tokenizer(context: "TaskContext") -> Tokenizer:
    """Tokenizer of the run; by the reference alone once a faster engine was found out."""
    config = context.plan.pipeline.tokenizer
    if engine_fault(context.run) is not None:
        config = config.model_copy(update={"engine": "tokenizers"})
    return load_tokenizer(config)


def distrust_engine(run: Path, task: str, fault: str) -> None:
    """Tell all tasks of the run that a faster engine gave other ids than the reference."""
    commit.write_json(_fault_file(run), {"task": task, "fault": fault}, indent=1)


def engine_fault(run: Path) -> str | None:
    """Tell what a faster engine got wrong in this run; None if it did not."""
    try:
        return str(orjson.loads(_fault_file(run).read_bytes())["fault"])
    except FileNotFoundError:
        return None


def _fault_file(run: Path) -> Path:
    try:
        release = version("fastokens")
    except PackageNotFoundError:
        release = "none"
    return run / "work" / "engines" / f"fastokens-{release}.json"
