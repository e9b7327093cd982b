"""Pages that scripts/train_default_models.py makes: adverts and plain pages in 30 languages.

Sentences, labels, menus and words come from `classifier_texts/<language>.txt`, written for this.
Either kind of page has prose, menus and numbers, so that neither a language nor a layout says
"advert". One sentence in eight of each list is kept for evaluation (`part="held out"`).
"""

# ruff: noqa: PLR2004, RUF001 - chances and lengths are what they are; money of many scripts
import random
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

TEXTS = Path(__file__).resolve().parent / "classifier_texts"
Lists: TypeAlias = Mapping[str, Sequence[str]]

MONEY = {
    "ar": ("ريال", "$"), "ca": ("€",), "cs": ("Kč",), "da": ("kr.", "DKK"), "de": ("€", "EUR"),
    "el": ("€",), "en": ("$", "£", "USD"), "es": ("€", "$"), "fa": ("تومان",), "fi": ("€",),
    "fr": ("€",), "hi": ("₹", "रुपये"), "hu": ("Ft",), "id": ("Rp",), "it": ("€",),
    "ja": ("円", "¥"), "ko": ("원", "₩"), "nl": ("€",), "no": ("kr", "NOK"), "pl": ("zł",),
    "pt": ("R$", "€"), "ro": ("lei", "RON"), "ru": ("руб.", "₽"), "sv": ("kr", "SEK"),
    "th": ("บาท",), "tr": ("TL", "₺"), "uk": ("грн", "₴"), "ur": ("روپے", "Rs"),
    "vi": ("đ", "VNĐ"), "zh": ("元", "￥"),
}  # fmt: skip
BRANDS = (
    "Novara", "Kelmont", "Brixo", "Sunvale", "Ardenta", "Veltrix", "Homely", "Lumeo", "Tekra",
    "Orbis", "Quandel", "Mirano", "Pallas", "Jorvik", "Elvado",
)  # fmt: skip
NUMBERS = (2, 3, 4, 5, 7, 8, 10, 12, 14, 15, 18, 19, 20, 24, 25, 30, 50, 100, 150, 200, 500)
SLOTS = re.compile(r"\{(\w+)\}")
LISTED = {"p": "products", "s": "services", "c": "places", "t": "topics"}
UNSPACED = ("ja", "th", "zh")
HELD_OUT_OF, HELD_OUT = 8, 5
WORDS_ALONE, SHARED = 0.4, 0.3
"""Share of pages that are words without sentences, and of the words in these that either kind of
page has."""


def languages() -> list[str]:
    """Codes of the languages that there are texts of."""
    return sorted(path.stem for path in TEXTS.glob("*.txt"))


def read_lists(lang: str, part: str) -> dict[str, list[str]]:
    """Read a language's lists: the sentences of one part, `train` or `held out`, and the rest."""
    lists: dict[str, list[str]] = {}
    for line in (TEXTS / f"{lang}.txt").read_text(encoding="utf-8").split("\n"):
        if line.startswith("["):
            heading = line.strip("[]")
            lists.setdefault(heading, [])
        elif line and heading.endswith("_words"):
            lists[heading] += line.split()
        elif line:
            lists[heading].append(line)
    for heading in ("ads", "plain", "ad_words", "plain_words"):
        kept = enumerate(lists[heading])
        lists[heading] = [
            t for n, t in kept if (n % HELD_OUT_OF == HELD_OUT) == (part == "held out")
        ]
    ads, plain = (set(" ".join(lists[name]).lower().split()) for name in ("ads", "plain"))
    lists["shared"] = sorted(word for word in ads & plain if "{" not in word)
    return lists


def make_page(
    rng: random.Random, lang: str, lists: Lists, *, advert: bool, alone: bool = True
) -> str:
    """Make one page, of a line or of a thousand words.

    alone  whether words that are no sentences may be all of it
    """
    page, heading = _Page(rng, lang, lists), "ad_words" if advert else "plain_words"
    if alone and rng.random() < WORDS_ALONE:
        return page.words_alone(heading)
    parts = page.advert() if advert else page.plain()
    if rng.random() < 0.6:
        page.add_words(parts, heading)
    return rng.choice(("\n", "\n", "\n\n", " ", " ")).join(parts)


def make_prose(rng: random.Random, lang: str, lists: Lists) -> str:
    """Make a text of sentences alone, one or thirty."""
    count = rng.choice((1, 2, 3, 4, 6, 9, 14, 20, 30))
    page, found = _Page(rng, lang, lists), [*lists["ads"], *lists["plain"], *lists["plain"]]
    drawn = dict.fromkeys(rng.sample(found, min(count, len(found))))
    return " ".join(page.fill(sentence) for sentence in drawn)


