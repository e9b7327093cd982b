"""Plain-Python twins of FineWeb's rules: the kernel's counts, and the published decisions."""

PUBLISHED_REASONS = (
    *("line_punct_frac", "short_line_frac", "dup_line_char_frac", "newlines_per_word"),
)


def count_lines(text: str, *, stops: str, short_chars: int) -> tuple[int, ...]:
    """Count one text's lines, in the order of the fields of `FineWebLines`."""
    lines = text.split("\n")
    full = [line for line in lines if line.strip()]
    blank = [line for line in lines if not line.strip()]
    return (
        len(lines),
        len(full),
        sum(line[-1] in stops for line in full),
        sum(len(line) <= short_chars for line in full),
        sum(len(line) <= short_chars for line in blank),
        sum(len(line) for n, line in enumerate(full) if line in full[:n]),
        sum(map(len, lines)),
        text.count("\n"),
    )


def published_reason(text: str) -> str | None:
    """Reason of the published FineWeb for a text, words at white space; None keeps it."""
    lines = text.split("\n")
    full = [line for line in lines if line.strip()]
    repeated = sum(len(line) for n, line in enumerate(full) if line in full[:n])
    fires = (
        sum(line.endswith((".", "'", '"', "!", "?")) for line in lines) / len(lines) <= 0.12,
        sum(len(line) <= 30 for line in lines) / len(lines) >= 0.67,
        repeated / max(len(text.replace("\n", "")), 1) >= 0.01,
        text.count("\n") / max(len(text.split()), 1) > 0.3,
    )
    return next((name for name, hit in zip(PUBLISHED_REASONS, fires, strict=True) if hit), None)
