"""The sample's own tokenizer: byte-level BPE, trained where it is used.

The bytes of the `tokenizer.json` follow from the texts, their order not included, the vocabulary
size, and the version of the `tokenizers` package: pair counts are sums, and equal counts are
decided by ids.
"""

from collections.abc import Iterable, Iterator, Sequence

from dolmix.errors import UsageError
from dolmix.sample.document import Document
from dolmix.sample.draws import rank

EOS = "<|endoftext|>"
VOCAB_SIZE = 4096
SMALLEST_VOCAB = 257
"""One entry a byte, and the end-of-text token."""
TRAINING_BYTES = 1_000_000
"""Text of each source that the tokenizer learns from; more costs time and changes little."""
LONGEST_BYTES = 64 * 1024
"""Longer texts are left out of training, so that no single one decides the vocabulary."""


def train_tokenizer(texts: Iterable[str], vocab_size: int = VOCAB_SIZE) -> bytes:
    """Train a byte-level BPE tokenizer and return its `tokenizer.json`.

    Every text can be encoded and decodes to itself. Id 0 is `<|endoftext|>`, ids 1 to 256 are the
    bytes; the vocabulary is smaller than `vocab_size` only if the texts offer no further pair to
    merge.

    Raises UsageError for a `vocab_size` below 257.
    """
    if vocab_size < SMALLEST_VOCAB:
        raise UsageError(
            f"byte-level BPE needs at least {SMALLEST_VOCAB} entries (256 bytes and {EOS}), "
            f"not {vocab_size}"
        )
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[EOS],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return str(tokenizer.to_str(pretty=False)).encode()


def training_texts(documents: Sequence[Document]) -> Iterator[str]:
    """Yield texts to train on: up to `TRAINING_BYTES` of each source, by the rank of their ids."""
    for source in sorted({document.source for document in documents}):
        size = 0
        candidates = [d for d in documents if d.source == source and d.num_bytes <= LONGEST_BYTES]
        for document in sorted(candidates, key=lambda document: rank(document.id)):
            if size + document.num_bytes <= TRAINING_BYTES:
                size += document.num_bytes
                yield document.text
