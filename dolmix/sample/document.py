"""One document of the sample, in the Dolma document schema.

Every record has `id`, `text`, `source`, `added`, `created` and `metadata`. Nothing in it depends on
when or where the sample was made: `added` is a constant, `created` is null because nobody knows it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

ADDED = "2026-01-01T00:00:00.000Z"
"""When the sample's rules were fixed; never the time of a run."""


@dataclass(frozen=True, slots=True)
class Document:
    """A text with its name and where it comes from."""

    id: str
    """Unique in the sample, `<origin>/<name>`."""
    text: str
    source: str
    """Folder of the sample that it goes to."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """Licence, origin (a package URL or `dolmix`), path, and what else is known."""

    @property
    def num_bytes(self) -> int:
        """UTF-8 length of the text."""
        return len(self.text.encode())

    def record(self) -> dict[str, Any]:
        """Plain data, keys in the order of the schema."""
        return {
            "id": self.id,
            "text": self.text,
            "source": self.source,
            "added": ADDED,
            "created": None,
            "metadata": dict(self.metadata),
        }
