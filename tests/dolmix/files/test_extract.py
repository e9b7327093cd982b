"""Extractors in a process of their own: what they find, and what their faults cost."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest
from peers import needs
from warc_files import SENTENCE, page

from dolmix.errors import DataError
from dolmix.files import extract
from dolmix.files.extract import ExtractionError, Extractor, extractor_versions
from dolmix.files.extract_child import FAILED, HEADER, READY, TEXT, serve
from dolmix.files.records import BadValueError

HTML = page().decode()
FAKE = """
import os, sys, time
sys.path.insert(0, os.path.dirname({child!r}))
from extract_child import serve
def extract(html):
    if html == "die": os._exit(3)
    if html == "raise": raise ValueError("told to")
    if html == "sleep": time.sleep(60)
    while html == "spin": pass
    return f"{{os.getpid()}} {{html}}"
serve(extract, sys.stdin.buffer, sys.stdout.buffer, 0.3)
"""


@pytest.fixture(autouse=True)
def _has_extractors() -> None:
    needs("trafilatura")
    needs("resiliparse")


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Extractor]:
    """Give an extractor that does what the page says."""
    child = tmp_path / "fake.py"
    child.write_text(FAKE.format(child=extract.extract_child.__file__))
    monkeypatch.setattr(extract.extract_child, "__file__", str(child))
    made = Extractor("resiliparse", "balanced", timeout_s=0.3)
    yield made
    made.close()


@pytest.mark.parametrize(
    ("name", "favor"),
    [
        ("trafilatura", "balanced"),
        ("trafilatura", "precision"),
        ("trafilatura", "recall"),
        ("resiliparse", "balanced"),
        ("resiliparse", "recall"),
    ],
)
def test_the_main_text_is_found(name: str, favor: str) -> None:
    """The same each time, by processes of their own; of a page without text, none.

    Surrogates that entities spell do not come out.
    """
    texts = []
    for _ in range(2):
        extractor = Extractor(name, favor, 60)  # type: ignore[arg-type]
        texts.append([extractor.extract(h) for h in (HTML, "<html></html>", "&#xD800;" + HTML)])
        extractor.close()
    assert texts[0] == texts[1]
    assert texts[0][0].strip() == (SENTENCE * 8).strip()
    assert texts[0][1].strip() == ""
    texts[0][2].encode()


def test_a_page_that_raises_costs_itself_alone(fake: Extractor) -> None:
    """The same process goes on with the next page."""
    first = fake.extract("a")
    with pytest.raises(ExtractionError, match="ValueError: told to"):
        fake.extract("raise")
    assert fake.extract("a") == first


@pytest.mark.parametrize(
    ("html", "cause"),
    [
        ("spin", "took more than 0.3 s on a page of 4 bytes"),
        ("sleep", "took more than 0.3 s on a page of 5 bytes"),
        ("die", "code 3"),
    ],
)
def test_a_page_that_hangs_or_kills_costs_itself_alone(
    fake: Extractor, monkeypatch: pytest.MonkeyPatch, html: str, cause: str
) -> None:
    """Another process goes on with the next page; the cause says what happened."""
    monkeypatch.setattr(extract, "WAITING_TIMES", 1 if html == "sleep" else 100)
    first = fake.extract("a")
    with pytest.raises(BadValueError, match=cause):
        fake.extract(html)
    again = fake.extract("a")
    assert again != first
    assert again.endswith(" a")


def test_closing_ends_the_process(fake: Extractor) -> None:
    """And may be done twice."""
    pid = int(fake.extract("a").partition(" ")[0])
    assert fake.close() == 0
    assert fake.close() is None
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_long_pages_pass_both_ways(fake: Extractor) -> None:
    """Longer than any pipe holds."""
    html = "é" * 3_000_000
    fake.timeout_s = 60
    assert fake.extract(html).endswith(html)


def test_a_parent_that_is_killed_leaves_no_child(fake: Extractor) -> None:
    """The child ends with its input."""
    pid = int(fake.extract("a").partition(" ")[0])
    child = fake._child
    assert child is not None
    assert child.stdin is not None
    child.stdin.close()
    assert child.wait(timeout=20) == 0
    child.stdin = None
    assert pid == child.pid


def test_what_serves_answers_each_page() -> None:
    """Messages of a kind, a length and UTF-8, as many as there are pages."""

    def extract_text(html: str) -> str:
        return html[::-1] if html else str(1 // 0)

    asked = b"".join(HEADER.pack(TEXT, len(p)) + p for p in ("äb".encode(), b""))
    texts = BytesIO()
    serve(extract_text, BytesIO(asked), texts, 60)
    whole, at, kinds = texts.getvalue(), 0, []
    while at < len(whole):
        kind, length = HEADER.unpack(whole[at : at + HEADER.size])
        kinds.append((kind, whole[at + HEADER.size : at + HEADER.size + length].decode()))
        at += HEADER.size + length
    assert kinds[:2] == [(READY, ""), (TEXT, "bä")]
    assert kinds[2][0] == FAILED
    assert kinds[2][1].startswith("ZeroDivisionError")


def test_an_extractor_that_cannot_start_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether its package is missing or it gives no answer."""
    blocked = "import sys; sys.modules['resiliparse'] = None\n"
    source = Path(extract.extract_child.__file__).read_text()
    for name, text in (("a.py", blocked + source), ("b.py", "")):
        child = tmp_path / name
        child.write_text(text)
        monkeypatch.setattr(extract.extract_child, "__file__", str(child))
        with pytest.raises(DataError, match=r"cannot be started.*dolmix\[warc\]"):
            Extractor("resiliparse", "balanced", 1).extract("a")


def test_versions_enter_the_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of all packages that decide what is found; a missing one is named."""
    assert set(extractor_versions("trafilatura")) == {"trafilatura", "justext", "lxml"}
    assert extractor_versions("none") == {}
    monkeypatch.setitem(extract.PACKAGES, "resiliparse", ("no-such-package",))
    with pytest.raises(DataError, match="needs the package no-such-package"):
        extractor_versions("resiliparse")


def test_the_child_imports_nothing_of_dolmix() -> None:
    """It starts fast, from wherever it is run, and an interrupt from the keyboard leaves it be."""
    code = (
        "import sys; sys.argv = ['x', 'resiliparse', 'balanced', '60'];"
        f"exec(open({extract.extract_child.__file__!r}).read())"
    )
    child = subprocess.Popen(
        [sys.executable, "-P", "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert child.stdin is not None
    assert child.stdout is not None
    assert child.stdout.read(HEADER.size)[:1] == READY
    child.send_signal(signal.SIGINT)
    timer = threading.Timer(20, child.kill)
    timer.start()
    time.sleep(0.1)
    child.stdin.close()
    assert child.wait() == 0
    timer.cancel()
    child.stdout.close()
