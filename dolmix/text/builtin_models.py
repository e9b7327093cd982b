"""Where the models that ship with dolmix are."""

from pathlib import Path

from dolmix.errors import FilterError

FOLDER = Path(__file__).resolve().parent.parent / "learned" / "models"
NAMES = ("ads", "fluency")


def builtin(name: str) -> Path:
    """Path of a model that ships with dolmix, `ads` or `fluency`; its card lies beside it.

    Raises FilterError for another name.
    """
    if name not in NAMES:
        raise FilterError(f"no model {name!r} ships with dolmix; there are {', '.join(NAMES)}")
    return FOLDER / f"{name}.ftz"
