"""Commits: a name appears complete or not at all, and canonical JSON has one form a value."""

import json
import os
import subprocess
import sys
from hashlib import blake2b
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dolmix.files import commit

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=15,
)


class Stopped(Exception):  # noqa: N818
    """Raised in the middle of writing."""


def fail_after_writing(path: Path) -> None:
    """Write half of something and give up."""
    path.write_bytes(b"half")
    raise Stopped


def names(folder: Path) -> list[str]:
    """Everything below a folder, hidden names too."""
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))


def test_a_file_appears_whole_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    """Folders on the way are made; until the block ends, nothing stands under the final name."""
    final = tmp_path / "a" / "b.bin"
    with commit.new_file(final) as attempt:
        attempt.write_bytes(b"half")
        assert not final.exists()
        assert attempt.parent == final.parent
        assert attempt.name.startswith(".")
    assert final.read_bytes() == b"half"
    assert names(tmp_path) == ["a", "a/b.bin"]


def test_an_exception_leaves_no_file(tmp_path: Path) -> None:
    """A failed write leaves neither the final name nor the attempt, and an old file as it was."""
    final = tmp_path / "b.bin"
    for before in (None, b"old"):
        if before is not None:
            commit.write_bytes(final, before)
        with pytest.raises(Stopped), commit.new_file(final) as attempt:
            fail_after_writing(attempt)
        assert names(tmp_path) == ([] if before is None else ["b.bin"])
    assert final.read_bytes() == b"old"


def test_a_file_that_was_never_written_is_an_error(tmp_path: Path) -> None:
    """A block that wrote nothing does not commit an empty file by accident."""
    with pytest.raises(FileNotFoundError), commit.new_file(tmp_path / "b.bin"):
        pass
    assert names(tmp_path) == []


def test_many_files_appear_only_when_all_are_written(tmp_path: Path) -> None:
    """Each takes its own bytes, in any folders; none stands under its name before all are there."""
    finals = [tmp_path / "a/one", tmp_path / "b/c/two", tmp_path / "a/three"]
    finals[0].parent.mkdir()
    finals[0].write_bytes(b"before")
    with commit.new_files(finals) as attempts:
        for number, attempt in enumerate(attempts):
            attempt.write_bytes(bytes([number]))
        assert [f.exists() for f in finals] == [True, False, False]
        assert finals[0].read_bytes() == b"before"
    assert [f.read_bytes() for f in finals] == [b"\x00", b"\x01", b"\x02"]
    assert names(tmp_path) == ["a", "a/one", "a/three", "b", "b/c", "b/c/two"]
    with commit.new_files([]) as none:
        assert none == []


@pytest.mark.parametrize("written", [0, 1, 2])
def test_many_files_or_none_if_writing_fails(tmp_path: Path, written: int) -> None:
    """An exception, or one file that was never written, leaves no file and no attempt."""
    finals = [tmp_path / name for name in ("one", "two")]

    def write(*, to_the_end: bool) -> None:
        with commit.new_files(finals) as attempts:
            for attempt in attempts[:written]:
                attempt.write_bytes(b"whole")
            if not to_the_end:
                raise Stopped

    with pytest.raises(Stopped):
        write(to_the_end=False)
    if written < len(finals):
        with pytest.raises(FileNotFoundError):
            write(to_the_end=True)
    assert names(tmp_path) == []


def test_a_directory_appears_whole(tmp_path: Path) -> None:
    """Nested files come under the final name together."""
    final = tmp_path / "stores" / "web@1"
    with commit.new_directory(final) as attempt:
        (attempt / "inner").mkdir()
        (attempt / "inner" / "x").write_bytes(b"x")
        assert not final.exists()
    assert names(final) == ["inner", "inner/x"]
    assert names(tmp_path / "stores") == ["web@1", "web@1/inner", "web@1/inner/x"]


def test_an_exception_leaves_no_directory(tmp_path: Path) -> None:
    """A failed write removes the attempt with all that is in it."""
    with pytest.raises(Stopped), commit.new_directory(tmp_path / "web@1") as attempt:
        fail_after_writing(attempt / "x")
    assert names(tmp_path) == []


def test_a_committed_directory_is_never_replaced(tmp_path: Path) -> None:
    """A second commit under the name is refused, and the first one stays as it was."""
    final = tmp_path / "web@1"
    for content in (b"first", b"second"):
        try:
            with commit.new_directory(final) as attempt:
                (attempt / "x").write_bytes(content)
        except FileExistsError:
            assert content == b"second"
    assert (final / "x").read_bytes() == b"first"
    assert names(tmp_path) == ["web@1", "web@1/x"]


