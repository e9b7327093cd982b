"""The command line answers at once, and readers need little."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from commands import ROOT, command, environment

HEAVY = ("numpy", "numba", "pyarrow", "torch", "datatrove", "tokenizers")

HELP = """
import sys
from dolmix.cli.main import run_cli
code = run_cli()
heavy = sorted(set(sys.argv[-1].split(",")) & set(sys.modules))
sys.exit(f"loaded {heavy}" if heavy else code)
"""

READ = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"numba", "pyarrow", "torch", "datatrove", "tokenizers", "rich",
                                  "typer", "smart_open", "orjson", "datasketch", "zstandard"}:
            raise ImportError(f"{name} is not needed here")
sys.meta_path.insert(0, Refuse())
from dolmix.order import Batches
with Batches(sys.argv[1]) as batches:
    rows = batches.tokens(1)
    assert rows.shape == (8, 65), rows.shape
"""


def test_help_loads_nothing_heavy() -> None:
    """`dolmix --help` imports no numpy, numba, pyarrow or torch."""
    code = HELP.replace(
        "run_cli()", "(sys.argv.__setitem__(slice(1, None), ['--help']), run_cli())[1]", 1
    )
    code = code.replace("sys.argv[-1]", repr(",".join(HEAVY)))
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "order" in done.stdout


def test_a_lock_reads_with_numpy_pydantic_and_yaml_alone(lock: Path) -> None:
    """Lock, order, store and batch load where nothing else is installed."""
    done = subprocess.run(
        [sys.executable, "-c", READ, str(lock)],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_a_reader_that_stops_early_is_no_error(lock: Path) -> None:
    """`dolmix order show ... | head` ends well, whether or not all was written."""
    show = shlex.join(command("order", "show", lock, "--step", "1", "--json"))
    for reader in ("head -c 10", "true"):
        done = subprocess.run(
            ["bash", "-c", f"set -o pipefail; {show} | {reader}"],
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("folder", ["pipelines", "mixes", "train"])
def test_every_shipped_configuration_loads(folder: str) -> None:
    """Each file in configs/ validates against its schema."""
    from dolmix.config import load
    from dolmix.mix import load_mix
    from dolmix.pipeline.spec import Pipeline

    files = sorted((ROOT / "configs" / folder).glob("*.yaml"))
    assert files
    for path in files:
        if folder == "pipelines":
            assert load(Pipeline, path).name
        elif folder == "mixes":
            assert load_mix(path).name
        else:
            from trainer.config import TrainConfig

            assert load(TrainConfig, path).lock
