"""Personal data masked, as an edit."""

import re
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from dolmix.document import TextBatch
from dolmix.filters import judge
from dolmix.filters.pii import Pii
from dolmix.text.edits import edited, read_edits
from dolmix.text.pii import Found, datatrove_emails, dolma_emails, dolma_phones

DATATROVE = re.compile(
    r"\b[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*@"
    r"(?:(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?\.)+[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?|"
    r"\[(?:(?:25[0-5]|2[0-4][0-9]|[01]?[0-9][0-9]?)\.){3}"
    r"(?:25[0-5]|2[0-4][0-9]|[01]?[0-9][0-9]?|[A-Za-z0-9-]*[A-Za-z0-9]:)])"
)
"""datatrove's expression for e-mail addresses, as the plain twin."""
DOLMA_EMAIL = re.compile("[.\\s@,?!;:)(]*([^\\s@]+@[^\\s@,?!;:)(]+?)[.\\s@,?!;:)(]?[\\s\n\r]")
DOLMA_PHONE = re.compile("\\s+\\(?(\\d{3})\\)?[-\\. ]*(\\d{3})[-. ]?(\\d{4})")
ADDRESSES = st.text("ab1.@-_(! \té\u3000[]:", max_size=24)


def masked(texts: list[str], **kwargs: Any) -> list[str]:
    """Texts after the filter's edit."""
    filter_, batch = Pii(**kwargs), TextBatch.of(texts)
    return edited(batch, read_edits(filter_.columns(batch)["edit"])).text.to_pylist()


def plain_dolma_emails(text: str) -> list[Found]:
    """Find what dolma's tagger keeps of its expression's matches."""
    found = []
    for match in DOLMA_EMAIL.finditer(text):
        addressee, domain = match[1].split("@", 1)
        if addressee.strip() != "(" and "." in domain:
            found.append(Found(*match.span()))
    return found


@settings(deadline=None, max_examples=400)
@given(ADDRESSES)
def test_addresses_are_those_of_the_peers_expressions(text: str) -> None:
    """Looking around each `@` finds what the whole expression finds."""
    assert list(datatrove_emails(text)) == [Found(*m.span()) for m in DATATROVE.finditer(text)]
    assert list(dolma_emails(text)) == plain_dolma_emails(text)


@settings(deadline=None, max_examples=300)
@given(st.text("123 \t-.()٣", max_size=30) | st.from_regex(DOLMA_PHONE))
def test_phone_numbers_are_those_of_dolmas_expression(text: str) -> None:
    """Looking behind white space finds what the whole expression finds."""
    assert list(dolma_phones(text)) == [Found(*m.span()) for m in DOLMA_PHONE.finditer(text)]


def test_masks_take_turns_within_a_document() -> None:
    """Stand-ins are datatrove's by default, from the first one in every document; or one's own."""
    texts = ["write to a@b.org, c@d.org and é.f@g.org: 8.8.8.8 or 192.168.0.1", "x@y.org"]
    first, second = "email@example.com", "firstname.lastname@example.org"
    assert masked(texts) == [
        f"write to {first}, {second} and é.{first}: 22.214.171.124 or 192.168.0.1",
        first,
    ]
    assert masked(texts, email_masks=["<M>"], ip_masks=None, public_only=False) == [
        "write to <M>, <M> and é.<M>: 8.8.8.8 or 192.168.0.1",
        "<M>",
    ]
    assert masked(texts, email_masks=None, public_only=False)[0].endswith(
        "22.214.171.124 or 126.96.36.199"
    )


def test_dolmas_masks_and_its_limit() -> None:
    """A find takes its surroundings with it; what begins in an earlier one stays; six are many."""
    text = "Call (555) 123-4567 or mail me@a.org. IP 1.2.3.4\n"
    assert masked([text], preset="dolma-1.2") == [
        "Call |||PHONE_NUMBER|||  or mail |||EMAIL_ADDRESS||| IP  |||IP_ADDRESS||| \n"
    ]
    filter_ = Pii(preset="dolma-1.2")
    batch = TextBatch.of(["a@b.org " * 5, "a@b.org " * 6, ""])
    columns = filter_.columns(batch)
    assert columns["emails"].to_pylist() == columns["count"].to_pylist() == [5, 6, 0]
    assert judge(filter_, columns, batch).to_pylist() == [None, "pii.count", None]


def test_planted_data_is_all_masked() -> None:
    """Of 2,000 addresses among words none is left."""
    mails = [f"user.{n}+tag@mail{n}.example{n % 7}.org" for n in range(1000)]
    ips = [f"{n % 200 + 11}.{n % 250}.{n % 99}.{n % 200 + 1}" for n in range(1000)]
    text = " ".join(f"word {mail} and {ip}," for mail, ip in zip(mails, ips, strict=True))
    (left,) = masked([text], email_masks=["E"], ip_masks=["I"], public_only=False)
    assert left == "word E and I, " * 999 + "word E and I,"


@pytest.mark.parametrize("shape", ["a.", "a-", "a ", " ", ".", "@", "a@", "(", "1 ", "111 "])
@pytest.mark.parametrize("preset", ["datatrove-0.10", "dolma-1.2"])
def test_no_shape_takes_quadratic_time(shape: str, preset: str) -> None:
    """A quarter of a megabyte of one thing, an `@` at its end, is done in seconds, not in hours."""
    begun = time.process_time()
    masked([shape * (250_000 // len(shape)) + "@x.org "], preset=preset)
    assert time.process_time() - begun < 60


def test_masks_that_an_edit_cannot_hold_are_refused() -> None:
    """And phones where nobody looks for them."""
    with pytest.raises(ValidationError, match=r"'<é>' has 'é'; a mask has printable ASCII"):
        Pii(email_masks=["<é>"])
    with pytest.raises(ValidationError, match=r"only preset dolma-1\.2 finds phone numbers"):
        Pii(phone_masks=["x"])
