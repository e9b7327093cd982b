"""Build the wheel, install it without dependencies or extras' torch in sight, and use it.

    python scripts/check_wheel.py

Shows that `dolmix --help` answers and `import dolmix` works where torch cannot be imported and the
working tree is not on the path, and that the builtin classifiers are there with their cards.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

PROBE = """
import sys
sys.modules["torch"] = None  # importing it would raise
site = sys.argv[1]
sys.path.insert(0, site)
import dolmix
assert dolmix.__file__.startswith(site), dolmix.__file__
from dolmix.cli.main import run_cli
sys.argv = ["dolmix", "--help"]
code = run_cli()
heavy = {"numpy", "numba", "pyarrow", "datatrove"} & set(sys.modules)
assert code == 0 and not heavy, (code, heavy)
from importlib.resources import files
assert any(files("dolmix.sample").joinpath("documents").iterdir())
from dolmix.text.builtin_models import NAMES, builtin
for model in map(builtin, NAMES):
    assert str(model).startswith(site), model
    assert 100_000 < model.stat().st_size < 1_500_000, (model, model.stat().st_size)
    for card in (f"{model}.card.json", f"{model}.card.md"):
        assert open(card, encoding="utf-8").read(), card
"""


def main() -> int:
    """Return 0 when the installed wheel answers."""
    root = Path(__file__).resolve().parent.parent
    pip = [sys.executable, "-m", "pip"]
    with tempfile.TemporaryDirectory() as scratch:
        wheels, site = Path(scratch, "wheels"), Path(scratch, "site")
        subprocess.run([*pip, "wheel", "--quiet", "--no-deps", "-w", wheels, root], check=True)
        wheel = next(wheels.glob("dolmix-*.whl"))
        subprocess.run([*pip, "install", "-q", "--no-deps", "--target", site, wheel], check=True)
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        subprocess.run(
            [sys.executable, "-c", PROBE, str(site)],
            check=True,
            cwd=scratch,
            env=environment,
            stdout=subprocess.DEVNULL,
        )
        size = wheel.stat().st_size
    sys.stderr.write(f"{wheel.name}: {size:,} bytes, answers alone\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
