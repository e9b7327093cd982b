"""Documents that are made by a rule: copies, near copies, scrambled and repeated text.

`documents/derived.yaml` names the recipe and its settings for each such document;
`documents/words.yaml` holds the words that generated prose is made of. Each recipe is a schema, so
a misspelt setting is an error.
"""

import re
import unicodedata
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from typing import Annotated, Any, Literal

import yaml  # type: ignore[import-untyped,unused-ignore]
from pydantic import Field

from dolmix.config import Schema
from dolmix.sample.draws import Draws

Texts = Mapping[str, str]
"""Name → text of every stored document."""


class Recipe(Schema):
    """Base of every recipe: the document's name, what should happen to it, its code metadata."""

    name: str
    """`<source>/<name>` of the document made."""
    expect: str
    """What the sample's pipeline should say of it: `keep`, a reason, or a dedup step."""
    stars: int | None = None
    """`metadata.stars` of a copied program."""
    repo: str | None = None
    """`metadata.repo` of a copied program."""

    def text(self, stored: Texts) -> str:
        """Make the text; `stored` gives the documents that recipes start from."""
        raise NotImplementedError


class Copied(Recipe):
    """Base of recipes that start from a stored document."""

    of: str
    """Name of the stored document."""


class Copy(Copied):
    """The same text again."""

    recipe: Literal["copy"]

    def text(self, stored: Texts) -> str:
        """Return the text unchanged."""
        return stored[self.of]


class Respace(Copied):
    """The same words with other white space: an exact duplicate once that is normalised."""

    recipe: Literal["respace"]
    every: int
    """Every so many gaps, the white space is doubled."""

    def text(self, stored: Texts) -> str:
        """Double every `every`-th run of white space, and end with a newline."""
        pieces = re.split(r"(\s+)", stored[self.of])
        wide = [p * 2 if n % (2 * self.every) == 1 else p for n, p in enumerate(pieces)]
        return "".join(wide) + "\n"


class Decompose(Copied):
    """The same characters in Unicode form NFD: an exact duplicate once text is normalised."""

    recipe: Literal["decompose"]

    def text(self, stored: Texts) -> str:
        """Write accents as characters of their own."""
        return unicodedata.normalize("NFD", stored[self.of])


class Replace(Copied):
    """The same text with a few words changed: a near duplicate."""

    recipe: Literal["replace"]
    words: dict[str, str]
    """Word → its replacement, wherever it stands."""

    def text(self, stored: Texts) -> str:
        """Replace whole words."""
        text = stored[self.of]
        for old, new in self.words.items():
            text = re.sub(rf"\b{re.escape(old)}\b", new, text)
        return text


class Scramble(Copied):
    """The words of a document in a drawn order."""

    recipe: Literal["scramble"]
    seed: int
    """Seed of the order."""

    def text(self, stored: Texts) -> str:
        """Shuffle the words and join them by single spaces."""
        return " ".join(Draws(self.seed).shuffled(stored[self.of].split()))


class Written(Recipe):
    """Base of recipes that write prose from the word lists."""

    words: int
    """Words of prose, before anything is put into it."""
    seed: int
    """Seed of the prose."""

    def text(self, stored: Texts) -> str:
        """Write prose and put into it what the recipe is about."""
        del stored
        return self.around(prose_words(self.words, self.seed))

    def around(self, words: list[str]) -> str:
        """Make the document out of its prose."""
        return " ".join(words)


class Prose(Written):
    """Prose alone."""

    recipe: Literal["prose"]


class Refrain(Written):
    """Lines of prose with the same line among them again and again."""

    recipe: Literal["refrain"]
    line: str
    """The line that returns."""
    lines: int
    """How often it stands there."""

    def around(self, words: list[str]) -> str:
        """Cut the prose into lines of ten words and put the refrain between them."""
        verses = [" ".join(words[n : n + 10]) for n in range(0, len(words), 10)]
        step = len(verses) // self.lines
        for n in reversed(range(self.lines)):
            verses.insert((n + 1) * step, self.line)
        return "\n".join(verses)


class Interleave(Written):
    """Prose with the same phrase every few words."""

    recipe: Literal["interleave"]
    phrase: str
    """The phrase."""
    every: int
    """Words of prose between two of them."""

    def around(self, words: list[str]) -> str:
        """Put the phrase after every `every` words."""
        runs = [words[n : n + self.every] for n in range(0, len(words), self.every)]
        return " ".join(f"{' '.join(run)} {self.phrase}" for run in runs)


class Echo(Written):
    """Prose whose first words return at its end: one repeated block in otherwise distinct text.

    With a block of b words in w words, (b - n + 1) * 2 of the w - n + 1 word n-grams are repeated
    ones; since that share falls more slowly with n than the limits do, there is a w for which each
    n is the first to be over its limit.
    """

    recipe: Literal["echo"]
    block: int
    """Words that return."""

    def around(self, words: list[str]) -> str:
        """Append the first `block` words."""
        return " ".join(words + words[: self.block])


class Stutter(Written):
    """Prose in which one word is said many times in a row."""

    recipe: Literal["stutter"]
    word: str
    """The word."""
    times: int
    """How often."""

    def around(self, words: list[str]) -> str:
        """Put the stutter into the middle."""
        half = len(words) // 2
        return " ".join([*words[:half], *[self.word] * self.times, *words[half:]])


AnyRecipe = Annotated[
    Copy | Respace | Decompose | Replace | Scramble | Prose | Refrain | Interleave | Echo | Stutter,
    Field(discriminator="recipe"),
]


class Derived(Schema):
    """The file `documents/derived.yaml`."""

    documents: list[AnyRecipe]
    """Recipes, in the order in which their documents are written."""


def prose_words(count: int, seed: int) -> list[str]:
    """Write `count` words of grammatical prose that means nothing."""
    words: list[str] = []
    for sentence in _sentences(Draws(seed)):
        words += sentence.split()
        if len(words) >= count:
            break
    return words[:count]


def _sentences(draws: Draws) -> Iterator[str]:
    lists = _word_lists()
    while True:
        pieces = re.split(r"\{(\w+)\}", draws.one_of(lists["patterns"]))
        for n in range(1, len(pieces), 2):
            word = draws.one_of(lists[pieces[n].lower()])
            pieces[n] = word[0].upper() + word[1:] if pieces[n][0].isupper() else word
        yield re.sub(r"\b([Aa]) (?=[aeio]|um|ho[nu])", r"\1n ", "".join(pieces))


@cache
def _word_lists() -> dict[str, list[str]]:
    path = files("dolmix.sample") / "documents" / "words.yaml"
    loaded: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return loaded
