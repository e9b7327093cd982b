"""Ten rules written by hand for each builtin classifier: the baseline that a model must beat.

Each rule gives a text a point or none; the score is the share of points, 0 to 1.
"""

# ruff: noqa: RUF001 - letters and signs of many scripts
import re
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise

PRICE = re.compile(
    r"(?:[$€£¥₹₽]|\b(?:usd|eur|kr|rp|tl|zł)\b)\s?\d|\d\s?(?:[$€£¥₹₽円元%]|eur\b|kr\b)"
)
BUY = re.compile(
    r"\b(?:buy|order now|shop now|add to cart|kaufen|bestellen|acheter|panier|comprar|carrito|"
    r"köp|osta|satın al|sepete|beli|купить|kup)\b|购买|購入|خرید|شراء|खरीद"
)
FREE = re.compile(
    r"\b(?:free|discount|sale|offer|bonus|kostenlos|rabatt|gratuit\w*|promo\w*|gratis|oferta|"
    r"descuento|desconto|erbjudande|tilbud|alennus|indirim|diskon|скидка)\b|免费|無料|折扣|تخفیف|خصم|छूट"
)
CALL = re.compile(
    r"\b(?:contact us|call (?:us|now)|kontakt\w* sie|contactez|contacte|kontakta oss|"
    r"ota yhteyttä|iletişim|hubungi|звоните)\b|联系我们|お問い合わせ|تماس|اتصل|संपर्क"
)
OURS = re.compile(r"\b(?:our|unser\w*|notre|nos|nuestr\w+|noss\w+|våra?|vår\w*|hizmet\w*|kami)\b")
PHONE = re.compile(r"\+?\d[\d ()/-]{7,}\d")
LINK = re.compile(r"https?://|www\.|\b[\w.-]+@[\w-]+\.\w+")
SHOUT = re.compile(r"\b[A-Z]{4,}\b")
WORD = re.compile(r"\w+")
SENTENCE_ENDS = ".!?。！？؟۔।\"'”"


def ad_points(text: str) -> float:
    """Share of ten signs of advertising: prices, offers, calls, contacts, shouting, repetition."""
    low, words = text.lower(), max(1, len(text.split()))
    marks = (
        bool(PRICE.search(low)),
        len(PRICE.findall(low)) * 50 > words,
        bool(BUY.search(low)),
        bool(FREE.search(low)),
        bool(CALL.search(low)),
        len(OURS.findall(low)) * 80 > words,
        bool(PHONE.search(text)),
        bool(LINK.search(low)),
        text.count("!") * 60 > words or len(SHOUT.findall(text)) * 20 > words,
        _top_share(WORD.findall(low)) > 0.06,  # noqa: PLR2004
    )
    return float(sum(marks) / len(marks))


def fluent_points(text: str) -> float:
    """Share of ten signs of running text: sentences, plain words, no repetition, no stray signs."""
    words, lines = WORD.findall(text.lower()), [s for s in text.splitlines() if s.strip()]
    count = max(1, len(words))
    ended = sum(s.rstrip()[-1] in SENTENCE_ENDS for s in lines)
    letters = sum(c.isalpha() or c.isspace() for c in text)
    lengths = sum(map(len, words)) / count
    pairs = Counter(pairwise(words))
    marks = (
        ended * 2 >= len(lines) > 0,
        letters * 10 > len(text) * 8,
        2 < lengths < 12,  # noqa: PLR2004
        sum(a == b for a, b in pairwise(words)) * 100 < count,
        sum(pairs.values()) - len(pairs) < count * 0.3,
        _top_share(words) < 0.12,  # noqa: PLR2004
        sum(any(c.isdigit() for c in w) for w in words) * 10 < count,
        text[:1].isupper() or not text[:1].isascii(),
        len(re.findall(r"[^\w\s.,;:!?'\"()-]", text)) * 40 < len(text),
        len(words) * 4 > len(text.split()) * 3,
    )
    return float(sum(marks) / len(marks))


RULES: dict[str, Callable[[str], float]] = {"ads": ad_points, "fluency": fluent_points}
"""The baseline of each builtin model, by its name; higher says the positive label."""


def _top_share(words: Sequence[str]) -> float:
    long = Counter(word for word in words if len(word) > 3)  # noqa: PLR2004
    most: int = max(long.values(), default=0)
    return most / max(1, long.total())
