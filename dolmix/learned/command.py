"""What the command line gives `evaluate` and `calibrate`: files and settings in one list."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dolmix.config import parse
from dolmix.errors import UsageError
from dolmix.learned.calibrate import Calibration
from dolmix.learned.evaluate import Evaluation
from dolmix.text.builtin_models import NAMES, builtin


def evaluation(model: str, given: Sequence[str]) -> tuple[Path, Evaluation]:
    """Read a model's name, files and `key.path=value` settings of an evaluation.

    `rows.label_field=x` and the like set how all files are read. Raises UsageError without a file,
    ConfigError for settings.
    """
    files, overrides = _parted(given)
    mine = [text for text in overrides if not text.startswith("rows.")]
    reading = ["rows.0." + text.removeprefix("rows.") for text in overrides if text not in mine]
    raw: dict[str, Any] = {"rows": [{"inputs": files}]}
    return model_path(model), parse(
        Evaluation, raw, [*mine, *reading], origin="classifier evaluate"
    )


def calibration(model: str, given: Sequence[str]) -> tuple[Path, Calibration]:
    """Read a model's name, files and `key.path=value` settings of a calibration."""
    files, overrides = _parted(given)
    raw: dict[str, Any] = {"inputs": files}
    return model_path(model), parse(Calibration, raw, overrides, origin="classifier calibrate")


def model_path(name: str) -> Path:
    """Path of a model: one that ships with dolmix by its name, or a file."""
    return builtin(name) if name in NAMES else Path(name)


def _parted(given: Sequence[str]) -> tuple[list[str], list[str]]:
    """Part files from settings: a setting has `=`, and no file of that name is there."""
    settings = [text for text in given if "=" in text and not Path(text).exists()]
    files = [text for text in given if text not in settings]
    if not files:
        said = " ".join(given) or "nothing"
        raise UsageError(f"give at least one file, as data/*.jsonl.gz; this has none: {said}")
    return files, settings
