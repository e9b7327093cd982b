"""The built-in sample: real documents, made on the spot without a network.

`write_sample` harvests what every Python installation carries, adds the documents that the project
wrote itself, and trains a small tokenizer on both. `shipped_documents` are the latter alone: the
same everywhere, so that tests and golden digests can stand on them.
"""

from dolmix.sample.bpe import EOS, train_tokenizer, training_texts
from dolmix.sample.document import Document
from dolmix.sample.shipped import BROKEN, shipped_documents
from dolmix.sample.write import Summary, write_sample

__all__ = [
    "BROKEN",
    "EOS",
    "Document",
    "Summary",
    "shipped_documents",
    "train_tokenizer",
    "training_texts",
    "write_sample",
]
