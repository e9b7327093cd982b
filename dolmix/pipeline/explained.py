"""What is told of one document: rules, edits, duplicates, where it ended."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from dolmix.pipeline.edit_lines import Hunk

Verdict = Literal["keep", "drop", "beyond too", "missing", "not reached", "measured"]
"""What a rule made of a document: kept it; dropped it; would have, had no other rule before it;
had no value to judge; never judged it; or there is no rule, and a value all the same."""
Outcome = Literal["kept", "held out", "dropped", "bad record", "not decided yet"]


@dataclass(frozen=True, slots=True)
class RuleVerdict:
    """One active rule and one document; or one column of a filter without rules."""

    filter: str
    rule: str
    """Its reason code, with the filter's name."""
    column: str
    value: Any
    """None: there is no value."""
    limit: str
    """As a person reads it: `< 50`; empty where a class of datatrove decides."""
    verdict: Verdict

    def with_verdict(self, verdict: Verdict) -> "RuleVerdict":
        """Give the same with another verdict."""
        return replace(self, verdict=verdict)


@dataclass(frozen=True, slots=True)
class Edit:
    """What one filter, or paragraph dedup, changed in the text."""

    filter: str
    removed_bytes: int
    """By how many bytes the text became shorter."""
    counts: Mapping[str, int | None]
    """What the edit did, by rule."""


@dataclass(frozen=True, slots=True)
class Duplicate:
    """The document for which a dedup step dropped this one."""

    step: str
    reason: str
    drops: bool
    """False: the step has `drop: none` and only says so."""
    cluster: int
    of_source: str
    of_id: str
    jaccard: float | None
    """How alike the two are; None where the step compares no texts."""
    estimated: bool
    """Whether `jaccard` is an estimate from sketches."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """Everything a run knows of one document."""

    source: str
    id: str
    path: str
    """Input file, as in the store's provenance."""
    record: int
    """Number of its record in that file, from 0."""
    num_bytes: int
    outcome: Outcome
    reason: str | None
    """Why it was dropped; of a bad record, what is wrong with it."""
    rules: tuple[RuleVerdict, ...] = ()
    edits: tuple[Edit, ...] = ()
    diff: tuple[Hunk, ...] = ()
    """Every change of the text; empty where it could not be read, as `note` then says."""
    duplicates: tuple[Duplicate, ...] = ()
    paragraphs: Mapping[str, Any] | None = None
    """Counts of paragraph dedup, where it judged the document."""
    store: tuple[str, int] | None = None
    """Store in which it is, relative to the run, and its number there."""
    text: str | None = None
    """Original text, where it was asked for."""
    note: str = ""

    def describe(self) -> dict[str, Any]:
        """Give everything as plain data."""
        store = None if self.store is None else {"path": self.store[0], "document": self.store[1]}
        return {**asdict(self), "store": store}
