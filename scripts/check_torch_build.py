"""Ask pip which build of torch it would take; stop before several GB of CUDA come along.

    python scripts/check_torch_build.py constraints.txt

Exit code 0: the build is a CPU build (or the platform has no other); 2: it is not, and the message
says how to choose.
"""

import json
import subprocess
import sys
from pathlib import Path

HOW_TO_CHOOSE = """\
pip would take the build of torch {version} that brings CUDA along (several GB). Choose one:
  CPU or another CUDA version   ./scripts/quickstart.sh --index-url URL
                                with the URL that PyTorch's own "Get Started" page gives for pip
  that build, on purpose        ./scripts/quickstart.sh --default-torch
  your own                      install torch into .venv yourself, then run the script again
"""


def main(constraints: Path) -> int:
    """Print the advice and return 2 when the default build is not a CPU build."""
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--quiet", "--ignore-installed"]
    command += ["--no-deps", "--report", "-", "-c", str(constraints), "torch"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    if found.returncode:
        sys.stderr.write(found.stderr)
        return found.returncode
    version = json.loads(found.stdout)["install"][0]["metadata"]["version"]
    if sys.platform != "linux" or version.endswith("+cpu"):
        return 0
    sys.stderr.write(HOW_TO_CHOOSE.format(version=version))
    return 2


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
