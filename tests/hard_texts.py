"""Texts made to be hard: each rule's limit from both sides, and every awkward character.

`adversarial_texts` is the fixed set that conformance tests put before a peer; `awkward_texts` draws
more of the same kind. Prose comes from made-up words in real sentences' shape, so that most of it
passes every filter until something is done to it.
"""

# ruff: noqa: RUF001 - characters that look like others are the point here

import random
import re
import sys
from collections.abc import Callable, Sequence
from functools import cache

from hypothesis import strategies as st


def listed(words: str) -> tuple[str, ...]:
    """Cut a string into words at its spaces and newlines."""
    return tuple(word for word in re.split(r"[ \n]+", words) if word)


STOP_WORDS = listed("the be to of and that have with")
SMALL_WORDS = listed("a in it is was for on as at by not or we I")
CONTRACTIONS = listed("don't can't it's we'll they've o'clock rock'n'roll won’t")
ABBREVIATIONS = listed("e.g. i.e. U.S.A. Mr. Dr. No. p.m. a.m. St. etc.")
NUMBERS = listed("1,234 3.14 2024-04-01 10:30 50% £5 $1.50 1/2 ٣٤ ½ ² XIV")
WEB = listed("""
    http://a.b/c?d=1 https://example.org/path/to-it www.example.com me@example.org @someone #topic
    file_name.txt C++ a.b.c x=y --flag :: -> :-) <3
""")
MARKUP = listed("""
    # ## ... … • - * ● – — { } [1] [] [edit] [12] ( ) " ' “ ” « » | / \\ _ ~
""")
MARKUP += (". . .", "[citation needed]")
PHRASES = (
    *("JavaScript", "javascript", "please enable Javascript", "Lorem ipsum", "lorem ipsum dolor"),
    *("terms of use", "Privacy Policy", "cookie policy", "uses cookies", "use of cookies"),
    *("use cookies", "İ javascript", "ＪａｖａＳｃｒｉｐｔ", "java\u00adscript"),
)
SCRIPTS = listed("""
    שלום مرحبا \u202eabc\u202c 中文字 日本語の 한국어 ไทย हिन्दी Ελλάδα Привет İstanbul straße ﬁne Ⅻ
    ǅ ʰ ª 𝔘nicode 𐐷 \u0660\u0661 é e\u0301 a\u0300\u0323 \u0301 n\u0303o \u20dd 👍
    👩\u200d👩\u200d👧 🇬🇧 ✌🏽 \u200d \u200c \u200b \ufeff \u00ad \u2060 \ufffd \x00 \x7f \ue000
""")
BREAKS = ("\n", "\n\n", "\n\n\n", "\r\n", "\r", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x85")
BREAKS += ("\u2028", "\u2029", " \n ", "\t\n", "\n \n")
BULLETS = (["- "], ["• "], ["-", "  - "], ["•", "\u00a0•", "\u2003- "], ["* ", "- "], ["●", "\t-"])
ELLIPSES = (["..."], ["…"], ["... ", "…\u3000"], ["....", "…\t"], ["…", "...", ". . ."])
REPEATS = ("a b c d e f g h i j ", "the the ", "word word\n", "x" * 40, "ab" * 30, "- - ", "? ! ")


@cache
def spaces() -> tuple[str, ...]:
    """Every code point for which `str.isspace` holds."""
    return tuple(chr(point) for point in range(sys.maxunicode + 1) if chr(point).isspace())


@cache
def terminals() -> tuple[str, ...]:
    """Every terminal punctuation mark of any script, as datatrove lists them."""
    from datatrove.utils.text import TERMINAL_PUNCTUATION

    return tuple(sorted(TERMINAL_PUNCTUATION))


@cache
def pieces() -> tuple[str, ...]:
    """Everything awkward that texts are put together from."""
    alone = [*CONTRACTIONS, *ABBREVIATIONS, *NUMBERS, *WEB, *MARKUP, *PHRASES, *SCRIPTS]
    words = [f"{word} " for word in (*STOP_WORDS, *SMALL_WORDS, "The", "AND", "Of")]
    glue = [" "] * 30 + ["\n"] * 6 + [*BREAKS, *REPEATS]
    return (*alone, *words, *glue, *spaces(), *terminals())


def made_words(count: int = 700) -> list[str]:
    """Made-up words of three to ten letters, always the same ones."""
    draw = random.Random(count)
    starts, ends = [*"bcdfghlmnprstvw", "st", "tr", "ch"], [*"aeiou", "ai", "ea", "ou"]
    made: dict[str, None] = {}
    while len(made) < count:
        syllables = [draw.choice(starts) + draw.choice(ends) for _ in range(draw.randint(1, 3))]
        made["".join(syllables) + draw.choice(["n", "r", "s", "t", "l"])] = None
    return list(made)


WORDS = made_words()


class Author:
    """Writes one text with draws of its own; the methods named in FAMILIES are kinds of text."""

    def __init__(self, draw: random.Random) -> None:
        self.draw = draw
        self.ending = draw.choice([".", ".", ".", "?", "!", '."', ".'", "…", "...", "。", ";"])

    def near(self, limit: float, spread: float = 0.4) -> float:
        """Draw a share on either side of a limit."""
        return limit * self.draw.uniform(1 - spread, 1 + spread)

    def words(self, count: int, stops: float = 0.25) -> list[str]:
        """Draw words of prose, with a share of stop words."""
        draw = self.draw
        return [
            draw.choice(STOP_WORDS) if draw.random() < stops else draw.choice(WORDS)
            for _ in range(count)
        ]

    def sentence(self, words: Sequence[str]) -> str:
        """Make words a sentence."""
        text = " ".join(words)
        return text[:1].upper() + text[1:] + (self.ending if self.draw.random() < 0.1 else ".")

    def sentences(self, words: Sequence[str], size: int = 0) -> list[str]:
        """Cut words into sentences of `size` words, or of 6 to 15."""
        made, at = [], 0
        while at < len(words):
            step = size or self.draw.randint(6, 15)
            made.append(self.sentence(words[at : at + step]))
            at += step
        return made

    def laid_out(self, sentences: Sequence[str]) -> str:
        """Join sentences into lines of one to four."""
        draw = self.draw
        gap = draw.choice(["\n", "\n", "\n\n", "\n\n", "\r\n", "\n\n\n", "\u2028", "\x85"])
        parts = [sentence + (gap if draw.random() < 0.35 else " ") for sentence in sentences]
        return "".join(parts).rstrip() + draw.choice(["", "", "", "\n", " ", "\n\n"])

    def strewn(self, words: Sequence[str], marks: Sequence[str], share: float) -> list[str]:
        """Put marks beside a share of the words: before, behind, or as words of their own."""
        draw, made = self.draw, []
        for word in words:
            if draw.random() < share:
                mark = draw.choice(marks)
                made.append(draw.choice([f"{mark}{word}", f"{word}{mark}", f"{mark} {word}"]))
            else:
                made.append(word)
        return made

    def prose(self) -> str:
        """Prose that most filters keep."""
        return self.laid_out(self.sentences(self.words(self.draw.randint(60, 200))))

    def spiced(self) -> str:
        """Prose with a few awkward pieces in it."""
        words = self.words(self.draw.randint(60, 160))
        share = self.draw.choice([0.01, 0.03, 0.08, 0.2])
        return self.laid_out(self.sentences(self.strewn(words, pieces(), share)))

    def soup(self) -> str:
        """Awkward pieces and nothing else."""
        return "".join(self.draw.choices(pieces(), k=self.draw.randint(0, 90)))

    def short(self) -> str:
        """Prose of about 50 words, five sentences or so."""
        return self.laid_out(self.sentences(self.words(self.draw.randint(42, 56)), 11))

    def word_lengths(self) -> str:
        """Prose whose mean word length is near 3 or near 10."""
        draw = self.draw
        strange = draw.choice([["a", "of", "to", "it", "we", "x"], ["".join(WORDS[3:6]), "q" * 24]])
        share = draw.uniform(0.3, 1.0)
        words = self.words(draw.randint(60, 120))
        return self.laid_out(
            self.sentences([draw.choice(strange) if draw.random() < share else w for w in words])
        )

    def symbols(self) -> str:
        """Prose with hashes or ellipses beside about a tenth of its words."""
        marks = self.draw.choice(
            [["#"], ["..."], ["…"], ["...", "…"], ["#", "...", ". . ."], ["#"]]
        )
        words = self.strewn(self.words(self.draw.choice([60, 100, 120])), marks, self.near(0.11))
        return self.laid_out(self.sentences(words))

    def marked_lines(self) -> str:
        """Lines with bullets in front, or ellipses behind, in a share near the limit."""
        draw = self.draw
        lines = self.sentences(self.words(draw.choice([60, 100, 140])), draw.choice([4, 7, 10]))
        bullets = draw.random() < 0.5
        marks = draw.choice(BULLETS if bullets else ELLIPSES)
        share = draw.uniform(0.8, 1.05) if bullets else self.near(0.3)
        for n, line in enumerate(lines):
            if draw.random() < share:
                mark = draw.choice(marks)
                lines[n] = mark + line if bullets else line.rstrip(".") + mark
        return draw.choice(["\n", "\n", "\r\n", "\u2028", "\x85", "\x0b"]).join(lines)

    def numbers(self) -> str:
        """Prose of which about a fifth of the words have no letter."""
        draw, share = self.draw, self.near(0.15, 0.8)
        words = self.words(draw.randint(60, 120))
        return self.laid_out(
            self.sentences(
                [str(draw.randint(10, 9999)) if draw.random() < share else word for word in words]
            )
        )

    def stop_words(self) -> str:
        """Prose with none to three different stop words, capitals and shouting among them."""
        draw = self.draw
        few = draw.sample([*STOP_WORDS, "The", "OF", "have,", "with."], k=draw.randint(0, 3))
        words = self.words(draw.randint(60, 120), stops=0.0)
        for word in few * draw.randint(1, 3):
            words[draw.randrange(3, len(words) - 3)] = word
        return self.laid_out(self.sentences(words))

    def repeated_lines(self) -> str:
        """Lines or paragraphs, of which about three in ten come again."""
        draw = self.draw
        gap = draw.choice(["\n", "\n\n", "\n\n\n", "\r\n"])
        lines = self.sentences(self.words(draw.randint(70, 130)), draw.choice([6, 9]))
        again = [draw.choice(lines) for _ in range(round(len(lines) * draw.uniform(0.0, 0.8)))]
        mixed = lines + again
        draw.shuffle(mixed)
        return gap.join(mixed) + draw.choice(["", "", "\n", "\n\n"])

    def long_repeats(self) -> str:
        """Short lines with a long one twice among them: few elements, many characters."""
        draw = self.draw
        gap = draw.choice(["\n", "\n\n"])
        short = self.sentences(self.words(draw.randint(60, 90)), 6)
        long = " ".join(self.sentences(self.words(draw.randint(15, 45))))
        at = draw.randint(0, len(short))
        return gap.join([*short[:at], long, *short[at:], long])

    def small_repeats(self) -> str:
        """One short line that comes again, about a hundredth of the characters."""
        lines = self.sentences(self.words(self.draw.randint(100, 200)), 14)
        again = " ".join(self.words(self.draw.randint(1, 4))) + "."
        for _ in range(self.draw.randint(2, 3)):
            lines.insert(self.draw.randint(0, len(lines)), again)
        return "\n".join(lines)

    def top_ngrams(self) -> str:
        """One 2-, 3- or 4-gram over and over, near its limit."""
        size = self.draw.choice([2, 3, 4])
        share = self.near({2: 0.22, 3: 0.2, 4: 0.18}[size], 0.3)
        gram = self.draw.sample(WORDS, size)
        return self.with_spans([gram] * 200, share)

    def dup_ngrams(self) -> str:
        """Passages of 5 to 10 words, twice each, near the limit for passages of that length."""
        size = self.draw.randint(5, 10)
        share = self.near((20 - size) / 100, 0.35) * 2
        spans = [self.words(size) for _ in range(100)]
        return self.with_spans([span for span in spans for _ in range(2)], share)

    def with_spans(self, spans: Sequence[list[str]], share: float) -> str:
        """Prose in which spans, from the first on, are a share of the characters."""
        words = self.words(self.draw.randint(100, 180))
        chars, used = sum(len(word) + 1 for word in words), 0
        units: list[list[str]] = [[word] for word in words]
        chosen: list[list[str]] = []
        for span in spans:
            if used >= share * (chars + used):
                break
            chosen.append(span)
            used += sum(len(word) + 1 for word in span)
        for span in chosen:
            units.insert(self.draw.randint(0, len(units)), span)
        return self.laid_out([" ".join(word for unit in units for word in unit) + "."])

    def page(self) -> str:
        """Lines as C4's rules see them: some good, some without an end, some that name cookies."""
        draw = self.draw
        lines = self.sentences(self.words(draw.randint(50, 130)), draw.choice([4, 8, 12]))
        share = draw.choice([0.1, 0.3, 0.6])
        made = [self.worse(line) if draw.random() < share else line for line in lines]
        return draw.choice(["\n", "\n", "\r\n", "\n\n", "\u2029"]).join(made)

    def worse(self, line: str) -> str:
        """Give a line something that C4's rules look at."""
        draw = self.draw
        middle, end = line.find(" ") + 1, len(line)
        where = draw.choice([0, middle, end - 1, end])
        odd = draw.choice([*PHRASES, *MARKUP, "{", "[1][2]", "[1] .", "x" * 1000, "x" * 1001, ""])
        changed = (
            line[:where] + draw.choice(["", " "]) + odd + draw.choice(["", " "]) + line[where:]
        )
        return draw.choice(
            [changed, changed, line.rstrip("."), line + "..", "Two words.", line + "'"]
        )

    def few_sentences(self) -> str:
        """Three to seven sentences, some lines of them without an end."""
        draw = self.draw
        lines = self.sentences(self.words(draw.randint(40, 70)), draw.choice([8, 9, 10, 14]))
        lines = [line if draw.random() < 0.9 else line.rstrip(".") for line in lines]
        return draw.choice(["\n", " ", "\n"]).join(lines)

    def open_lines(self) -> str:
        """Lines of which about 12 in 100 end in a terminal mark of some script."""
        draw, share = self.draw, self.near(0.12, 0.9)
        lines = [line.rstrip(".") for line in self.sentences(self.words(150), 6)]
        return "\n".join(
            line + (draw.choice(terminals()) if draw.random() < share else "") for line in lines
        )

    def short_lines(self) -> str:
        """Lines of which about two in three have at most 30 characters."""
        draw, share = self.draw, draw_share(self.draw, 0.67)
        lines = []
        for _ in range(draw.randint(15, 25)):
            short = draw.random() < share
            words = self.words(4 if short else draw.randint(8, 10))
            lines.append(self.sentence(words)[: draw.choice([29, 30, 31]) if short else None])
        return "\n".join(line.rstrip() + "." for line in lines)

    def blank_lines(self) -> str:
        """Lines with so many newlines between them that about 3 come on 10 words."""
        draw = self.draw
        size = draw.choice([7, 9])
        gaps = round(size * self.near(0.33))
        return ("\n" * gaps).join(self.sentences(self.words(draw.randint(60, 110)), size))


def draw_share(draw: random.Random, middle: float) -> float:
    """Draw a share from below `middle` to above it."""
    return min(1.0, middle * draw.uniform(0.75, 1.3))


FAMILIES: tuple[tuple[Callable[[Author], str], int], ...] = (
    (Author.prose, 8),
    (Author.spiced, 14),
    (Author.soup, 14),
    (Author.short, 4),
    (Author.word_lengths, 4),
    (Author.symbols, 6),
    (Author.marked_lines, 6),
    (Author.numbers, 3),
    (Author.stop_words, 4),
    (Author.repeated_lines, 6),
    (Author.long_repeats, 4),
    (Author.small_repeats, 3),
    (Author.top_ngrams, 8),
    (Author.dup_ngrams, 12),
    (Author.page, 8),
    (Author.few_sentences, 4),
    (Author.open_lines, 3),
    (Author.short_lines, 3),
    (Author.blank_lines, 3),
)
"""Kinds of text and how often each is written."""


def made_text(seed: int) -> str:
    """Write one text, of a kind and with content that follow from the seed."""
    draw = random.Random(seed)
    kinds = [kind for kind, _ in FAMILIES]
    kind = draw.choices(kinds, [often for _, often in FAMILIES])[0]
    return kind(Author(draw))


def special_texts() -> list[str]:
    """Texts that stand for themselves: empty, spaces only, one character, one long line.

    No text has the token `IS_ALPHA`: what datatrove makes of it depends on memory that was freed
    (tests/conformance/test_spacy_en.py), so it is nothing to compare with.
    """
    prose = [Author(random.Random(n)).prose() for n in range(4)]
    alone = [*spaces(), *terminals(), *"x1#•-…{é中"]
    around = [f"{space}{prose[0]}{space}" for space in spaces()]
    between = [space.join(prose[1].split(" ")) for space in (*spaces(), *BREAKS)]
    ends = [prose[2].replace(".", mark) for mark in terminals()[::9]]
    large = [
        *(
            "word " * 200_000,
            "x" * 1_000_000,
            "One line. " * 20_000,
            "a\n" * 20_000,
            "\n" * 100_000,
        ),
        *(
            f"{word} " * (100_000 + n % 5)
            for n, word in enumerate(("abc", "the", "a1", "of.", "an"))
        ),
        prose[3] * 300,
    ]
    return ["", " ", "\n", "   \n\t ", *alone, *around, *between, *ends, *large]


def adversarial_texts(count: int = 2000, *, seed: int = 20_260_101) -> list[str]:
    """Make `count` texts, the special ones first, then all kinds in turn; the same every time."""
    special = special_texts()[:count]
    return special + [made_text(seed * 1_000_003 + n) for n in range(count - len(special))]


def awkward_texts() -> st.SearchStrategy[str]:
    """Draw soups of awkward pieces, which shrink well, and texts of every kind."""
    soups = st.lists(st.sampled_from(pieces()), max_size=60).map("".join)
    return st.one_of(soups, st.integers(0, 2**48).map(made_text))
