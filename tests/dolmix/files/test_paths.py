"""Inputs to files: expansion, names, formats, identity, and remote stores through their clients."""

import os
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO

import fsspec
import pytest
from smart_open import transport

from dolmix.errors import DataError
from dolmix.files.paths import (
    EDGE_BYTES,
    FORMATS,
    expand,
    format_of,
    identify,
    is_remote,
    open_input,
)


def touch(root: Path, *names: str) -> None:
    """Create small files below `root`."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}\n")


def names(*inputs: str | Path) -> list[str]:
    """Give the names of what the inputs expand to."""
    return [file.path for file in expand([str(i) for i in inputs])]


def test_a_pattern_gives_its_files_sorted_and_named_below_its_fixed_prefix(tmp_path: Path) -> None:
    """`**` reaches any depth; names are relative to the last folder without a wildcard."""
    touch(tmp_path, "web/b.jsonl", "web/a.jsonl", "web/x/y/c.jsonl", "web/.hidden.jsonl")
    assert names(tmp_path / "web/*.jsonl") == ["a.jsonl", "b.jsonl"]
    assert names(tmp_path / "web/**/*.jsonl") == ["a.jsonl", "b.jsonl", "x/y/c.jsonl"]
    assert names(tmp_path / "*/a.jsonl") == ["web/a.jsonl"]


def test_inputs_keep_their_order(tmp_path: Path) -> None:
    """Files come pattern by pattern; a plain path is named by its last component."""
    touch(tmp_path, "b/2.jsonl", "a/1.jsonl")
    assert names(tmp_path / "b/2.jsonl", tmp_path / "a/*") == ["2.jsonl", "1.jsonl"]


def test_equal_names_are_lengthened_until_they_differ(tmp_path: Path) -> None:
    """Two folders with a part-0 each give two names, neither of them absolute."""
    touch(tmp_path, "x/web/0.jsonl", "y/web/0.jsonl", "y/web/1.jsonl")
    found = names(tmp_path / "x/web/*", tmp_path / "y/web/*")
    assert found == ["x/web/0.jsonl", "y/web/0.jsonl", "1.jsonl"]


def test_relative_paths_and_file_uris_open_by_absolute_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`uri` is absolute, so a task may run in another folder."""
    touch(tmp_path, "web/a b.jsonl")
    monkeypatch.chdir(tmp_path)
    assert [f.uri for f in expand(["web/*.jsonl"])] == [str(tmp_path / "web/a b.jsonl")]
    assert [f.uri for f in expand([f"file://{tmp_path}/web/a%20b.jsonl"])] == [
        str(tmp_path / "web/a b.jsonl")
    ]


def test_a_name_with_wildcard_characters_can_be_given_literally(tmp_path: Path) -> None:
    """A path that exists is that path, whatever characters it holds."""
    touch(tmp_path, "a[1].jsonl", "a1.jsonl")
    assert names(tmp_path / "a[1].jsonl") == ["a[1].jsonl"]


@pytest.mark.parametrize(
    ("pattern", "says"),
    [
        ("none/*.jsonl", "none/*.jsonl: no file matches"),
        ("none.jsonl", "none.jsonl: no such file"),
        ("web", "is a folder"),
        ("web*", "no file matches"),
        ("{web,code}/*.jsonl", "give two patterns"),
        ("dangling.jsonl", "link to nothing"),
        ("dang*.jsonl", "link to nothing"),
    ],
)
def test_an_input_that_names_no_file_is_an_error(tmp_path: Path, pattern: str, says: str) -> None:
    """Nothing found, a folder, a dead link: each is refused by name, and a folder with a remedy."""
    touch(tmp_path, "web/a.jsonl")
    (tmp_path / "dangling.jsonl").symlink_to(tmp_path / "gone")
    with pytest.raises(DataError) as error:
        names(tmp_path / pattern)
    assert says in str(error.value)
    assert pattern in str(error.value) or pattern.startswith("dang")


def test_the_same_file_twice_is_an_error(tmp_path: Path) -> None:
    """By two patterns or through a link: its documents would be counted twice."""
    touch(tmp_path, "a.jsonl")
    with pytest.raises(DataError, match="named twice"):
        names(tmp_path / "a.jsonl", tmp_path / "*.jsonl")
    (tmp_path / "b.jsonl").symlink_to(tmp_path / "a.jsonl")
    with pytest.raises(DataError, match="named twice"):
        names(tmp_path / "*.jsonl")


