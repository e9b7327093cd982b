"""The kernels' cache on disk: a change of any file whose code may be inlined is noticed."""

import os
from pathlib import Path

from dolmix.text.compiled import _stamp


def test_stamp_follows_the_files_of_both_packages(tmp_path: Path) -> None:
    """A file that comes, grows or is touched in the kernel's own folder gives another stamp."""
    stamps = [_stamp.__wrapped__(tmp_path)]
    module = tmp_path / "kernels.py"
    module.write_text("one = 1\n")
    for change in (lambda: None, lambda: module.write_text("one = 1\ntwo = 2\n")):
        change()
        stamps.append(_stamp.__wrapped__(tmp_path))
    os.utime(module, (2e9, 2e9))
    stamps.append(_stamp.__wrapped__(tmp_path))
    assert len(set(stamps)) == len(stamps)


def test_stamp_of_the_splitters_does_not_count_files_twice() -> None:
    """For a kernel of `dolmix.text` itself the two folders are one."""
    here = Path(_stamp.__wrapped__.__code__.co_filename).parent
    sizes = sum(path.stat().st_size for path in here.glob("*.py"))
    assert _stamp.__wrapped__(here)[1] == sizes
