"""The error tree: one root, one exit code each, and messages that stand on their own."""

import inspect
import pickle

import pytest

from dolmix import errors
from dolmix.errors import ConfigError, DolmixError, Problem

TREE = [
    cls
    for _, cls in inspect.getmembers(errors, inspect.isclass)
    if issubclass(cls, Exception) and cls.__module__ == errors.__name__
]


@pytest.mark.parametrize("cls", TREE, ids=lambda cls: cls.__name__)
def test_every_error_is_a_dolmix_error_with_an_exit_code(cls: type[DolmixError]) -> None:
    """The command line can catch the root and return 1 for data, 2 for usage and configuration."""
    assert issubclass(cls, DolmixError)
    assert cls.exit_code in {1, 2}


def test_exit_codes() -> None:
    """What a user configured or typed wrongly exits with 2, all else with 1."""
    usage = {cls.__name__ for cls in TREE if cls.exit_code == 2}
    assert usage == {"ConfigError", "UsageError", "MixError", "OrderError"}


def test_a_config_error_lists_its_problems() -> None:
    """The message counts the problems and gives one line to each; a path is left out if empty."""
    one = ConfigError("a.yaml", [Problem("", "no such file")])
    two = ConfigError("a.yaml", [Problem("seed", "not a number"), Problem("x.0", "unknown key")])
    assert str(one) == "a.yaml: 1 problem\n  no such file"
    assert str(two) == "a.yaml: 2 problems\n  seed: not a number\n  x.0: unknown key"
    assert two.problems == (Problem("seed", "not a number"), Problem("x.0", "unknown key"))


@pytest.mark.parametrize(
    "error", [ConfigError("a.yaml", [Problem("seed", "bad")]), errors.DataError("what and where")]
)
def test_errors_travel_from_workers(error: DolmixError) -> None:
    """An error raised in a worker process arrives whole in the parent."""
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy)) == (type(error), str(error))
    assert getattr(copy, "problems", None) == getattr(error, "problems", None)
