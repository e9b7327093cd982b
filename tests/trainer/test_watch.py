"""Which ranks a report of a hang names, from what they last said."""

from pathlib import Path
from typing import Any

from trainer.watch import report, silent


def sign(step: int, doing: str, beats: int = 5, **changes: Any) -> dict[str, Any]:
    """Make what a rank of another machine says."""
    stack = [f'  File "loop.py", line {step}, in {doing.split(maxsplit=1)[0]}\n']
    said = {"beats": beats, "host": "elsewhere", "pid": 7, "began": 1, "step": step}
    return said | {"doing": doing, "for_s": 900.5, "stack": stack} | changes


def test_a_rank_behind_the_others_is_named_with_its_stack() -> None:
    """While all give signs of life, it is the rank at the earliest step that does not just wait."""
    before = {
        0: sign(7, "waiting for the other ranks", 5),
        1: sign(7, "reading its batch", 5),
        2: sign(8, "waiting for the other ranks", 5),
    }
    now = {rank: said | {"beats": 8} for rank, said in before.items()}
    assert silent(before, now, 3) == []
    text = report(before, now, size=3, folder=Path("out/watch"))
    assert "the run hangs: rank 1 did not get on" in text
    assert "rank 1: step 7, reading its batch for 900.5 s (process 7 on elsewhere)" in text
    assert "stack of rank 1:" in text
    assert "in reading" in text
    assert "stack of rank 0" not in text


def test_silent_ranks_are_named_first_of_all() -> None:
    """Ranks without a new sign of life, and one that never gave any, hold the others up."""
    before = {0: sign(7, "waiting for the other ranks"), 2: sign(9, "forward")}
    now = {0: before[0] | {"beats": 8}, 2: before[2]}
    assert silent(before, now, 3) == [1, 2]
    text = report(before, now, size=3, folder=Path("out/watch"))
    assert "the run hangs: ranks 1, 2 did not get on" in text
    assert "rank 1: never gave a sign of life" in text
    assert "rank 2: no sign of life any more; last step 9, forward for 900.5 s" in text


def test_ranks_that_all_compute_are_all_suspects() -> None:
    """Within a collective of the model nobody waits by name: the earliest step's ranks are told."""
    before = {rank: sign(7, "forward, backward and update") for rank in range(6)}
    now = {rank: said | {"beats": 8} for rank, said in before.items()}
    text = report(before, now, size=6, folder=Path("out/watch"))
    assert "ranks 0, 1, 2, 3, 4, 5 did not get on" in text
    assert text.count("stack of rank") == 4
