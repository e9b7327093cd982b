"""datatrove's steps that need help to run here: workers unpickle them, and import this for it.

The language filter takes a model that is on disk where datatrove fetches one; MinHash's hash gets
bytes where datatrove gives it a string, which xxhash 4 refuses.
"""

from pathlib import Path
from typing import Any

import xxhash
from datatrove.pipeline.dedup.minhash import MinhashDedupSignature
from datatrove.pipeline.filters import LanguageFilter
from datatrove.utils.hashes import xxhash as theirs
from datatrove.utils.lid import FT176LID

theirs.xxhash64 = lambda text: xxhash.xxh64_intdigest(text.encode())


class PinnedModel(FT176LID):
    """The language model from a file."""

    path = ""

    @property
    def model(self) -> Any:
        """Load it once a process."""
        if self._model is None:
            from fasttext.FastText import _FastText

            self._model = _FastText(self.path)
        return self._model


class Signatures(MinhashDedupSignature):
    """As datatrove's; a class of this module, so that a worker imports it."""


def pinned_language(model: Path, languages: list[str], excluded: Any) -> LanguageFilter:
    """Build datatrove's language filter as it comes, on a model file."""
    step = LanguageFilter(languages, exclusion_writer=excluded)
    step.model = PinnedModel(languages)
    step.model.path = str(model)
    return step


def pinned_signatures(folder: str, config: Any) -> Signatures:
    """Build datatrove's first stage of MinHash."""
    return Signatures(folder, config)
