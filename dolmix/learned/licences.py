"""Which licences let a row train a model that is given to others.

Public domain, CC0, CC BY, MIT, Apache-2.0 and BSD do; share-alike, non-commercial, unstated and
unclear ones do not. What is not plainly allowed is refused: such rows serve evaluation only.
"""

import re

OPEN = re.compile(
    r"""^\W*(
        cc0 | public\ domain
        | cc[ -]by(?=[\s,;.()]|$|\ \d) | mit\b | apache[ -]2\.0 | bsd\b
        | .*creative\ commons\ attribution\ licen[cs]e | .*creativecommons\.org/licenses/by/
        | .*\bin\ the\ public\ domain\b
    )""",
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)
CLOSED = re.compile(
    r"""-sa\b | \bsa\b | share[ -]?alike | -nc\b | \bnc\b | non[ -]?commercial | -nd\b
        | \bunclear\b | \bunknown\b | \bcheck\b | \bno\ [a-z ]*licen[cs]e | page\ text
        | page\ copyright | common\ crawl | research\ (use|only) | \bodc\b""",
    re.IGNORECASE | re.VERBOSE,
)


def is_open(licence: str | None) -> bool:
    """Whether a row with this licence line may train a model that is given to others."""
    text = licence or ""
    return OPEN.search(text) is not None and CLOSED.search(text) is None