class _Page:
    """What pages of one language are put together from."""

    def __init__(self, rng: random.Random, lang: str, lists: Lists) -> None:
        self.rng, self.lang, self.lists = rng, lang, lists

    def words_alone(self, heading: str) -> str:
        words = self.rng.choices(self.lists[heading], k=self.rng.choice((4, 8, 15, 30)))
        shared = self.lists["shared"] or words
        words = [self.rng.choice(shared) if self.rng.random() < SHARED else w for w in words]
        return ("" if self.lang in UNSPACED else " ").join(words)

    def some(self, heading: str, count: int) -> list[str]:
        return [self.fill(self.rng.choice(self.lists[heading])) for _ in range(count)]

    def advert(self) -> list[str]:
        kind = self.rng.choice(("service", "service", "mixed", "listing", "spam", "short"))
        if kind == "short":
            return self.some("ads", self.rng.choice((1, 1, 2, 3)))
        if kind == "listing":
            return self.listing()
        if kind == "spam":
            return self.spam()
        count = self.rng.choice((1, 2, 3, 4, 6, 9, 14, 20))
        parts = self.some("ads", count) + self.some("calls", self.rng.randint(0, 6))
        if kind == "mixed":
            parts += self.some("plain", self.rng.randint(0, max(1, count // 2)))
        self.rng.shuffle(parts)
        return self.some("menu", self.rng.choice((0, 0, 5, 9))) + parts

    def listing(self) -> list[str]:
        parts = self.some("menu", self.rng.randint(0, 6))
        for _ in range(self.rng.randint(3, 15)):
            brand = self.rng.choice((self.rng.choice(BRANDS) + " ", ""))
            parts.append(f"{brand}{self.rng.choice(self.lists['products'])} {self.price()}")
            parts += self.some("calls", self.rng.choice((0, 1, 1, 2)))
        return parts + self.some("ads", self.rng.randint(0, 4))

    def spam(self) -> list[str]:
        """One product and one place, over and over."""
        thing = self.rng.choice([*self.lists["products"], *self.lists["services"]])
        place = self.rng.choice(self.lists["places"])
        parts = []
        for _ in range(self.rng.randint(4, 15)):
            text = self.rng.choice(self.lists["ads"])
            for slot, value in (("{p}", thing), ("{s}", thing), ("{c}", place)):
                text = text.replace(slot, value)
            parts.append(self.fill(text))
            if self.rng.random() < 0.3:
                parts.append(f"{thing} {place}")
        return parts

    def plain(self) -> list[str]:
        kind = self.rng.choice(("prose", "prose", "page", "short"))
        if kind == "short":
            return self.some("plain", self.rng.choice((1, 1, 2)))
        count = self.rng.choice((2, 3, 4, 6, 9, 14, 20, 30))
        parts = self.some("plain", count)
        if kind == "page":
            top, bottom = self.rng.randint(3, 10), self.rng.randint(0, 6)
            parts = self.some("menu", top) + parts + self.some("menu", bottom)
            parts += self.some("calls", self.rng.choice((0, 0, 1, 2)) if count > 6 else 0)
            parts += self.some("ads", self.rng.choice((0, 0, 1)) if count > 9 else 0)
        return parts

    def add_words(self, parts: list[str], heading: str) -> None:
        """Put runs of the language's words of one kind between the parts."""
        for _ in range(self.rng.choice((1, 2, 3, 5, 8))):
            words = [
                self.rng.choice(self.lists[heading]) for _ in range(self.rng.choice((3, 6, 12)))
            ]
            joint = "" if self.lang in UNSPACED and self.rng.random() < 0.7 else " "
            parts.insert(self.rng.randint(0, len(parts)), joint.join(words))

    def fill(self, text: str) -> str:
        return SLOTS.sub(lambda slot: self.value(slot[1], text[slot.end() : slot.end() + 3]), text)

    def value(self, slot: str, after: str) -> str:
        if slot in LISTED:
            return self.rng.choice(self.lists[LISTED[slot]])
        if slot == "price":
            return self.amount() if self.lang in UNSPACED or after == " kr" else self.price()
        if slot == "pct":
            return f"{self.rng.choice(range(5, 80, 5))}{self.rng.choice(('%', ' %'))}"
        if slot == "year":
            return str(self.rng.randint(1200, 2023))
        if slot == "phone":
            return self.phone()
        if slot == "url":
            ends = (".com", ".net", "-shop.com", ".store")
            return f"www.{self.rng.choice(BRANDS).lower()}{self.rng.choice(ends)}"
        return self.rng.choice(BRANDS) if slot == "brand" else str(self.rng.choice(NUMBERS))

    def amount(self) -> str:
        whole = self.rng.choice(
            (self.rng.randint(1, 99), self.rng.randint(100, 9999), self.rng.randint(10, 900) * 100)
        )
        return self.rng.choice(
            (f"{whole}", f"{whole}.99", f"{whole},00", f"{whole},-", f"{whole:,}")
        )

    def price(self) -> str:
        money, amount = self.rng.choice(MONEY[self.lang]), self.amount()
        return self.rng.choice((f"{amount} {money}", f"{money}{amount}", f"{money} {amount}"))

    def phone(self) -> str:
        a, b, c = (self.rng.randint(100, 999) for _ in range(3))
        return self.rng.choice(
            (f"0{a} {b}{c}", f"+{a % 90 + 1} {b} {c} {a}", f"{a}-{b}-{c}{b % 10}")
        )
