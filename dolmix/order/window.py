"""Windows of steps, as a person writes them: `a:b` are the steps a to b - 1, as everywhere here."""

import re

from dolmix.errors import OrderError

_WINDOW = re.compile(r"(\d*)(:?)(\d*)")


def parse_steps(text: str | None, num_steps: int) -> range:
    """Read `a:b`, `a:`, `:b`, `:` or one step as a range within the steps 1..num_steps.

    None is the whole order. Raises OrderError for anything else, for no step at all, and for steps
    that the order does not have.
    """
    match = _WINDOW.fullmatch((text if text is not None else ":").strip())
    if match is None or not match[0]:
        raise OrderError(
            f"{text!r} is no window of steps. Write first:stop, 1:101 for the steps 1 to 100; "
            f"either end may be left out."
        )
    first, colon, last = match.groups()
    start = int(first) if first else 1
    stop = int(last) if last else (num_steps if colon else start) + 1
    if not 1 <= start < stop <= num_steps + 1:
        raise OrderError(
            f"{text!r} holds no steps of this order, which has steps 1 to {num_steps:,}. The end "
            f"is left out: 1:101 are the steps 1 to 100."
        )
    return range(start, stop)
