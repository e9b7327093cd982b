"""What a model must beat: a constant, and ten rules written by hand."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from dolmix.document import BoolArray, F64Array
from dolmix.learned.examples import Example
from dolmix.learned.hand_rules import RULES
from dolmix.learned.metrics import average_precision, by_task


def baselines(
    examples: Sequence[Example], positive: BoolArray, name: str
) -> dict[str, dict[str, float | None]]:
    """Give average precision, all together and by `task/lang`, of the baselines that there are.

    positive  (N,) bool, of N examples
    name      whose hand rules: `ads` or `fluency`; another has the constant alone
    """
    found = {"constant": _figures(examples, positive, np.zeros(len(examples)))}
    if name in RULES:
        scores = np.array([RULES[name](e.text) for e in examples], np.float64)
        found["hand_rules"] = _figures(examples, positive, scores)
    return found


def _figures(
    examples: Sequence[Example], positive: BoolArray, scores: F64Array
) -> dict[str, float | None]:
    rows: list[dict[str, Any]] = by_task(examples, positive, scores, 0.5)
    found = {f"{row['task']}/{row['lang']}": row["average_precision"] for row in rows}
    return {"all": average_precision(positive, scores), **found}
