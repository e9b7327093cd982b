"""Signatures of one huge document and of very many tiny ones: bounded memory and time."""

import json
import subprocess
import sys
import time

import numpy as np
import pytest
from peers import ROOT, needs

from dolmix.dedup import MinHash, candidate_pairs
from dolmix.document import TextBatch

HUGE = """
import json, resource, sys
import numpy as np
import pyarrow as pa
from dolmix.dedup import MinHash
from dolmix.document import TextBatch

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

def batch(data):
    ends = pa.py_buffer(np.array([0, len(data)], np.int64))
    text = pa.LargeStringArray.from_buffers(1, ends, pa.py_buffer(data))
    return TextBatch(text, pa.array(["0"]), pa.nulls(1, pa.string()), np.zeros(1, np.int64), {})

step = MinHash.model_validate(json.loads(sys.argv[1]))
rng = np.random.default_rng(1)
words = [rng.integers(97, 123, size, dtype=np.uint8).tobytes() for size in range(1, 15)] * 300
part = b" ".join(words[at] for at in rng.integers(0, len(words), 100_000)) + b"\\n"
step.signatures(batch(part))
data = np.frombuffer(part * (200_000_000 // len(part) + 1), np.uint8)
whole = batch(data)
before = peak()
lanes = step.signatures(whole).lanes
print(json.dumps({"bytes": len(data), "megabytes": peak() - before, "low": int(lanes.min())}))
"""


@pytest.mark.parametrize(
    ("settings", "megabytes"), [({}, 40), ({"preset": "datatrove-0.10"}, 260)], ids=["own", "peer"]
)
def test_a_document_of_200_megabytes(settings: dict[str, str], megabytes: int) -> None:
    """Working memory does not grow with a document, but for datatrove's simplified copy of it."""
    needs("spacy")
    command = [sys.executable, "-c", HUGE, json.dumps(settings)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert ran.returncode == 0, ran.stderr[-2000:]
    found = json.loads(ran.stdout)
    assert found["bytes"] >= 200_000_000
    assert found["megabytes"] <= megabytes


@pytest.mark.parametrize("settings", [{}, {"preset": "datatrove-0.10"}], ids=["own", "peer"])
def test_very_many_documents_of_one_word(settings: dict[str, str]) -> None:
    """Each distinct one has keys of its own, in microseconds a document, batch by batch."""
    needs("spacy")
    step = MinHash.model_validate(settings)
    letters = np.array(list("abcdefghijklmnop"))
    step.match_keys(TextBatch.of(["warm up"]))
    start, firsts = time.process_time(), []
    for first in range(0, 200_000, 20_000):
        numbers = np.arange(first, first + 20_000)
        names = letters[numbers[:, None] >> np.arange(0, 20, 4) & 15]
        keys = step.match_keys(TextBatch.of(["".join(row) for row in names]))
        assert keys.valid.all()
        firsts.append(keys.values[:, 0, 0])
    assert time.process_time() - start < 20
    band = np.concatenate(firsts)
    assert len(candidate_pairs(band, np.arange(len(band)))) == 0


def test_blocks_within_a_document_change_nothing() -> None:
    """Lanes of a document of many blocks are the smallest over its overlapping parts."""
    rng = np.random.default_rng(2)
    words = ["".join(rng.choice(list("abcdefgh"), 6)) for _ in range(20_000)]
    step = MinHash(num_hashes=32)
    whole = step.signatures(TextBatch.of([" ".join(words)])).lanes[0]
    parts = [" ".join(words[at : at + 1004]) for at in range(0, 20_000, 1000)]
    assert whole.tolist() == step.signatures(TextBatch.of(parts)).lanes.min(axis=0).tolist()
