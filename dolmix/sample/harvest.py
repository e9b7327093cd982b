"""What every Python installation carries, as documents, without a network.

Four kinds: READMEs of installed packages (web-like Markdown), licence files of installed packages
(natural near duplicates), docstrings of the standard library's modules, and its source. Whatever
cannot be read as text is skipped and counted by cause, never an error: one odd package must not
cost the sample. The result follows from the installation alone: names decide the order, and times,
sizes on disk and the current directory do not enter.
"""

import ast
import re
import sys
import sysconfig
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from pathlib import Path, PurePosixPath

from dolmix.sample.document import Document
from dolmix.sample.draws import rank

MIN_BYTES, MAX_BYTES = 200, 256 * 1024
"""Texts outside these sizes are skipped: empty modules, and tables that happen to be source."""
SKIPPED_FOLDERS = frozenset(
    {"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__"}
)
LICENCE_FILE = re.compile(r"(licen[cs]e|copying|notice|authors)", re.IGNORECASE)
PYTHON_LICENSE = "PSF-2.0"


@dataclass(frozen=True)
class Package:
    """An installed package: name in normal form, version, licence, and where its files are."""

    name: str
    version: str
    license: str
    distribution: metadata.Distribution

    def document(self, name: str, text: str, source: str, path: str) -> Document:
        """Make a document of one of its files."""
        origin = f"pkg:pypi/{self.name}@{self.version}"
        about = {"origin": origin, "license": self.license, "path": path, "language": "en"}
        return Document(f"pypi/{self.name}/{name}", text, source, about)


class Harvest:
    """Documents of this installation by kind; `skipped` counts what was left out, by cause."""

    def __init__(
        self, *, stdlib: Path | None = None, search_path: Sequence[str] | None = None
    ) -> None:
        """Read the running installation, or another: its library folder and its `sys.path`."""
        self.skipped: Counter[str] = Counter()
        self._stdlib = stdlib or Path(sysconfig.get_path("stdlib"))
        self._search_path = list(sys.path if search_path is None else search_path)

    @cached_property
    def packages(self) -> list[Package]:
        """Installed packages by name; of several with one name, the first on the path."""
        found: dict[str, Package] = {}
        for distribution in metadata.distributions(path=self._search_path):
            try:
                about = distribution.metadata
                name = re.sub(r"[-_.]+", "-", about["Name"]).lower()
                package = Package(name, str(about["Version"]), _license_name(about), distribution)
            except Exception:  # noqa: BLE001 - a broken installation can raise anything here
                self.skipped["package without readable metadata"] += 1
                continue
            found.setdefault(name, package)
        found.pop("dolmix", None)  # the project's own README changes with every commit
        return [found[name] for name in sorted(found)]

    def readmes(self) -> Iterator[Document]:
        """READMEs of installed packages."""
        for package in self.packages:
            text = package.distribution.metadata.json.get("description")
            if isinstance(text, str) and self._fits(text):
                yield package.document("README", text, "web", "METADATA")

    def licences(self) -> Iterator[Document]:
        """Licence, notice and author files beside the metadata of installed packages."""
        for package in self.packages:
            for path in self._licence_files(package.distribution):
                text = self._read(Path(str(package.distribution.locate_file(path))))
                if text is not None:
                    inside = PurePosixPath(*path.parts[1:])
                    yield package.document(str(inside), text, "docs", str(path))

    def docstrings(self) -> Iterator[Document]:
        """Docstrings of each module of the standard library, as one page a module."""
        for path, relative in self._modules():
            text = self._read(path)
            page = None if text is None else self._page(text, _dotted(relative))
            if page is not None and self._fits(page):
                yield _python_document(f"python/doc/{_dotted(relative)}", page, "docs", relative)

    def sources(self) -> Iterator[Document]:
        """Source of each module of the standard library."""
        for path, relative in self._modules():
            text = self._read(path)
            if text is not None:
                yield _python_document(f"python/{relative}", text, "code", relative)

    def _modules(self) -> Iterator[tuple[Path, PurePosixPath]]:
        root = self._stdlib
        found = ((path, PurePosixPath(path.relative_to(root))) for path in root.rglob("*.py"))
        for path, relative in sorted(found, key=lambda pair: pair[1].as_posix()):
            generated = relative.name.startswith("_sysconfigdata")  # holds paths of this machine
            if not generated and SKIPPED_FOLDERS.isdisjoint(relative.parts):
                yield path, relative

    def _licence_files(self, distribution: metadata.Distribution) -> list[PurePosixPath]:
        try:
            listed = [PurePosixPath(str(file)) for file in distribution.files or []]
        except Exception:  # noqa: BLE001 - as above
            self.skipped["package without readable file list"] += 1
            return []
        beside = [p for p in listed if p.parts and p.parts[0].endswith((".dist-info", ".egg-info"))]
        return sorted(p for p in beside if LICENCE_FILE.match(p.name))

    def _read(self, path: Path) -> str | None:
        """Text of a file, or None, counted, if it is no UTF-8, not there, or of a size left out."""
        try:
            if path.stat().st_size > MAX_BYTES:
                self.skipped["too large"] += 1
                return None
            text = path.read_bytes().decode("utf-8")
        except UnicodeDecodeError:
            self.skipped["not UTF-8"] += 1
            return None
        except OSError:
            self.skipped["not readable"] += 1
            return None
        return text if self._fits(text) else None

    def _fits(self, text: str) -> bool:
        try:
            size = len(text.encode())
        except UnicodeEncodeError:  # a lone surrogate, written as an escape in a docstring
            self.skipped["not UTF-8"] += 1
            return False
        if size < MIN_BYTES or size > MAX_BYTES:
            self.skipped["too small" if size < MIN_BYTES else "too large"] += 1
            return False
        return True

    def _page(self, source: str, name: str) -> str | None:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # odd escapes in old modules
                tree = ast.parse(source)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            self.skipped["does not parse"] += 1
            return None
        return "\n".join(f"{title}\n{text}\n" for title, text in _docstrings(tree, name))


