"""A small n-gram model for tests that need one and not what it says."""

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import builders

from dolmix.learned.ngram import NgramTraining, train


def tiny_model(folder: Path) -> Path:
    """Write a model of a hundred short texts."""
    path = folder / "web.ngram"
    path.write_bytes(_tiny())
    return path


@cache
def _tiny() -> bytes:
    """Bytes of the model, trained once for all tests that want one."""
    records = [builders.document(n, builders.prose(n, 40)) for n in range(100)]
    with TemporaryDirectory() as folder:
        texts = builders.write_jsonl(Path(folder) / "trusted.jsonl", records)
        config = NgramTraining(inputs=(str(texts),), output=Path(folder) / "m.ngram")
        return train(config).path.read_bytes()
