"""Gathering tokens: the same as slices of the files, whatever was limited or came in pieces."""

import os
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dolmix.errors import StoreError
from dolmix.pipeline import token_files
from dolmix.pipeline.token_files import TokenFiles

Places = list[tuple[int, int, int]]
"""Part, first token, number of tokens."""


def write_parts(folder: Path, parts: Sequence[np.ndarray]) -> list[Path]:
    """Write one token file a part."""
    paths = [folder / f"{number}.tok" for number in range(len(parts))]
    for path, tokens in zip(paths, parts, strict=True):
        path.write_bytes(tokens.tobytes())
    return paths


def num_open() -> int:
    """Count the files that this process has open."""
    return len(list(Path("/dev/fd").iterdir()))


def gathered(files: TokenFiles, places: Places) -> np.ndarray:
    """Gather documents."""
    columns = np.array(places, np.int64).reshape(-1, 3).T
    return files.gather(*columns)


def sliced(parts: Sequence[np.ndarray], places: Places) -> np.ndarray:
    """Plain twin: slices of the parts, one after the other."""
    pieces = [parts[part][start : start + count] for part, start, count in places]
    return np.concatenate([np.zeros(0, parts[0].dtype), *pieces])


@st.composite
def documents(draw: st.DrawFn, sizes: Sequence[int]) -> Places:
    """Draw documents within parts of these sizes, empty ones among them."""
    places = []
    for _ in range(draw(st.integers(0, 12))):
        part = draw(st.integers(0, len(sizes) - 1))
        start = draw(st.integers(0, sizes[part]))
        places.append((part, start, draw(st.integers(0, sizes[part] - start))))
    return places


@settings(deadline=None, max_examples=40)
@given(
    sizes=st.lists(st.integers(0, 40), min_size=1, max_size=5),
    dtype=st.sampled_from(["<u2", "<u4"]),
    most=st.integers(0, 60),
    limits=st.tuples(st.integers(0, 3), st.integers(1, 9)),
    data=st.data(),
)
def test_gathered_tokens_are_slices_of_the_files(
    sizes: list[int], dtype: str, most: int, limits: tuple[int, int], data: st.DataObject
) -> None:
    """With few open files, small buffers, reads of a few bytes too; two results stand at once."""
    open_files, at_once = limits
    parts = [
        np.random.default_rng(n).integers(0, 9999, s).astype(dtype) for n, s in enumerate(sizes)
    ]
    calls = [data.draw(documents(sizes)) for _ in range(3)]
    whole = os.preadv

    def in_pieces(handle: int, buffers: tuple[memoryview], start: int) -> int:
        return whole(handle, (buffers[0][:at_once],), start)

    open_before = num_open()
    with (
        TemporaryDirectory() as folder,
        patch.object(token_files, "OPEN_FILES", open_files),
        patch.object(os, "preadv", in_pieces),
    ):
        paths = write_parts(Path(folder), parts)
        with closing(TokenFiles(paths, np.dtype(dtype), most=most)) as files:
            first, second = (gathered(files, places) for places in calls[:2])
            assert np.array_equal(first, sliced(parts, calls[0]))
            assert np.array_equal(second, sliced(parts, calls[1]))
            assert np.array_equal(gathered(files, calls[2]), sliced(parts, calls[2]))
            assert num_open() <= open_before + open_files
    assert num_open() == open_before


def test_a_file_that_lost_its_end_is_an_error(tmp_path: Path) -> None:
    """Named with the byte where it ends; nothing of another document is taken for it."""
    paths = write_parts(tmp_path, [np.arange(10, dtype="<u2")])
    with (
        closing(TokenFiles(paths, np.dtype("<u2"), most=100)) as files,
        pytest.raises(StoreError, match=r"0\.tok ends at byte 20, within a document"),
    ):
        gathered(files, [(0, 2, 3), (0, 6, 5)])