def test_an_empty_directory_in_the_way_is_not_replaced(tmp_path: Path) -> None:
    """A rename would silently take the place of an empty directory; the commit refuses."""
    (tmp_path / "web@1").mkdir()
    with pytest.raises(FileExistsError), commit.new_directory(tmp_path / "web@1") as attempt:
        (attempt / "x").write_bytes(b"x")
    assert names(tmp_path) == ["web@1"]


def test_a_killed_process_leaves_only_what_sweep_removes(tmp_path: Path) -> None:
    """After `kill -9` in the middle of a commit no final name exists, and sweep clears the rest."""
    script = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from dolmix.files import commit\n"
        "root = Path(sys.argv[1])\n"
        "commit.write_bytes(root / 'runs' / 'done', b'done')\n"
        "with commit.new_directory(root / 'runs' / 'web@1') as a:\n"
        "    (a / 'x').write_bytes(b'x')\n"
        "    with commit.new_file(root / 'runs' / 'deep' / 'y') as b:\n"
        "        b.write_bytes(b'y')\n"
        "        os.kill(os.getpid(), 9)\n"
    )
    killed = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=False,
    )
    assert killed.returncode == -9
    visible = [p for p in names(tmp_path) if not any(s[0] == "." for s in p.split("/"))]
    assert visible == ["runs", "runs/deep", "runs/done"]
    assert len(names(tmp_path)) > len(visible)
    assert commit.sweep(tmp_path) == 2
    assert names(tmp_path) == visible
    assert commit.sweep(tmp_path) == 0


def test_sweep_takes_nothing_else(tmp_path: Path) -> None:
    """Other hidden files, and visible ones with the suffix, are not attempts."""
    for name in (".keep", "data.part", ".x.part.json", "a.b.part"):
        (tmp_path / name).write_text("x")
    assert commit.sweep(tmp_path) == 0
    assert len(names(tmp_path)) == 4


def test_attempts_never_share_a_name(tmp_path: Path) -> None:
    """Two attempts at one file do not write over each other."""
    assert len({commit.attempt_path(tmp_path / "x") for _ in range(100)}) == 100


@given(JSON)
@settings(deadline=None)
def test_canonical_json_is_json_without_loss(value: Any) -> None:
    """Any JSON reader gives back what was encoded, and encoding that again changes nothing."""
    data = commit.canonical_json(value)
    assert json.loads(data) == value
    assert commit.canonical_json(json.loads(data)) == data


@given(st.dictionaries(st.text(max_size=4), st.integers(), min_size=2), st.randoms())
@settings(deadline=None)
def test_canonical_json_has_one_form(value: dict[str, int], random: Any) -> None:
    """The order of keys in memory never shows, in the bytes or in the fingerprint."""
    items = list(value.items())
    random.shuffle(items)
    assert commit.canonical_json(dict(items)) == commit.canonical_json(value)
    assert commit.fingerprint(dict(items)) == commit.fingerprint(value)


def test_canonical_json_to_the_byte() -> None:
    """Sorted keys, no spaces, UTF-8 as it is; the fingerprint is blake2b-256 of that."""
    value = {"b": [1, None, True], "a": "é\n", "Z": {}}
    assert commit.canonical_json(value) == '{"Z":{},"a":"é\\n","b":[1,null,true]}'.encode()
    assert commit.fingerprint({}) == (
        "c09da522dac261c3d2566230bed10d2f3ef13f8e7654576c12e857e07f786098"
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf"), [-float("inf")]])
def test_canonical_json_refuses_what_json_has_no_word_for(value: Any) -> None:
    """NaN and infinities are no JSON; nothing writes them by accident."""
    with pytest.raises(ValueError, match="JSON compliant"):
        commit.canonical_json(value)


def test_fingerprints_differ_for_different_values() -> None:
    """Values that print alike but are not the same have other fingerprints."""
    values = [1, "1", [1], {"1": 1}, None, "null", True, ""]
    assert len({commit.fingerprint(value) for value in values}) == len(values)


def test_write_json_round_trips(tmp_path: Path) -> None:
    """Without indent the file is canonical; with it, the same value spread over lines."""
    value = {"b": 1, "a": [1, 2]}
    commit.write_json(tmp_path / "c.json", value)
    commit.write_json(tmp_path / "r.json", value, indent=2)
    assert (tmp_path / "c.json").read_bytes() == commit.canonical_json(value)
    assert json.loads((tmp_path / "r.json").read_text()) == value
    assert (tmp_path / "r.json").read_text().startswith('{\n  "b": 1,\n')


@given(st.binary(max_size=100))
@settings(deadline=None, max_examples=20)
def test_file_digest_is_that_of_the_bytes(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    """A file's digest is blake2b-256 of its bytes, whole blocks and pieces alike."""
    path = tmp_path_factory.mktemp("digest") / "x"
    for content in (data, data * 30_000):
        path.write_bytes(content)
        assert commit.file_digest(path) == blake2b(content, digest_size=32).hexdigest()
