"""Personal data masked: e-mail addresses, IP addresses and phone numbers become stand-ins.

Two peers' expressions and stand-ins, as an edit; see `dolmix.text.pii`. Counts are columns, so that
a document full of addresses can be dropped.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, cycle
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import AfterValidator, Field, model_validator

from dolmix.document import BoolArray, Columns, TextBatch
from dolmix.filters.base import EDIT, Filter, Rule, with_preset
from dolmix.text.pii import (
    Found,
    datatrove_emails,
    dolma_emails,
    dolma_ips,
    dolma_phones,
    paragraphs,
    public_ips,
)

if TYPE_CHECKING:
    from dolmix.text.edits import Edits


def _can_be_put_in(mask: str) -> str:
    if wrong := [c for c in mask if not " " <= c <= "~"]:
        raise ValueError(f"{mask!r} has {wrong[0]!r}; a mask has printable ASCII and spaces alone")
    return mask


Masks = tuple[Annotated[str, AfterValidator(_can_be_put_in)], ...]
Finder = Callable[[str], Iterable[Found]]

PRESETS: dict[str, dict[str, Any]] = {
    "datatrove-0.10": {
        "email_masks": ("email@example.com", "firstname.lastname@example.org"),
        "ip_masks": (
            *("22.214.171.124", "126.96.36.199", "188.8.131.52"),
            *("184.108.40.206", "220.127.116.11", "18.104.22.168"),
        ),
    },
    "dolma-1.2": {
        "email_masks": (" |||EMAIL_ADDRESS||| ",),
        "phone_masks": (" |||PHONE_NUMBER||| ",),
        "ip_masks": (" |||IP_ADDRESS||| ",),
        "max_count": 5,
    },
}
MAYBE_PHONE = r"\p{Nd}{3}\)?[-. ]*\p{Nd}{3}[-. ]?\p{Nd}{4}"
MAYBE_IP = r"[0-9]\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]"


class Pii(Filter):
    """Put stand-ins in the place of personal data; drop documents that have too much of it."""

    rewrites = True
    rule_settings = ("max_count",)

    type: Literal["pii"] = "pii"
    preset: Literal["datatrove-0.10", "dolma-1.2"] = "datatrove-0.10"
    """Whose expressions and stand-ins."""
    email_masks: Masks | None = None
    """What stands for e-mail addresses, in turn within a document; null leaves them."""
    phone_masks: Masks | None = None
    """What stands for phone numbers (dolma-1.2 alone finds any); null leaves them."""
    ip_masks: Masks | None = None
    """What stands for IP addresses; null leaves them."""
    public_only: bool = True
    """Leave IP addresses that no public network has, such as 192.168.0.1 (datatrove-0.10)."""
    max_count: Annotated[int, Field(ge=0)] | None = None
    """Drop a document with more finds than this."""

    @model_validator(mode="before")
    @classmethod
    def _fill_in_preset(cls, raw: Any) -> Any:
        return with_preset(raw, PRESETS, "datatrove-0.10")

    @model_validator(mode="after")
    def _preset_finds_phones(self) -> "Pii":
        if self.phone_masks is not None and self.preset != "dolma-1.2":
            raise ValueError("phone_masks: only preset dolma-1.2 finds phone numbers")
        return self

    @property
    def definition(self) -> str:
        """Whose expressions find."""
        if self.preset == "dolma-1.2":
            return "dolma 1.2.1 pii_regex_with_counts_fast_v2"
        return "datatrove 0.10 PIIFormatter"

    def column_types(self) -> dict[str, pa.DataType]:
        """Count finds of each kind, and all, and give the edit; only the edit can be null."""
        from dolmix.text.edits import EDIT_TYPE

        kinds = {"emails": pa.int64(), "ips": pa.int64()}
        if self.preset == "dolma-1.2":
            kinds["phones"] = pa.int64()
        return {**kinds, "count": pa.int64(), EDIT: EDIT_TYPE}

    def edit_counts(self) -> tuple[str, ...]:
        """Name the counts of the kinds that are masked."""
        masks = {"emails": self.email_masks, "ips": self.ip_masks, "phones": self.phone_masks}
        return tuple(name for name in self.column_types() if masks.get(name) is not None)

    def columns(self, texts: TextBatch) -> Columns:
        """Look for personal data in the documents that may have any."""
        found = self._dolma(texts) if self.preset == "dolma-1.2" else self._datatrove(texts)
        counts, edits = found
        columns: Columns = {name: pa.array(values) for name, values in counts.items()}
        total = np.sum(list(counts.values()), axis=0, dtype=np.int64)
        return {**columns, "count": pa.array(total), EDIT: edits.to_column()}

    def rules(self) -> Iterator[Rule]:
        """One rule, on all finds."""
        yield Rule("count", above=self.max_count)

    def _datatrove(self, texts: TextBatch) -> tuple[dict[str, Any], "Edits"]:
        """E-mail addresses first, then IP addresses in the text that this gives, as datatrove."""
        from dolmix.text.edits import compose, edited

        emails = [list(datatrove_emails(text)) for text in _candidates(texts, _has_at(texts))]
        first = _masked(texts, emails, self.email_masks)
        after = edited(texts, first)
        public = self.public_only
        ips = [
            list(public_ips(text, public_only=public))
            for text in _candidates(after, _matches(after, MAYBE_IP))
        ]
        then = _masked(after, ips, self.ip_masks)
        counts = {"emails": _lengths(emails), "ips": _lengths(ips)}
        return counts, compose(first, then)

    def _dolma(self, texts: TextBatch) -> tuple[dict[str, Any], "Edits"]:
        """All kinds in the same text, by paragraphs; what begins in an earlier find is left out."""
        finders: dict[str, tuple[Finder, BoolArray, Masks | None]] = {
            "emails": (dolma_emails, _has_at(texts), self.email_masks),
            "phones": (dolma_phones, _matches(texts, MAYBE_PHONE), self.phone_masks),
            "ips": (dolma_ips, _matches(texts, MAYBE_IP), self.ip_masks),
        }
        found = {
            name: [_in_paragraphs(text, finder) for text in _candidates(texts, rows)]
            for name, (finder, rows, _) in finders.items()
        }
        counts = {name: _lengths(found[name]) for name in ("emails", "ips", "phones")}
        spans = []
        for row in range(len(texts)):
            masked = [
                zip(found[name][row], cycle(masks), strict=False)
                for name, (_, _, masks) in finders.items()
                if masks is not None
            ]
            spans.append(_without_overlaps(chain.from_iterable(masked)))
        return counts, _in_bytes(texts, spans)


Masked = tuple[Found, str]


def _without_overlaps(masked: Iterable[Masked]) -> list[Masked]:
    """Take spans by their starts, those that begin inside the last one taken left out."""
    taken: list[Masked] = []
    for span, mask in sorted(masked, key=lambda pair: pair[0].start):
        if not taken or span.start >= taken[-1][0].stop:
            taken.append((span, mask))
    return taken


def _masked(texts: TextBatch, found: Sequence[list[Found]], masks: Masks | None) -> "Edits":
    from dolmix.text.edits import Edits

    if masks is None:
        return Edits.none(len(texts))
    return _in_bytes(texts, [list(zip(spans, cycle(masks), strict=False)) for spans in found])


def _in_bytes(texts: TextBatch, rows: Sequence[list[Masked]]) -> "Edits":
    """Make edits from spans of characters."""
    from dolmix.text.edits import Edits

    edits: list[list[tuple[int, int, str]]] = []
    for row, spans in enumerate(rows):
        edits.append([])
        if not spans:
            continue
        text, done, place = texts.text[row].as_py(), 0, 0
        for span, mask in spans:
            start = place + len(text[done : span.start].encode())
            place, done = start + len(text[span.start : span.stop].encode()), span.stop
            edits[-1].append((start, place, mask))
    return Edits.of(edits)


def _in_paragraphs(text: str, find: Finder) -> list[Found]:
    return [
        Found(start + span.start, start + span.stop)
        for start, stop in paragraphs(text)
        for span in find(text[start:stop])
    ]


def _candidates(texts: TextBatch, rows: BoolArray) -> Iterator[str]:
    """Give the texts, those that have nothing as the empty text: finders find nothing in it."""
    for row, worth in enumerate(rows.tolist()):
        yield texts.text[row].as_py() if worth else ""


def _has_at(texts: TextBatch) -> BoolArray:
    return np.asarray(pc.match_substring(texts.text, "@").to_numpy(zero_copy_only=False), np.bool_)


def _matches(texts: TextBatch, pattern: str) -> BoolArray:
    found = pc.match_substring_regex(texts.text, pattern)
    return np.asarray(found.to_numpy(zero_copy_only=False), np.bool_)


def _lengths(found: Sequence[list[Found]]) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.array([len(spans) for spans in found], np.int64)
