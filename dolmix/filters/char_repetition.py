"""Character repetition: a group of characters that stands four times or more in a row.

The columns are those of dolma's taggers `repetitions_v1` and `paragraph_repetitions_v1`. No
released configuration of dolma has thresholds for them, so there are none here that could be a
default: at least one has to be given.
"""

from collections.abc import Iterator
from typing import Annotated, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from dolmix.config import Frac
from dolmix.document import Columns, TextBatch
from dolmix.filters.base import Filter, Rule

TAGGERS = {"document": "repetitions_v1", "paragraph": "paragraph_repetitions_v1"}
"""The tagger of dolma 1.2.1 whose values the columns equal, by scope."""


class CharRepetition(Filter):
    """Drop documents in which a group of characters repeats, with or without a space between.

    A threshold that is not given leaves its rule off; at least one must be given.
    """

    rule_settings = ("drop_at_score", "drop_at_length", "max_repeated_frac")

    type: Literal["char_repetition"] = "char_repetition"
    preset: Literal["dolma-1.2"] = "dolma-1.2"
    """Whose definition: the repetition taggers of dolma 1.2. It brings no thresholds."""
    scope: Literal["document", "paragraph"] = "document"
    """Where a repetition may go: on to the next line, a newline standing between two copies, or to
    the end of its line."""
    drop_at_score: Annotated[int, Field(ge=4)] | None = None
    """Drop when a group occurs this many times in one repetition, or more; the least is 4."""
    drop_at_length: Annotated[int, Field(ge=4)] | None = None
    """Drop when one repetition has this many characters, or more."""
    max_repeated_frac: Frac | None = None
    """Largest share of the document's characters that stand in repetitions."""

    @model_validator(mode="after")
    def _some_rule_is_on(self) -> "CharRepetition":
        if not any(rule.active for rule in self.rules()):
            raise ValueError(
                f"every rule is off, and preset {self.preset} has no thresholds: no released "
                "configuration uses these columns. Set drop_at_score, drop_at_length or "
                "max_repeated_frac, or leave the filter out"
            )
        return self

    @property
    def definition(self) -> str:
        """The dolma tagger whose values the columns equal."""
        return f"dolma 1.2.1 {TAGGERS[self.scope]}"

    def column_types(self) -> dict[str, pa.DataType]:
        """Three columns, never null."""
        return {
            "max_score": pa.int64(),
            "max_length": pa.int64(),
            "repeated_frac": pa.float64(),
        }

    def columns(self, texts: TextBatch) -> Columns:
        """Find every repetition; all columns are 0 without any, and for an empty text."""
        from dolmix.text.char_repeats import char_repeats

        found = char_repeats(texts, by_paragraph=self.scope == "paragraph")
        return {
            "max_score": pa.array(found.max_score),
            "max_length": pa.array(found.max_length),
            "repeated_frac": pa.array(found.repeated / np.maximum(found.chars, 1)),
        }

    def rules(self) -> Iterator[Rule]:
        """Score, length, share."""
        yield Rule("max_score", at_least=self.drop_at_score)
        yield Rule("max_length", at_least=self.drop_at_length)
        yield Rule("repeated_frac", above=self.max_repeated_frac)
