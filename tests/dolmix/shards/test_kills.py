"""A writer that is killed anywhere leaves a committed store or none, never a wrong one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dolmix.files import commit

ROOT = Path(__file__).parents[3]
KILLS = 32

# One process imports everything, then forks a writer for each kill: `place` counts the calls, of
# Python and of C functions, that the writer makes before the signal.
SCRIPT = """
import json, os, random, signal, sys
from pathlib import Path
import store_builder
from dolmix.shards import open_store, verify

folder, seed, kills = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
documents = store_builder.with_text_hashes(store_builder.documents([5, 9, 2] * 40))


def write(root):
    store_builder.write(root, documents, shard_tokens=200, cuts=(1, 50, 51, 90))


def child(work):
    pid = os.fork()
    if pid == 0:
        work()
        os._exit(0)
    return os.waitpid(pid, 0)[1]


def killed_at(place, root):
    calls = 0

    def count(frame, event, argument):
        nonlocal calls
        calls += event in ("call", "c_call")
        if calls == place:
            os.kill(os.getpid(), signal.SIGKILL)

    def work():
        sys.setprofile(count)
        write(root)
        sys.setprofile(None)
        (folder / "calls").write_text(str(calls))

    return child(work)


assert killed_at(-1, folder / "whole") == 0
total = int((folder / "calls").read_text())
whole = store_builder.contents(folder / "whole" / "web@1")
draw = random.Random(seed)
# the last calls are those that commit: as many kills there as in all the rest
places = [draw.randrange(1, total) for _ in range(kills // 2)]
places += [total - draw.randrange(1, 120) for _ in range(kills // 2)]
found = {"absent": 0, "committed": 0, "total": total}
for number, place in enumerate(places):
    root = folder / str(number)
    assert killed_at(place, root) in (signal.SIGKILL, 0)  # 0: it made a few calls less this time
    if (root / "web@1").exists():
        assert store_builder.contents(root / "web@1") == whole
        found["committed"] += 1
    else:
        found["absent"] += 1
    assert child(lambda: write(root)) == 0
    assert store_builder.contents(root / "web@1") == whole
assert verify(folder / "whole" / "web@1", full=True) == []
print(json.dumps(found))
"""


@pytest.mark.parametrize("seed", [1])
def test_kills_at_random_calls_leave_a_whole_store_or_none(tmp_path: Path, seed: int) -> None:
    """Kill -9 before any call of the writer, those of the commit too; the next writer commits."""
    path = os.pathsep.join((str(ROOT), str(ROOT / "tests")))
    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path), str(seed), str(KILLS)],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        check=False,
        timeout=200,
    )
    assert ran.returncode == 0, ran.stderr.decode()[-2000:]
    found = json.loads(ran.stdout)
    assert found["absent"] + found["committed"] == KILLS
    assert found["absent"] > 10
    assert found["committed"] > 0
    visible = {p.name for p in tmp_path.glob("*/*") if not p.name.startswith(".")}
    assert visible == {"web@1"}
    commit.sweep(tmp_path)
    assert not list(tmp_path.glob("*/.*"))
