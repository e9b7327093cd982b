"""Plain twin of `dolmix.text.listed_words`: words of lists by dictionaries of word tuples."""

import unicodedata
from collections.abc import Mapping

UNSPACED = (
    *((0x0E00, 0x0F00), (0x1000, 0x10A0), (0x1780, 0x1800), (0x3005, 0x3008), (0x3040, 0x3100)),
    *((0x31F0, 0x3200), (0x3400, 0x4DC0), (0x4E00, 0xA000), (0xF900, 0xFB00), (0xFF66, 0xFFA0)),
    (0x20000, 0x32000),
)


def words(line: str) -> list[str]:
    """Give runs of letters, digits, marks in lower case; characters of some scripts one by one."""
    found, word = [], ""
    for char in line:
        category = unicodedata.category(char)
        if category == "Cf":
            continue
        alone = any(start <= ord(char) < stop for start, stop in UNSPACED)
        if not char.isalnum() and category[0] != "M":
            found, word = [*found, word], ""
        elif alone:
            found, word = [*found, word, char.lower()[0]], ""
        else:
            word += char.lower()[0]
    return [word for word in [*found, word] if word]


def spelt(entry: str) -> set[tuple[str, ...]]:
    """Words of an entry, composed and decomposed."""
    forms = {tuple(words(unicodedata.normalize(form, entry))) for form in ("NFC", "NFD")}
    return forms - {()}


def measure(text: str, lists: Mapping[str, list[str]]) -> dict[str, object]:
    """Every column of the filter `words` over some lists, and the lines that have a match."""
    table: dict[tuple[str, ...], str] = {}
    for name in lists:
        for entry in lists[name]:
            for key in spelt(entry):
                table.setdefault(key, name)
    same = {}
    for entry in (entry for name in lists for entry in lists[name]):
        for key in spelt(entry):
            same.setdefault(key, entry)
    lines = [line for line in text.split("\n") if line.strip()]
    count, matched, found, listed = 0, 0, [], []
    for line in lines:
        split = words(line)
        count += len(split)
        place, hit = 0, False
        while place < len(split):
            sizes = [k for k in range(len(split), 0, -1) if tuple(split[place:][:k]) in table]
            sizes = [k for k in sizes if place + k <= len(split)]
            if not sizes:
                place += 1
                continue
            found.append(tuple(split[place : place + sizes[0]]))
            matched, place, hit = matched + sizes[0], place + sizes[0], True
        listed.append(hit)
    return {
        "word_count": count,
        "matches": len(found),
        "distinct": len({same[key] for key in found}),
        "frac": matched / count if count else 0.0,
        "lines_total": len(lines),
        "lines_listed": sum(listed),
        "line_frac": sum(listed) / len(lines) if lines else 0.0,
        "list": table[found[0]] if found else None,
        "left": [line for line, out in zip(lines, listed, strict=True) if not out],
    }
