"""Encodings of pages: what is stated counts where it fits, and any bytes become a text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dolmix.files.charsets import decode_page, stated_charset

RUSSIAN = "Паром на остров ходит два раза в день, зимой один раз. " * 3
CHINESE = "渡轮夏天每天两班,冬天一班。" * 5
GERMAN = "Die Fähre fährt im Sommer zweimal täglich: „immer“. "


@pytest.mark.parametrize(
    ("text", "codec", "label", "name"),
    [
        (RUSSIAN, "cp1251", "windows-1251", "cp1251"),
        (RUSSIAN, "koi8-r", "KOI8-R", "koi8-r"),
        (CHINESE, "gb18030", "gb2312", "gb18030"),
        (GERMAN, "cp1252", "iso-8859-1", "cp1252"),
        (GERMAN, "utf-8", "utf-8", "utf-8"),
        (GERMAN, "utf-8", "iso-8859-1", "utf-8"),  # a server that states it of everything
        (GERMAN, "cp1252", "utf-8", "cp1252"),
        (RUSSIAN, "utf-16-le", "utf-16", "utf-16-le"),
        (GERMAN, "utf-8", "no-such-thing", "utf-8"),
        (GERMAN, "utf-8", "base64", "utf-8"),  # a codec of Python that is none of texts
        ("plain", "ascii", "utf-7", "utf-8"),
    ],
)
def test_a_stated_encoding_is_believed_where_it_fits(
    text: str, codec: str, label: str, name: str
) -> None:
    """By the server, or by the page."""
    assert decode_page(text.encode(codec), label) == (text, name)
    if name != "utf-16-le":
        page = f'<meta http-equiv="a" content="text/html; charset={label}"><p>{text}'
        assert decode_page(page.encode(codec)) == (page, name)


def test_a_byte_order_mark_comes_first() -> None:
    """Whatever else is stated; it is no part of the text."""
    assert decode_page(b"\xef\xbb\xbfa", "koi8-r") == ("a", "utf-8")
    assert decode_page(b"\xff\xfea\0", "koi8-r") == ("a", "utf-16-le")


def test_what_nobody_stated_is_asked_of_the_detector() -> None:
    """One whose answer does not fit, or is none, leaves windows-1252."""
    raw = RUSSIAN.encode("cp1251")
    assert decode_page(raw, detect=lambda _: "windows-1251") == (RUSSIAN, "cp1251")
    assert decode_page(raw, detect=lambda _: None)[1] == "cp1252"
    assert decode_page(raw, detect=lambda _: "ascii")[1] == "cp1252"


def test_a_few_wrong_bytes_are_forgiven() -> None:
    """A page of UTF-8 stays one when a byte of it is lost, and may hold U+FFFD itself."""
    raw = (GERMAN * 50).encode() + b"\xff"
    assert decode_page(raw)[1] == "utf-8"
    assert decode_page("\ufffd".encode() * 9)[0] == "\ufffd" * 9


def test_text_without_markup_states_nothing() -> None:
    """A plain text that shows a meta tag is not read by it."""
    raw = '<meta charset="koi8-r"> é'.encode("cp1252")
    assert decode_page(raw, markup=False)[1] == "cp1252"


@given(
    raw=st.binary(max_size=60), label=st.none() | st.sampled_from(["utf-8", "gbk", "hz", "utf-32"])
)
def test_any_bytes_become_text(raw: bytes, label: str | None) -> None:
    """That can be written as UTF-8 again."""
    decode_page(raw, label)[0].encode()


def test_charset_of_a_content_type() -> None:
    """Quoted or not, in any case, or none."""
    assert stated_charset('text/html; Charset="UTF-8"') == "UTF-8"
    assert stated_charset("text/html;charset=gb2312;x=y") == "gb2312"
    assert stated_charset("text/html") is None
