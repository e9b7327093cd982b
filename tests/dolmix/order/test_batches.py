"""Tokens of a step, for any number of ranks, and the proof over them."""

import shutil
import subprocess
import sys
from hashlib import blake2b
from pathlib import Path

import mix_stores
import numpy as np
import pytest

from dolmix.errors import LockError, OrderError
from dolmix.mix import read_lock
from dolmix.order import CHAIN_START, Batches, chain, row_digests


def raw_tokens(lock_file: Path, source: str) -> np.ndarray:
    """All tokens of a source, straight from its token files."""
    folder = read_lock(lock_file).store_path(source) / "shards"
    return np.concatenate([np.fromfile(f, "<u2") for f in sorted(folder.glob("*.tok"))])


def test_rows_are_the_windows_of_the_token_files(lock_file: Path) -> None:
    """Row by row, a batch holds tokens [i*L, i*L + L] of its source as they lie in the files."""
    with Batches(lock_file) as batches:
        raw = [raw_tokens(lock_file, source) for source in batches.order.sources]
        for step in range(1, batches.num_steps + 1):
            places, rows = batches.places(step), batches.tokens(step)
            assert rows.shape == (4, 17)
            assert rows.dtype == np.uint32
            for n, row in enumerate(rows):
                start = int(places.instance[n]) * 16
                assert np.array_equal(row, raw[int(places.source[n])][start : start + 17])


@pytest.mark.parametrize("world", [2, 4])
def test_ranks_share_the_batch_of_one(lock_file: Path, world: int) -> None:
    """Rank r of W takes rows r::W of the batch that one rank takes whole."""
    with Batches(lock_file) as batches:
        for step in (1, 2, batches.num_steps):
            whole = batches.tokens(step)
            for rank in range(world):
                assert np.array_equal(batches.tokens(step, rank, world), whole[rank::world])


def test_ranks_that_do_not_divide_the_batch_are_refused(lock_file: Path) -> None:
    """Three ranks cannot share four rows; the numbers are told."""
    with (
        Batches(lock_file) as batches,
        pytest.raises(OrderError, match="3 ranks cannot share a batch of 4"),
    ):
        batches.tokens(1, 0, 3)


def test_the_chain_is_as_specified_and_the_same_for_any_ranks(lock_file: Path) -> None:
    """Digests of rows as u32 LE, folded step by step, whether rows come whole or from two ranks."""
    with Batches(lock_file) as batches:
        expected = got = CHAIN_START
        for step in (1, 2, 3):
            rows = batches.tokens(step)
            joined = b"".join(
                blake2b(row.astype("<u4").tobytes(), digest_size=16).digest() for row in rows
            )
            expected = blake2b(expected + joined, digest_size=16).digest()
            digests = np.empty((4, 16), np.uint8)
            for rank in range(2):
                digests[rank::2] = row_digests(batches.tokens(step, rank, 2).astype(np.int64))
            got = chain(got, digests)
        assert got == expected


def test_a_changed_store_is_not_trained_on(lock_file: Path) -> None:
    """Opening batches refuses a store whose content is not the locked one."""
    shutil.rmtree(lock_file.parent / "stores" / "code@1")
    mix_stores.write_store(lock_file.parent / "stores", "code", [70] * 10)
    with pytest.raises(LockError, match="source 'code'"):
        Batches(lock_file)


READ_ALONE = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        blocked = {"pyarrow", "numba", "torch", "datatrove", "tokenizers", "orjson", "rich",
                   "typer", "fasttext", "datasketch", "smart_open", "xxhash", "zstandard"}
        if name.partition(".")[0] in blocked:
            raise ImportError(f"{name} is blocked")
        return None

sys.meta_path.insert(0, Blocker())
from dolmix.mix import read_lock
from dolmix.order import Batches, row_digests

with Batches(read_lock(sys.argv[1])) as batches:
    batches.order.find("web", 0)
    print(batches.num_steps, row_digests(batches.tokens(2, 1, 2)).tobytes().hex())
"""


def test_reading_needs_numpy_pydantic_and_yaml_alone(lock_file: Path) -> None:
    """Lock, order and tokens read in an interpreter that cannot import anything heavier."""
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", READ_ALONE, str(lock_file)],
        capture_output=True,
        text=True,
        cwd=root,
        check=False,
    )
    with Batches(lock_file) as batches:
        digests = row_digests(batches.tokens(2, 1, 2)).tobytes().hex()
        assert done.stderr == ""
        assert done.stdout == f"{batches.num_steps} {digests}\n"
