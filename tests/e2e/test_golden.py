"""Bytes of the shipped documents: a change of format, filter, order or tokenizer shows here."""

import json
import os
from pathlib import Path

from commands import ROOT

from dolmix.mix import read_lock

GOLDEN = ROOT / "tests" / "golden" / "quickstart_shipped.json"


def test_stores_of_the_shipped_documents_have_their_golden_hashes(
    finished_run: Path, lock: Path
) -> None:
    """Content hash of every store, and the order hash.

    A wanted change is written with DOLMIX_UPDATE_GOLDEN=1, and named in the changelog.
    """
    found = {"order": read_lock(lock).order_hash, "stores": {}}
    for store in sorted((finished_run / "stores").iterdir()):
        manifest = json.loads((store / "manifest.json").read_bytes())
        found["stores"][store.name] = manifest["content_hash"]
    if os.environ.get("DOLMIX_UPDATE_GOLDEN"):
        GOLDEN.write_text(json.dumps(found, indent=2, sort_keys=True) + "\n")
    assert found == json.loads(GOLDEN.read_text())
