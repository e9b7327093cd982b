"""Why reading found no text in a WARC record that could have been a document."""

from typing import Literal, TypeAlias

Outcome: TypeAlias = Literal["status", "content_type", "encoding", "too_long", "empty", "failed"]
"""Another HTTP status or content type than is wanted; a content encoding that is not known or does
not decode; more bytes than are wanted; no main text found; the extractor raised."""
