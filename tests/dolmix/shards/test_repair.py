"""What `repair` promises: the bytes that were committed come back, or nothing changes."""

import json
from pathlib import Path

import numpy as np
import pytest
import store_builder
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from dolmix.cli.shards import app
from dolmix.errors import StoreError
from dolmix.files.commit import canonical_json
from dolmix.shards import verify
from dolmix.shards.repair import repair


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Write a sound store of four shards, two of them equal in size, with text hashes."""
    documents = store_builder.documents([3, 3, 2, 4, 4, 2, 9])
    hashes = store_builder.with_text_hashes(documents)
    store_builder.write(tmp_path, hashes, shard_tokens=6)
    return tmp_path / "web@1"


def test_a_sound_store_is_left_alone(root: Path) -> None:
    """Nothing is done, nothing is found, no file is touched."""
    before = {p: p.stat().st_mtime_ns for p in root.rglob("*")}
    assert repair(root) == ([], [])
    assert {p: p.stat().st_mtime_ns for p in root.rglob("*")} == before


@settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_ends_and_indices_come_back_byte_for_byte(root: Path, data: st.DataObject) -> None:
    """Whatever was done to .end files and indices, the store is the committed one again."""
    good = store_builder.contents(root)
    names = sorted(n for n in good if n.endswith((".end", ".idx")))
    kinds = st.sampled_from(["gone", "cut", "flipped", "other"])
    damages = data.draw(st.dictionaries(st.sampled_from(names), kinds, min_size=1))
    for name, damage in damages.items():
        if damage == "gone":
            (root / name).unlink()
        else:
            changed = bytearray(good[name])
            changed[0] ^= 1
            told = {"cut": good[name][:-1], "flipped": bytes(changed), "other": b"something else"}
            (root / name).write_bytes(told[damage])
    done, findings = repair(root)
    assert findings == []
    assert store_builder.contents(root) == good
    assert {entry.file for entry in done} <= set(damages)


def test_swapped_and_renamed_files_get_their_names_back(root: Path) -> None:
    """Two shards of one size that were swapped, and one file under another name."""
    good = store_builder.contents(root)
    for kind in (".tok", ".docs.parquet"):
        one, two = root / f"shards/00000{kind}", root / f"shards/00002{kind}"
        content = one.read_bytes()
        one.write_bytes(two.read_bytes())
        two.write_bytes(content)
    (root / "shards/00003.tok").rename(root / "shards/old.bin")
    done, findings = repair(root)
    assert findings == []
    assert store_builder.contents(root) == good
    assert len(done) == 5
    assert "shards/00003.tok: was found as shards/old.bin, and has its name back" in map(str, done)


def test_the_manifest_is_written_anew_from_what_it_says_of_the_shards(root: Path) -> None:
    """Sums, content hash, quantiles and form follow from the shards; other fields stay."""
    good = (root / "manifest.json").read_bytes()
    raw = json.loads(good)
    raw["totals"]["tokens"] += 1
    raw["length_quantiles"] = {}
    raw["content_hash"] = "0" * 64
    (root / "manifest.json").write_text(json.dumps(raw, indent=1))
    done, findings = repair(root)
    assert findings == []
    assert (root / "manifest.json").read_bytes() == good
    assert "content_hash" in str(done[0])


@pytest.mark.parametrize("name", ["shards/00001.tok", "shards/00001.docs.parquet"])
def test_what_cannot_be_made_again_stays_and_is_told(root: Path, name: str) -> None:
    """Tokens and docs files are left as they are: the findings name them, nothing is invented."""
    damaged = bytearray((root / name).read_bytes())
    damaged[-1] ^= 1
    (root / name).write_bytes(bytes(damaged))
    done, findings = repair(root)
    assert done == []
    assert name in {finding.file for finding in findings}
    assert (root / name).read_bytes() == bytes(damaged)


def test_ends_are_not_made_from_a_docs_file_that_is_damaged_too(root: Path) -> None:
    """Without a sound docs file there is nothing to make ends from."""
    (root / "shards/00000.end").unlink()
    (root / "shards/00000.docs.parquet").write_bytes(b"PAR1")
    done, findings = repair(root)
    assert done == []
    assert {"shards/00000.end", "shards/00000.docs.parquet"} <= {f.file for f in findings}


def test_a_wrong_writers_ends_are_no_repair(root: Path) -> None:
    """Ends that do not have the manifest's digest never get the name."""
    raw = json.loads((root / "manifest.json").read_bytes())
    raw["shards"][0]["files"]["end"] = "1" * 64
    (root / "manifest.json").write_bytes(canonical_json(raw))
    before = (root / "shards/00000.end").read_bytes()
    repair(root)
    assert (root / "shards/00000.end").read_bytes() == before
    assert "shards/00000.end" in {finding.file for finding in verify(root, full=True)}


def test_a_store_without_a_manifest_cannot_be_repaired(root: Path) -> None:
    """The tokenizer and the inputs stand nowhere else: the error says what is missing."""
    (root / "manifest.json").unlink()
    with pytest.raises(StoreError, match=r"no manifest\.json"):
        repair(root)


def test_what_a_killed_repair_left_is_used_or_swept(root: Path) -> None:
    """Files set aside are found by their digest; attempts are removed."""
    good = store_builder.contents(root)
    (root / "shards/00000.tok").rename(root / "shards/.00000.tok.aside")
    (root / ".id.idx.0123456789ab.part").write_bytes(b"half")
    assert repair(root)[1] == []
    assert store_builder.contents(root) == good


def test_the_command_tells_what_it_did(root: Path) -> None:
    """Exit 0 when all is well afterwards, 1 with findings; `--json` has both lists."""
    (root / "id.idx").unlink()
    ran = CliRunner().invoke(app, ["repair", str(root)])
    assert (ran.exit_code, ran.stdout.strip()) == (0, "id.idx: made again from the docs files")
    (root / "shards/00000.tok").write_bytes(np.zeros(6, "<u2").tobytes())
    ran = CliRunner().invoke(app, ["repair", str(root), "--json"])
    found = json.loads(ran.stdout)
    assert ran.exit_code == 1
    assert found["repaired"] == []
    assert found["findings"][0]["file"] == "shards/00000.tok"
