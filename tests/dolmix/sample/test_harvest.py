"""The harvest: everything that is text, nothing that breaks it, always the same."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dolmix.sample import Document
from dolmix.sample.harvest import MAX_BYTES, Harvest, bounded

README = "Metadata-Version: 2.1\nName: {}\nVersion: {}\nLicense: MIT\n\n" + "A good package. " * 30
MODULE = '''"""What it is for.

More about it."""


class A:
    """A thing."""

    def b(self):
        r"""Odd \\d."""
'''
LICENCE = "You may do what you like with this, as long as you say who made it. " * 5


@pytest.fixture
def installation(tmp_path: Path) -> Path:
    """Write an installation in which almost everything is wrong, and a few things are right."""
    site, lib = tmp_path / "site", tmp_path / "lib"
    good = package(site, "Good_Pack", "1.0", README.format("Good_Pack", "1.0"))
    (good / "licenses").mkdir()
    (good / "licenses" / "LICENSE").write_text(LICENCE)
    (good / "COPYING").write_bytes(b"\xff\xfe not utf-8" * 50)
    (good / "RECORD").write_text(
        "\n".join(
            f"{good.name}/{name},," for name in ("licenses/LICENSE", "COPYING", "LICENSE.gone")
        )
    )
    package(site, "latin", "1", "").joinpath("METADATA").write_bytes(b"Name: latin\n\ncaf\xe9")
    package(site, "nameless", "1", "Metadata-Version: 2.1\n\nNo name")
    package(site, "terse", "1", "Name: terse\nVersion: 1\n\nShort.")
    (site / "hollow-1.dist-info").mkdir()
    for name, text in {
        "good.py": MODULE + "# " + "x" * 300,
        "pack/__init__.py": '"""' + "A package of modules. " * 30 + '"""\n',
        "pack/tests/test_it.py": MODULE * 20,
        "bad_syntax.py": "def (:\n" * 100,
        "surrogate.py": '"""Half a pair: \\ud800."""\n' + "# comment\n" * 50,
        "huge.py": "# x\n" * MAX_BYTES,
        "empty.py": "",
        "site-packages/other.py": MODULE * 20,
        "_sysconfigdata_x.py": MODULE * 20,
    }.items():
        (lib / name).parent.mkdir(parents=True, exist_ok=True)
        (lib / name).write_text(text)
    (lib / "latin.py").write_bytes(b"# caf\xe9\n" * 100)
    (lib / "null.py").write_bytes(b"x = 1\0\n" * 100)
    return tmp_path


def package(site: Path, name: str, version: str, text: str) -> Path:
    """Write the metadata of a package."""
    folder = site / f"{name}-{version}.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text(text)
    return folder


def harvest_of(folder: Path) -> Harvest:
    """Harvest of the installation in `folder`."""
    return Harvest(stdlib=folder / "lib", search_path=[str(folder / "site")])


def test_only_what_is_text_is_harvested(installation: Path) -> None:
    """Packages without a name or with broken files are skipped and counted, never an error."""
    harvest = harvest_of(installation)
    assert [d.id for d in harvest.readmes()] == ["pypi/good-pack/README"]
    assert [d.id for d in harvest.licences()] == ["pypi/good-pack/licenses/LICENSE"]
    assert harvest.skipped["not UTF-8"] == 1
    assert harvest.skipped["not readable"] == 1
    assert harvest.skipped["package without readable metadata"] >= 2


def test_source_leaves_out_tests_tables_and_other_encodings(installation: Path) -> None:
    """Modules come in the order of their paths, without the ones that are no text to learn from."""
    harvest = harvest_of(installation)
    names = [document.id for document in harvest.sources()]
    assert names == [
        "python/bad_syntax.py",
        "python/good.py",
        "python/null.py",
        "python/pack/__init__.py",
        "python/surrogate.py",
    ]
    assert harvest.skipped == {"too large": 1, "too small": 1, "not UTF-8": 1}


def test_docstrings_are_read_without_importing(installation: Path) -> None:
    """A page names each object before its docstring; what does not parse is counted."""
    harvest = harvest_of(installation)
    pages = {document.id: document.text for document in harvest.docstrings()}
    assert list(pages) == ["python/doc/pack"]
    assert harvest.skipped["does not parse"] == 2
    page = harvest._page(MODULE, "good")
    assert page == (
        "good\nWhat it is for.\n\nMore about it.\n\ngood.A\nA thing.\n\ngood.A.b\nOdd \\d.\n"
    )


def test_every_document_says_where_it_comes_from(installation: Path) -> None:
    """Origin with version, licence, path and language."""
    harvest = harvest_of(installation)
    readme = next(iter(harvest.readmes()))
    assert readme.metadata == {
        "origin": "pkg:pypi/good-pack@1.0",
        "license": "MIT",
        "path": "METADATA",
        "language": "en",
    }
    source = next(iter(harvest.sources()))
    assert source.metadata["path"] == "lib/bad_syntax.py"
    assert source.metadata["license"] == "PSF-2.0"


def test_an_empty_installation_gives_nothing(tmp_path: Path) -> None:
    """No library and no packages is no error."""
    harvest = harvest_of(tmp_path)
    kinds = (harvest.readmes, harvest.licences, harvest.docstrings, harvest.sources)
    assert [list(kind()) for kind in kinds] == [[], [], [], []]


def test_this_installation_has_enough(tmp_path: Path) -> None:
    """The standard library alone gives 5 MB of source, twice the same."""
    harvest = Harvest(search_path=[])
    first = [(d.id, d.text) for d in harvest.sources()]
    assert sum(len(text.encode()) for _, text in first) > 5_000_000
    assert first == [(d.id, d.text) for d in harvest.sources()]


@given(st.lists(st.integers(1, 30), max_size=40, unique=True), st.integers(0, 300), st.randoms())
def test_a_bound_holds_and_order_does_not_matter(
    sizes: list[int], bound: int, random: object
) -> None:
    """Chosen documents fit, are sorted, and do not depend on the order in which they came."""
    documents = [Document(f"d/{size:03d}", "x" * size, "d") for size in sizes]
    mixed = list(documents)
    random.shuffle(mixed)  # type: ignore[attr-defined]
    chosen = bounded(documents, bound)
    assert sum(document.num_bytes for document in chosen) <= bound
    assert chosen == sorted(chosen, key=lambda document: document.id) == bounded(mixed, bound)
    left_out = [document for document in documents if document not in chosen]
    room = bound - sum(document.num_bytes for document in chosen)
    assert all(document.num_bytes > room for document in left_out)
