"""The licence gate: only what plainly allows it may train a model that is given to others."""

from pathlib import Path

import orjson
import pytest

from dolmix.config import parse
from dolmix.errors import ConfigError, DataError
from dolmix.learned.examples import Rows, held_out, read_rows, split
from dolmix.learned.licences import is_open

ALLOWED = [
    "public domain", "public domain in the US", "CC0 1.0 (text public domain in the US)",
    "CC BY 4.0", "CC BY 4.0 (BLiMP)", "MIT (some/repository)", "Apache-2.0 (made here)",
    "BSD-3-Clause", "distributed under the Creative Commons Attribution License",
    "Publication of EHP lies in the public domain and is therefore without copyright.",
]  # fmt: skip
REFUSED = [
    "", "-", "CC BY-SA 4.0", "CC BY-NC 4.0", "CC BY-NC-SA 4.0 (JFLEG)", "CC BY-ND 4.0", "GPL-2+",
    "CC BY 4.0 (annotations); page text unclear", "MIT (repository); Common Crawl page text",
    "CC BY 4.0 (annotations); OSCAR/Common Crawl page text",
    "Native Ads (no licence line in the mirror; dataset published as CC BY 4.0 - check)",
    "ODC-BY-1.0 (C4); page copyright remains with sites", "all rights reserved", "permitted",
    "CoLA: text from publications, distributed for research (no open licence)",
    "Creative Commons Attribution-NonCommercial License", "unclear: public domain or not",
    "no licence file in that folder; page text unclear", "CC BY-SA 3.0 (public domain in the US)",
]  # fmt: skip


@pytest.mark.parametrize("licence", ALLOWED)
def test_open_licences_are_open(licence: str) -> None:
    """Public domain, CC0, CC BY, MIT, Apache-2.0 and BSD, as data sets write them."""
    assert is_open(licence)


@pytest.mark.parametrize("licence", [*REFUSED, None])
def test_everything_else_is_refused(licence: str | None) -> None:
    """Share-alike, non-commercial, unstated, unclear, and permissive words in other words."""
    assert not is_open(licence)


def test_no_refused_row_ever_trains(tmp_path: Path) -> None:
    """Under `licences: open` refused rows are read, and all of them are for evaluation."""
    path = tmp_path / "rows.jsonl"
    lines = [
        {"id": str(n), "text": f"text {n}", "label": "ab"[n % 2], "license": licence}
        for n, licence in enumerate([*ALLOWED, *REFUSED] * 20)
    ]
    path.write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in lines))
    rows = Rows(inputs=(str(path),), licences="open")
    train, rest = split(read_rows(rows), frac=0.2, seed=1)
    assert {e.licence for e in train} == set(ALLOWED)
    assert len(train) + len(rest) == len(lines)
    assert all(not e.trains for e in rest if e.licence in REFUSED)


def test_a_gate_needs_its_field() -> None:
    """`licences: open` without a licence field would let nothing through."""
    with pytest.raises(ConfigError, match="licences: open needs licence_field"):
        parse(Rows, {"inputs": ["x"], "licences": "open", "licence_field": None}, origin="rows")


def test_groups_are_never_split(tmp_path: Path) -> None:
    """Rows of one source are trained on together or held out together."""
    path = tmp_path / "rows.jsonl"
    lines = [{"id": n, "text": f"t{n}", "label": "a", "book": f"b{n % 40}"} for n in range(800)]
    path.write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in lines))
    rows = Rows(inputs=(str(path),), group_field="book")
    train, rest = split(read_rows(rows), frac=0.3, seed=5)
    assert not {e.group for e in train} & {e.group for e in rest}
    assert 0.1 < len(rest) / len(lines) < 0.5
    assert all(held_out(e, frac=0.3, seed=5) for e in rest)


def test_nothing_to_train_on_is_said(tmp_path: Path) -> None:
    """All rows refused: the message names the settings that may be why."""
    path = tmp_path / "rows.jsonl"
    path.write_bytes(orjson.dumps({"id": 1, "text": "t", "label": "a", "license": "GPL"}) + b"\n")
    rows = Rows(inputs=(str(path),), licences="open")
    with pytest.raises(DataError, match="none of 1 rows is left to train on"):
        split(read_rows(rows), frac=0.2, seed=1)