def bounded(documents: Iterable[Document], max_bytes: int) -> list[Document]:
    """Choose documents up to a total size, by the rank of their ids; return them sorted by id."""
    chosen, size = [], 0
    for document in sorted(documents, key=lambda document: rank(document.id)):
        if size + document.num_bytes <= max_bytes:
            chosen.append(document)
            size += document.num_bytes
    return sorted(chosen, key=lambda document: document.id)


def python_version() -> str:
    """Version of the Python whose standard library is read."""
    return ".".join(str(part) for part in sys.version_info[:3])


def _docstrings(tree: ast.AST, name: str) -> Iterator[tuple[str, str]]:
    """Yield (dotted name, docstring) of a module, then of its classes and functions in order."""
    if isinstance(tree, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        text = ast.get_docstring(tree)
        if text:
            yield name, text
        for child in tree.body:
            if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                yield from _docstrings(child, f"{name}.{child.name}")


def _dotted(relative: PurePosixPath) -> str:
    parts = relative.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


def _license_name(about: metadata.PackageMetadata) -> str:
    """Licence as the package names it: expression, one-line field, classifier, or `unknown`."""
    for value in (about["License-Expression"], about["License"]):
        if value and value.strip() and "\n" not in value.strip():
            return str(value.strip())
    classifiers = about.get_all("Classifier") or []
    named = [c.rsplit(" :: ", 1)[-1] for c in classifiers if c.startswith("License :: ")]
    return named[0] if named else "unknown"


def _python_document(id_: str, text: str, source: str, relative: PurePosixPath) -> Document:
    about = {
        "origin": f"pkg:generic/python@{python_version()}",
        "license": PYTHON_LICENSE,
        "path": f"lib/{relative}",
        "language": "python" if source == "code" else "en",
    }
    return Document(id_, text, source, about)
