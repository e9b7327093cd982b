"""Comments of Java and JavaScript against Pygments, of Python against its own parsers."""

import ast
import io
import sys
import time
import tokenize
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest
from code_texts import COMMON, JAVA, JAVASCRIPT, code_texts
from hypothesis import given
from hypothesis import strategies as st
from naive_code import lexed_comments

from dolmix.text.code_comments import COMMENT_FRACS
from dolmix.text.code_java import java_comments
from dolmix.text.code_javascript import javascript_comments
from dolmix.text.code_points import lexer_points, lexer_table
from dolmix.text.code_python import python_comments

SCANNERS = {"java": java_comments, "javascript": javascript_comments}
PIECES = {"java": (*COMMON, *JAVA), "javascript": (*COMMON, *JAVASCRIPT)}
CHARS = 200_000
HARD = {
    "java": ("aa bb ", "a[] ", "\n", " \n", "/*", "class ", '"', "public\n", "public ", "'"),
    "javascript": ('"\\', "'\\", "/[/\\\n", "/*", "a.", "`${", "/a", "(", "`", "\n", "/\\\n["),
}


def scanned(text: str, language: str) -> int:
    """Characters of comments, by our scanner."""
    return SCANNERS[language](lexer_points(text), lexer_table())


@pytest.mark.parametrize("language", SCANNERS)
def test_comments_equal_pygments_on_made_up_code(language: str) -> None:
    """Three hundred texts out of the language's own pieces, in any order."""
    ext = {"java": "java", "javascript": "js"}[language]
    for text in code_texts(300, ext, seed=1):
        assert scanned(text, language) == lexed_comments(text, language), repr(text)


@pytest.mark.parametrize("language", SCANNERS)
@given(data=st.data())
def test_comments_equal_pygments(language: str, data: st.DataObject) -> None:
    """Whatever the pieces, and whatever stands between them."""
    piece = st.sampled_from(PIECES[language]) | st.characters(exclude_categories=["Cs"])
    text = "".join(data.draw(st.lists(piece, max_size=25)))
    assert scanned(text, language) == lexed_comments(text, language)


@pytest.mark.parametrize(
    ("language", "text", "chars"),
    [
        ("java", 'String s = "// no"; // yes', 6),
        ("java", "char c = '\"'; /* yes */ char d = '\"';", 9),
        ("java", 'var t = """\n // no " /* no */ """; // yes', 6),
        ("java", "class /* not here */ A {} // yes", 6),
        ("javascript", "x = `// no ${ y /* yes */ } // no`", 9),
        ("javascript", "x = /[/*]/; // yes", 6),
        ("javascript", "x = a / b; // yes / no", 11),
        ("javascript", "return /\\/\\* no/g /* yes */", 9),
        ("javascript", "#!/usr/bin/env node\n<!-- no\n// yes", 6),
    ],
)
def test_comments_are_told_from_what_looks_like_them(language: str, text: str, chars: int) -> None:
    """Strings, templates and regular expressions hide what would else be comments."""
    assert scanned(text, language) == chars == lexed_comments(text, language)


@pytest.mark.parametrize(("language", "piece"), [(n, p) for n, ps in HARD.items() for p in ps])
def test_no_text_takes_a_scanner_long(language: str, piece: str) -> None:
    """Linear time where Pygments takes minutes: one piece over and over, 200,000 characters."""
    text = piece * (CHARS // len(piece))
    scanned(text[:100], language)
    start = time.process_time()
    scanned(text, language)
    assert time.process_time() - start < 1.0


@pytest.mark.parametrize(
    ("text", "chars"),
    [
        ("", 0),
        ("# one\nx = 1  # two\n", len("one two")),
        ("## one\n#two #three\n", len("onetwo three")),
        ('"""Doc."""\n', 4),
        ('"""Doc."""\n# more\n', len("Doc.\n more")),
        ('class B:\n    """Two."""\n\n\ndef a():\n    """One.\n\n    More.\n    """\n', 16),
        ('async def a():\n    """Not seen."""\n', 0),
        ("print 'Python 2'  # seen\n", 4),
        ("x = (  # never closed\n", 0),
        ("x = '\x00'  # seen\n", 4),
        ('s = "\\d"  # seen\n', 4),
    ],
)
def test_python_comments_are_docstrings_and_comments(text: str, chars: int) -> None:
    """Joined, without `#` and outer whitespace; what does not parse has one of the two, or none."""
    assert python_comments(text) == chars


HOSTILE = {
    "brackets": "[" * 100_000,
    "minus": "-" * 100_000,
    "lambdas": "lambda x=" * 20_000,
    "attributes": "a" + ".a" * 50_000,
    "sums": "1" + "+1" * 50_000,
    "elif": "if a:\n pass\n" + "elif a:\n pass\n" * 10_000,
    "indents": "".join(" " * i + "if a:\n" for i in range(300)),
    "escapes": '"\\d"\n' * 1000,
    "nulls": "\x00" * 1000,
    "is literal": "x is 1\n" * 100,
    "assert": "assert (1, 'x')\n" * 100,
    "call": '"a"()\n1[0]\n' * 100,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_no_python_breaks_a_run(name: str, recwarn: pytest.WarningsRecorder) -> None:
    """Deep nesting, null bytes and odd escapes are texts without comments, and warn nobody."""
    assert python_comments(HOSTILE[name] + "\n") == 0 or name in ("escapes", "call")
    assert len(recwarn) == 0


def test_one_endless_token_is_not_read_to_its_end() -> None:
    """A string over half a million lines would take quadratic time; it has no value instead."""
    start = time.process_time()
    assert python_comments('x = """\n' + "\n" * 500_000 + '"""\n') is None
    assert time.process_time() - start < 10
    assert COMMENT_FRACS["python"]('x = """\n' + "\n" * 500_000 + '"""\n') is None
    assert python_comments('x = """\n' + "\n" * 5_000 + '"""\n# seen\n') == 4


def test_filters_of_warnings_come_back_after_threads() -> None:
    """Parsing in four threads leaves the program's own filters as they were."""
    before = list(warnings.filters)
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(python_comments, ['"\\d"\n# abc\n'] * 200)) == {7}
    assert warnings.filters == before


@pytest.mark.parametrize("language", COMMENT_FRACS)
def test_an_empty_text_has_no_comments(language: str) -> None:
    """Nothing over nothing is 0.0."""
    assert COMMENT_FRACS[language]("") == 0.0


def test_the_parsers_are_those_of_this_python() -> None:
    """A hundred made-up files: docstrings as `ast` sees them, comments as `tokenize` does."""
    for text in code_texts(100, "py", seed=2):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert python_comments(text) == len(_by_hand(text)), repr(text)
    assert sys.version_info >= (3, 11)


def _by_hand(text: str) -> str:
    kinds = {ast.ClassDef: "1", ast.FunctionDef: "2", ast.Module: "3"}
    docs, comments = [], []
    try:
        for node in ast.walk(ast.parse(text)):
            if type(node) in kinds:
                doc = ast.get_docstring(node)  # type: ignore[arg-type]
                docs.append((kinds[type(node)], getattr(node, "name", ""), doc))
    except (SyntaxError, ValueError):
        docs = []
    try:
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            comments += [token.string] if token.type == tokenize.COMMENT else []
    except (SyntaxError, tokenize.TokenError):
        comments = []
    found = [doc for *_, doc in sorted(docs, key=lambda item: item[:2]) if doc]
    return ("\n".join(found) + "\n" + "".join(comments).replace("#", "")).strip()
