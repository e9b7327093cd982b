"""Documents that speak of code: what they name exists."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from commands import environment

ROOT = Path(__file__).resolve().parent.parent
DOCS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_every_guarantee_names_tests_that_exist() -> None:
    """`docs/determinism.md` numbers its guarantees, and each names functions of the test suite."""
    text = (ROOT / "docs" / "determinism.md").read_text()
    guarantees = re.split(r"^(\d+)\. ", text.split("## Not guaranteed")[0], flags=re.MULTILINE)[1:]
    numbers, sentences = guarantees[::2], guarantees[1::2]
    assert [int(number) for number in numbers] == list(range(1, len(sentences) + 1))
    assert len(sentences) > 30
    for number, sentence in zip(numbers, sentences, strict=True):
        named = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", sentence)
        assert named, f"guarantee {number} names no test"
        assert len(named) == len(re.findall(r"`tests/", sentence)), f"guarantee {number}"
        for path, function in named:
            assert f"def {function}(" in (ROOT / path).read_text(), (number, path, function)


@pytest.mark.parametrize("path", DOCS, ids=lambda p: p.name)
def test_links_and_paths_exist(path: Path) -> None:
    """Relative links and files that a page names are there."""
    text = path.read_text()
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (path.parent / target).exists(), target
    for target in re.findall(
        r"`((?:configs|scripts|tests|docs|dolmix|trainer)/[\w./-]+\.\w+)`", text
    ):
        assert (ROOT / target).exists(), target


def test_commands_of_the_readme_exist() -> None:
    """Every `dolmix ...` line of the README is a command, and its files are there."""
    text = (ROOT / "README.md").read_text()
    reference = (ROOT / "docs" / "cli.md").read_text()
    lines = [line.split("#")[0].split() for line in text.splitlines() if line.startswith("dolmix ")]
    assert len(lines) > 5
    for words in lines:
        one, two = " ".join(words[:2]), " ".join(words[:3])
        assert f"## `{one}`" in reference or f"## `{two}`" in reference, words
        for word in words:
            if word.startswith("configs/"):
                assert (ROOT / word).exists(), word


def test_generated_files_are_up_to_date() -> None:
    """`scripts/generate.py --check` finds nothing to write."""
    done = subprocess.run(
        [sys.executable, "scripts/generate.py", "--check"],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
