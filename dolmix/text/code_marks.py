r"""Lines and characters of source code: what the code taggers of dolma 1.2.1 count.

Lines are those of `str.splitlines()`: cut at ten code points, "\r\n" as one, and nothing after the
last. Letters and digits are those of `str.isalpha` and `str.isalnum`. Words follow the package
`regex`, whose Unicode version is its own: a run of `\w`, or a run of `[^\w\s]`.
"""

from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from sys import maxunicode
from types import ModuleType

import numpy as np

from dolmix.document import I64Array, TextBatch, U8Array
from dolmix.errors import FilterError
from dolmix.text.characters import ALNUM as IS_ALNUM
from dolmix.text.characters import LETTER as IS_LETTER
from dolmix.text.characters import decode, point_marks
from dolmix.text.compiled import kernel

LETTER, ALNUM, BREAK, WORD, SYMBOL = 1, 2, 4, 8, 16
"""Bits of `code_table`; a character is WORD, SYMBOL or, as whitespace, neither."""
BREAKS = "\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"
"""What `str.splitlines()` cuts at."""
XML = np.frombuffer(b"<?xml version=", np.uint8)
XML_WITHIN = 100
"""The XML declaration is looked for in this many characters."""
LINES, LONGEST, LINE_CHARS, CHARS, ALNUMS, LETTERS, PIECES, HAS_XML = range(8)


@dataclass(frozen=True, eq=False)
class CodeMarks:
    """Counts of N documents; every array is (N,) int64.

    lines       lines, 0 for an empty text
    longest     characters of the longest line
    line_chars  characters of all lines together, without their ends
    chars       characters
    alnums      characters that are letters or digits
    letters     characters that are letters
    pieces      runs of word characters, runs of symbols, and one more
    xml         1 where `<?xml version=` lies within the first 100 characters
    """

    lines: I64Array
    longest: I64Array
    line_chars: I64Array
    chars: I64Array
    alnums: I64Array
    letters: I64Array
    pieces: I64Array
    xml: I64Array


def code_marks(texts: TextBatch, *, words: bool) -> CodeMarks:
    """Count every document, in one pass.

    words  whether `pieces` is wanted, which takes the package `regex`; 1 everywhere without

    Raises FilterError if `regex` is wanted and not there.
    """
    counts = np.zeros((8, len(texts)), np.int64)
    count_code(texts.utf8, texts.offsets, code_table(words=words), counts)
    return CodeMarks(*counts)


@lru_cache(maxsize=2)
def code_table(*, words: bool) -> U8Array:
    r"""Mark every code point: LETTER | ALNUM | BREAK, and with `words` WORD or SYMBOL.

    returns  (1114112,) uint8, read-only, by code point

    Raises FilterError with `words` if the package `regex` is not there.

    WORD is `\w` of the installed package `regex`, SYMBOL is `[^\w\s]`. Built once a process, in
    about half a second.
    """
    known = point_marks()
    table = (known & IS_LETTER != 0) * np.uint8(LETTER) | (known & IS_ALNUM != 0) * np.uint8(ALNUM)
    table[[ord(c) for c in BREAKS]] |= BREAK
    if words:
        regex = _regex()
        points = "".join(map(chr, range(maxunicode + 1)))
        for bit, pattern in ((WORD, r"\w+"), (SYMBOL, r"[^\w\s]+")):
            for run in regex.finditer(pattern, points):
                table[run.start() : run.end()] |= bit
    marks: U8Array = table
    marks.setflags(write=False)
    return marks


def word_digest() -> str:
    r"""Digest of what is a word: it changes with the Unicode version of the package `regex`.

    Raises FilterError if `regex` is not there.
    """
    table = code_table(words=True)
    return blake2b((table & (WORD | SYMBOL)).tobytes(), digest_size=16).hexdigest()


def _regex() -> ModuleType:
    try:
        import regex
    except ModuleNotFoundError:
        raise FilterError(
            "words of code are those of the package regex, which is not installed. Run "
            "`pip install 'dolmix[code]'`, or set min_alpha_per_token to null."
        ) from None
    module: ModuleType = regex
    return module


@kernel
def count_code(utf8: U8Array, offsets: I64Array, table: U8Array, counts: I64Array) -> None:
    """Fill in the counts of every document.

    utf8     (B,) uint8        bytes of all documents
    offsets  (N + 1,) int64    document n is utf8[offsets[n]:offsets[n + 1]]
    table    (1114112,) uint8  `code_table()`
    counts   (8, N) int64      out, zeros on entry; rows as in `CodeMarks`

    O(B). Twin: tests/naive_code.py `code_marks`.
    """
    for n in range(offsets.size - 1):
        begin, stop = int(offsets[n]), int(offsets[n + 1])
        lines, longest, broken, chars, alnums, letters = 0, 0, 0, 0, 0, 0
        pieces, before, line_start, i = 1, 0, 0, begin
        while i < stop:
            point, i = int(utf8[i]), i + 1
            if point >= 0x80:
                point, i = decode(utf8, i - 1, stop)
            mark = int(table[point])
            letters += mark & LETTER
            alnums += mark >> 1 & 1
            kind = mark & (WORD | SYMBOL)
            pieces += kind != before and kind != 0  # noqa: PLR1714 - no sets in a kernel
            before = kind
            if mark & BREAK:
                lines += 1
                longest = max(longest, chars - line_start)
                if point == 0x0D and i < stop and utf8[i] == 0x0A:
                    i += 1
                    chars += 1
                    broken += 1
                broken += 1
                line_start = chars + 1
            chars += 1
        if chars > line_start:
            lines += 1
            longest = max(longest, chars - line_start)
        counts[LINES, n], counts[LONGEST, n], counts[LINE_CHARS, n] = lines, longest, chars - broken
        counts[CHARS, n], counts[ALNUMS, n], counts[LETTERS, n] = chars, alnums, letters
        counts[PIECES, n] = pieces
        counts[HAS_XML, n] = _has_xml(utf8, begin, stop)


@kernel
def _has_xml(utf8: U8Array, begin: int, stop: int) -> bool:
    """Whether the XML declaration starts so early that all of it lies in the first characters."""
    chars, i = 0, begin
    while chars <= XML_WITHIN - XML.size and i + XML.size <= stop:
        same = 0
        while same < XML.size and utf8[i + same] == XML[same]:
            same += 1
        if same == XML.size:
            return True
        i += 1
        while i < stop and (utf8[i] & 0xC0) == 0x80:
            i += 1
        chars += 1
    return False
