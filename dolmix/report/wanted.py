"""What is asked of statistics, and what the texts give as plain data."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dolmix.errors import UsageError
from dolmix.report.texts import Measured

MOST_WORDS = 5
"""Longest n-grams that are counted."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to describe.

    kept       of a run: the documents that nothing dropped, as they train; else all, as they read
    ngrams     count n-grams of up to so many words; 0 reads no text
    top        how many of the most frequent to list
    tokenizer  tokenizer file of a store
    workers    threads that read texts; the result does not depend on it
    """

    kept: bool = False
    ngrams: int = 0
    top: int = 20
    tokenizer: Path | None = None
    workers: int = 1

    def __post_init__(self) -> None:
        """Raise UsageError for what cannot be counted."""
        if not 0 <= self.ngrams <= MOST_WORDS:
            raise UsageError(f"n-grams of {self.ngrams} words: from 0 (none) to {MOST_WORDS}")


def describe_texts(measured: Measured) -> dict[str, Any]:
    """Give what texts hold as plain data: `texts` and `ngrams`."""
    return {
        "texts": {
            "documents": measured.documents,
            "bytes": measured.num_bytes,
            "characters": measured.characters,
            "words": measured.words,
            "lines": measured.lines,
        },
        "ngrams": [
            {
                "n": top.n,
                "total": top.total,
                "distinct": top.distinct,
                "elsewhere": top.elsewhere,
                "top": [
                    {"ngram": text, "count": count, "frac": count / top.total}
                    for text, count in top.ngrams
                ],
            }
            for top in measured.ngrams
        ],
    }
