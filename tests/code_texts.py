"""Source code made to be hard: pieces of each language, in an order that means nothing."""

import random

COMMON = (
    *("//", "/*", "*/", "/", "*", '"', "'", "\\", "\n", "\n\n", " ", "\t", "\r\n", "\r", "\u2028"),
    *("\x85", "\x1c", "\x00", "\ufeff", "a", "b1", "_", "$", "é", "²", "\u0301", "\u200d", "٣"),
    *("中", "0", "1", ".", "..", ";", "(", ")", "{", "}", "[", "]", ",", "#", "@", "=", "<", ">"),
    *("//c\n", "/*c*/", "# c\n", '"""', '"""\n', "-", ":", "return ", "class ", "import ", "\\\n"),
)
PYTHON = (
    *('"""doc"""\n', "def f():\n", '    """d"""\n', "    pass\n", "async def g():\n", "class A:\n"),
    *("# one\n", "#two", "'''\n", "x = 1\n", "    # in\n", "  # odd\n", "f'{x}'\n", "print 'x'\n"),
    *("'\\d'\n", "((\n", "))\n", "\\\n", "if x:\n", "\x0c", "lambda: ", "-", "0777\n", "\tx\n"),
)
JAVA = (
    *("class", "interface", "module ", "record", "public ", "static ", "private\n", "package "),
    *("import static ", "var ", "default:", "foo:", "\nfoo:", "non-sealed ", "sealed", "foo("),
    *("int x (", "List<A> f(", "a.b c(", "throw new X(", "new", "0x1p3", "0x.8p1", "1e5f", "1f"),
    *("0L", "12L", "1._5", "@A", "@interface", "strictfp ", "<T> ", "'\"'", "'\\''", "'\\u0041'"),
)
JAVASCRIPT = (
    *("`", "${", "in ", "in", "return", "=>", "===", ">>>", "<!--", "-->", "!", "++", "--", "?"),
    *("??", "~", "%", "^", "&&", "||", "**", "...", "\\u0061", '\\"', "/x/", "/[/]/g", "/a/gx"),
    *("#!", "#! /", "#a", "0b1", "07", "08", "1e5", "n", "typeof", "int", "from", "constructor"),
    *("of", "function", "() {", "Int8Array", "in\u0301", "int\u0301in/", "from\u0301in /", "var"),
)
HTML = (
    *("<p>", "</p>", "<b a='1'>", "<script>", "</script>", "<style>", "</style>", "<br/>", "&amp;"),
    *("<!--", "-->", "<!DOCTYPE html>", "<![CDATA[", "]]>", "<![if x]>", "<?xml version=", "?>"),
    *("&#65;", "&#x41;", "&#99999999999;", "&nbsp", "<a href=", "text " * 30, "<textarea>", "</"),
    *("<title>", "</title>", "<p", "&", "&#", "<!", "<?", "words and more words. ", "\n"),
)
PIECES = {"py": PYTHON, "java": JAVA, "js": JAVASCRIPT, "html": HTML}


def code_texts(count: int, ext: str, *, seed: int = 1729) -> list[str]:
    """Make texts of some of the pieces, of one language more than of the others."""
    rng = random.Random(f"{seed}/{ext}")
    return [_code_text(rng, PIECES[ext]) for _ in range(count)]


def _code_text(rng: random.Random, own: tuple[str, ...]) -> str:
    pool = rng.sample(COMMON, rng.randint(3, len(COMMON))) + rng.sample(
        own, rng.randint(3, len(own))
    )
    if rng.random() < 0.5:
        pool += ["/", "//", "/*x*/"] * 3
    return "".join(rng.choices(pool, k=rng.randint(0, 40)))
