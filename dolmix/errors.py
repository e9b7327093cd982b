"""Everything dolmix raises on purpose.

One tree under `DolmixError`. Each message names what, which, the numbers, and the next step;
`exit_code` is what the command line returns for it. Anything else that escapes is a bug in dolmix.
"""

from collections.abc import Sequence
from dataclasses import dataclass


class DolmixError(Exception):
    """A failure that dolmix explains; `exit_code` 1: bad data or findings, 2: usage or config."""

    exit_code = 1


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong in a configuration: where (dotted path, empty = whole file) and what."""

    path: str
    message: str

    def __str__(self) -> str:
        """`path: message`, or the message alone when it concerns the whole file."""
        return f"{self.path}: {self.message}" if self.path else self.message


class ConfigError(DolmixError):
    """A configuration that does not load; carries every problem found, not only the first."""

    exit_code = 2

    def __init__(self, origin: str, problems: Sequence[Problem]) -> None:
        self.origin = origin
        self.problems = tuple(problems)
        count = f"{len(problems)} problem" + ("" if len(problems) == 1 else "s")
        super().__init__("\n".join([f"{origin}: {count}", *(f"  {p}" for p in problems)]))

    def __reduce__(self) -> tuple[type["ConfigError"], tuple[str, tuple[Problem, ...]]]:
        """Pickle by the arguments, so that the error arrives whole from a worker process."""
        return type(self), (self.origin, self.problems)


class UsageError(DolmixError):
    """A command that cannot mean anything: no such run, a tokenizer of another store."""

    exit_code = 2


class DataError(DolmixError):
    """Input that cannot be read: which file and record, what was expected, what to do."""


class FilterError(DolmixError):
    """A filter that cannot judge: a missing model, a missing value under `on_missing: fail`."""


class StoreError(DolmixError):
    """A store that is absent, incomplete, damaged, or in the way of a commit."""


class MixError(DolmixError):
    """A mix that cannot be resolved: supply, caps, quotas."""

    exit_code = 2


class LockError(DolmixError):
    """A lock that does not fit its stores, or a file that is no lock."""


class LedgerError(DolmixError):
    """A ledger that was changed by hand, is of another lock, or is not what a checkpoint saw."""


class OrderError(DolmixError):
    """A place outside the order: step, slot, instance or document."""

    exit_code = 2


class TaskError(DolmixError):
    """One or more tasks of a run failed; carries their messages, one a task."""
