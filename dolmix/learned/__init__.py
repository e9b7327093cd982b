"""Models that are trained from text: classifiers and n-gram models for the learned filters."""

from dolmix.text.builtin_models import builtin

__all__ = ["builtin"]
