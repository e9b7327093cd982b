"""Tokens of a step, for any number of ranks, and the proof over them."""

import shutil
import subprocess
import sys
from hashlib import blake2b
from pathlib import Path

import mix_stores
import numpy as np
import pyarrow as pa
import pytest

from dolmix.errors import LockError, OrderError, StoreError
from dolmix.mix import read_lock, resolve_file
from dolmix.order import CHAIN_START, Batches, chain, row_digests
from dolmix.order.repeats import make_repeat_mask


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


def packed_lock(folder: Path, packing: str) -> Path:
    """Write the small mix with another packing and return its lock."""
    mix = mix_stores.write_small_mix(folder)
    text = mix.read_text().replace("seed: 7", f"seed: 7\npacking: {packing}")
    text = text.replace("max_epochs: 4", "max_epochs: 40")
    mix.write_text(text)
    lock = resolve_file(mix)
    lock.write(folder / "small.lock.json")
    return folder / "small.lock.json"


@pytest.mark.parametrize("packing", ["concat", "bestfit", "pad"])
def test_rows_have_their_boundaries_and_labels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, packing: str
) -> None:
    """Documents begin where the pieces say; padding and packed pieces' firsts are masked."""
    monkeypatch.chdir(tmp_path)
    with Batches(packed_lock(tmp_path, packing)) as batches:
        for step in (1, 2, batches.num_steps):
            rows = batches.rows(step)
            assert np.array_equal(rows.tokens, batches.tokens(step))
            begins: list[int] = []
            for n in range(len(rows)):
                source, number = int(rows.places.source[n]), int(rows.places.instance[n])
                pieces = batches.instances[source].documents(number)
                at, counts = 0, []
                for piece in pieces:
                    begins += [16 * n + at] if at < 16 else []
                    counts += [packing == "concat"] + [True] * (piece.length - 1)
                    at += piece.length
                begins += [16 * n + at] if at < 16 else []
                assert rows.labels[n].tolist() == (counts + [False] * (17 - at))[1:]
            assert rows.boundaries().tolist() == [*begins, 16 * len(rows)]
            cut = [b - 32 for b in begins if 32 <= b < 64]
            assert rows.boundaries(2, 4).tolist() == [*cut, 32]
            assert rows.boundaries().dtype == np.int32


def test_ranks_share_the_rows_of_one(lock_file: Path) -> None:
    """Labels, flags and boundaries of rank r are those of the rows r::W."""
    with Batches(lock_file) as batches:
        whole = batches.rows(3)
        for rank in range(2):
            part = batches.rows(3, rank, 2)
            assert np.array_equal(part.labels, whole.labels[rank::2])
            assert np.array_equal(part.repeats, whole.repeats[rank::2])
            for n in range(len(part)):
                both = part.boundaries(n, n + 1), whole.boundaries(rank + 2 * n, rank + 2 * n + 1)
                assert np.array_equal(*both)


def test_steps_read_ahead_are_the_steps(lock_file: Path) -> None:
    """With threads or without, every step's rows are those of reading it alone."""
    with Batches(lock_file) as batches:
        steps = [4, 1, 2, 9]
        for depth, threads in ((0, 1), (2, 1), (3, 2)):
            ahead = batches.read_ahead(steps, 1, 2, depth=depth, threads=threads)
            for step, rows in zip(steps, ahead, strict=True):
                assert np.array_equal(rows.tokens, batches.tokens(step, 1, 2))
        ahead = batches.read_ahead([1, batches.num_steps + 1, 2], depth=2)
        assert len(next(ahead)) == 4
        with pytest.raises(OrderError, match="there is no step"):
            next(ahead)


def test_kept_flags_are_read_in_place_of_seeking_repeats(
    lock_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the derived file the same rows are flagged, and tokens are not looked at again."""
    rule = sys.modules["dolmix.order.repeats"]
    monkeypatch.setattr(rule, "repeats", lambda rows: rows[:, 3] % 3 == 0)
    with Batches(lock_file) as batches:
        steps = range(1, batches.num_steps + 1)
        at_hand = [batches.rows(step).repeats.tolist() for step in steps]
        for instances in batches.instances:
            make_repeat_mask(instances)
    with Batches(lock_file) as batches:
        monkeypatch.setattr("dolmix.order.batches.repeats_in", None)
        assert [batches.rows(step).repeats.tolist() for step in steps] == at_hand
    assert sum(map(sum, at_hand)) > 3


def test_a_loss_mask_is_pinned_and_applied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`loss` of a source masks its labels by their token's bit; the order stays what it was."""
    monkeypatch.chdir(tmp_path)
    mix = mix_stores.write_small_mix(tmp_path)
    plain = resolve_file(mix)
    lengths = [20, 50, 33]
    spans = [[("user", 0, 12), ("bot", 12, 20)], [("bot", 5, 50)], None]
    kind = pa.list_(pa.struct({"role": pa.string(), "start": pa.int64(), "stop": pa.int64()}))
    listed = [
        s if s is None else [dict(zip(("role", "start", "stop"), x, strict=True)) for x in s]
        for s in spans
    ]
    mix_stores.write_store(
        tmp_path / "stores", "chat", lengths, columns={"turns": pa.array(listed, kind)}
    )
    chats = "{store: stores/chat@1, max_epochs: 90, loss: {column: turns, roles: [bot]}}"
    text = mix.read_text().replace("stages:", f"  chat: {chats}\nstages:")
    mix.write_text(text.replace("docs: 0.1}", "docs: 0.1, chat: 0.3}"))
    lock = resolve_file(mix)
    assert lock.order.sources["web"] == plain.order.sources["web"]
    counted = [False] * 12 + [True] * 8 + [False] * 5 + [True] * 45 + [True] * 33
    with Batches(lock) as batches:
        chat = batches.order.sources.index("chat")
        seen = 0
        for step in range(1, 9):
            rows = batches.rows(step)
            for n in range(len(rows)):
                start = 16 * int(rows.places.instance[n])
                of_chat = int(rows.places.source[n]) == chat
                expected = counted[start + 1 : start + 17] if of_chat else [True] * 16
                assert rows.labels[n].tolist() == expected
                seen += of_chat
        assert seen
    (tmp_path / "stores/chat@1.derived").rename(tmp_path / "gone")
    with pytest.raises(StoreError, match="has no loss mask of 'turns'"):
        Batches(lock)


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
    rows = next(batches.read_ahead([2], 1, 2))
    assert rows.labels.shape == (2, 16) and rows.boundaries()[-1] == 32
    print(batches.num_steps, row_digests(rows.tokens).tobytes().hex())
"""


@pytest.mark.parametrize("packing", ["concat", "bestfit"])
def test_reading_needs_numpy_pydantic_and_yaml_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, packing: str
) -> None:
    """Lock, order, packs, masks and tokens, where nothing heavier can be imported."""
    monkeypatch.chdir(tmp_path)
    lock_file = packed_lock(tmp_path, packing)
    with Batches(lock_file) as batches:
        for instances in batches.instances:
            make_repeat_mask(instances)
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
