"""Tables kept on disk: made once, made anew when what they depend on changes, never trusted."""

from pathlib import Path

import numpy as np
import pytest

from dolmix.text.kept_tables import Tables, kept_tables, package_digest


class Maker:
    """Counts how often tables are made."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> Tables:
        """Make them."""
        self.times += 1
        return {"marks": np.arange(5, dtype=np.uint8), "text": np.array([3, 1], np.int64)}


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "cache"))


def test_the_second_time_tables_are_read(tmp_path: Path) -> None:
    """Same values and types from disk as made, read-only both times, made once."""
    make = Maker()
    code = tmp_path / "code.py"
    code.write_text("x = 1")
    both = [kept_tables("made", {"peer": "1"}, str(code), make) for _ in range(2)]
    assert make.times == 1
    for tables in both:
        assert tables["marks"].tolist() == [0, 1, 2, 3, 4]
        assert tables["text"].dtype == np.int64
        assert not tables["marks"].flags.writeable


def test_whatever_they_depend_on_makes_them_anew(tmp_path: Path) -> None:
    """Another version of a package, other code, and a code folder's every file count."""
    make = Maker()
    code = tmp_path / "code"
    code.mkdir()
    (code / "a.py").write_text("x = 1")
    kept_tables("made", {"peer": "1"}, str(code), make)
    kept_tables("made", {"peer": "2"}, str(code), make)
    (code / "b.py").write_text("y = 2")
    kept_tables("made", {"peer": "2"}, str(code), make)
    assert make.times == 3


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off", b"no archive at all" * 100])
def test_a_damaged_file_is_made_anew(tmp_path: Path, content: bytes) -> None:
    """What cannot be read is no error, and is replaced."""
    make = Maker()
    kept_tables("made", {}, __file__, make)
    (file,) = (tmp_path / "cache").glob("*.npz")
    file.write_bytes(content)
    assert kept_tables("made", {}, __file__, make)["text"].tolist() == [3, 1]
    kept_tables("made", {}, __file__, make)
    assert make.times == 2


def test_where_nothing_can_be_written_tables_are_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that cannot be made costs time, and nothing else."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "file" / "below"))
    assert kept_tables("made", {}, __file__, Maker())["text"].tolist() == [3, 1]


def test_installed_packages_have_a_digest() -> None:
    """Packages differ; one that is not installed has none."""
    found = {package_digest("numpy"), package_digest("pyarrow")}
    assert len(found) == 2
    assert None not in found
    assert package_digest("no-such-package-here") is None
