"""UAX #29 words."""

from dolmix.document import TextBatch
from dolmix.text.words import Words


def split_unicode_words(texts: TextBatch) -> Words:
    """Split every document at UAX #29 word boundaries."""
    raise NotImplementedError