def test_a_file_name_that_is_no_text_is_an_error(tmp_path: Path) -> None:
    """Such a name could not be written to a record."""
    (tmp_path / os.fsdecode(b"\xff.jsonl")).write_text("{}")
    with pytest.raises(DataError, match="not UTF-8"):
        names(tmp_path / "*.jsonl")


def test_formats_are_told_by_suffix() -> None:
    """Upper case counts too; an unknown suffix lists the known ones."""
    assert format_of("a.jsonl.zst") == ("jsonl", "zst")
    assert format_of("A.JSON.GZ") == ("jsonl", "gz")
    assert format_of("a.b.parquet") == ("parquet", "")
    for name in ("a.csv", "a.zst", "jsonl", "a.jsonl.bz2"):
        with pytest.raises(DataError) as error:
            format_of(name)
        assert all(suffix in str(error.value) for suffix in FORMATS)


@pytest.mark.parametrize("size", [0, 1, EDGE_BYTES, 3 * EDGE_BYTES])
def test_identity_follows_size_and_both_ends(tmp_path: Path, size: int) -> None:
    """Another size, first byte or last byte is another identity; reading again is the same one."""
    path = tmp_path / "a.jsonl"
    path.write_bytes(bytes(size))
    before = identify(str(path))
    assert before == identify(str(path))
    assert before["size"] == size
    assert before["mtime_ns"] == path.stat().st_mtime_ns
    changed = {bytes(size + 1)}
    if size:
        changed |= {b"x" + bytes(size - 1), bytes(size - 1) + b"x"}
    seen = {(before["size"], before["digest"])}
    for content in changed:
        path.write_bytes(content)
        after = identify(str(path))
        seen.add((after["size"], after["digest"]))
    assert len(seen) == len(changed) + 1


def test_a_file_that_cannot_be_opened_is_an_error_with_its_name(tmp_path: Path) -> None:
    """The operating system's reason is passed on."""
    with pytest.raises(DataError, match=r"gone\.jsonl: cannot be read: No such file"):
        open_input(str(tmp_path / "gone.jsonl"))


# --- remote stores ---------------------------------------------------------------------------


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Provide a store in memory that fsspec lists and smart_open opens, as it would S3."""
    system = fsspec.filesystem("memory")
    system.store.clear()

    def open_uri(uri: str, mode: str, transport_params: dict[str, Any]) -> BinaryIO:
        return BytesIO(system.cat_file(uri.removeprefix("memory://")))

    module = ModuleType("memory_transport")
    monkeypatch.setattr(module, "open_uri", open_uri, raising=False)
    monkeypatch.setattr(
        module, "parse_uri", lambda uri: {"scheme": "memory", "uri": uri}, raising=False
    )
    monkeypatch.setitem(transport._REGISTRY, "memory", module)
    yield system
    system.store.clear()


def test_remote_patterns_are_listed_and_opened(memory: Any) -> None:
    """A URI may hold wildcards; names, identity and bytes come as from a local folder."""
    memory.pipe({"/bucket/web/b.jsonl": b"second", "/bucket/web/a.jsonl": b"first"})
    found = expand(["memory://bucket/web/*.jsonl"])
    assert [f.path for f in found] == ["a.jsonl", "b.jsonl"]
    assert all(is_remote(f.uri) for f in found)
    with open_input(found[0].uri) as file:
        assert file.read() == b"first"
    assert identify(found[1].uri)["size"] == len(b"second")
    assert identify(found[0].uri)["digest"] != identify(found[1].uri)["digest"]


def test_a_remote_identity_is_that_of_now(memory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stores remember their listings; a file that changed since must show."""
    listing: dict[str, Any] = {}
    ask = memory.info

    def info(path: str) -> Any:
        return listing.setdefault(path, ask(path))

    monkeypatch.setattr(memory, "info", info)
    monkeypatch.setattr(memory, "invalidate_cache", lambda path: listing.pop(path, None))
    memory.pipe({"/bucket/a.jsonl": b"first"})
    uri = expand(["memory://bucket/a.jsonl"])[0].uri
    before = identify(uri)
    memory.pipe({"/bucket/a.jsonl": b"another"})
    assert (before["size"], identify(uri)["size"]) == (5, 7)


def test_remote_inputs_that_are_not_there_are_errors(memory: Any) -> None:
    """A pattern without a match, a missing file and an unknown scheme each name the URI."""
    for uri in ("memory://bucket/*.jsonl", "memory://bucket/a.jsonl", "nosuch://bucket/a.jsonl"):
        with pytest.raises(DataError) as error:
            expand([uri])
        assert uri in str(error.value)
    with pytest.raises(DataError, match=r"memory://bucket/a\.jsonl: cannot be read"):
        open_input("memory://bucket/a.jsonl")
