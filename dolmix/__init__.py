"""dolmix: raw text in, a named, pinned, inspectable training mix out."""

__version__ = "0.1.0"
