"""An edit as a diff: nothing is left out, and everything shown is there."""

import naive_edits
from hypothesis import given
from hypothesis import strategies as st

from dolmix.pipeline.edit_lines import CONTEXT_BYTES, Span, hunks
from dolmix.text.edits import PUTS


@st.composite
def texts_and_spans(draw: st.DrawFn) -> tuple[str, list[Span]]:
    """Draw a text of ASCII and spans of it, in order, some of which touch or put something in."""
    text = draw(st.text("abc \n", max_size=60))
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=8)))
    pairs = list(zip(cuts[::2], cuts[1::2], strict=False))
    return text, [(start, stop, draw(st.sampled_from([0, 0, 1, 2]))) for start, stop in pairs]


@given(texts_and_spans())
def test_changes_put_together_are_the_edit(given_: tuple[str, list[Span]]) -> None:
    """Making each change in the original gives the edited text; context is what stands beside."""
    text, spans = given_
    found = hunks(text.encode(), spans, [("f", spans)])
    pieces, place = [], 0
    for hunk in found:
        pieces += [text[place : hunk.start], hunk.put]
        place = hunk.stop
        assert text[hunk.start : hunk.stop] == hunk.removed
        assert text[: hunk.start].endswith(hunk.before)
        assert text[hunk.stop :].startswith(hunk.after)
        assert "\n" not in hunk.before + hunk.after
        assert max(len(hunk.before), len(hunk.after)) <= CONTEXT_BYTES
        assert hunk.by == ("f",)
    assert "".join([*pieces, text[place:]]) == naive_edits.edited(text, spans)


def test_each_change_is_of_the_filter_that_made_it() -> None:
    """Of two filters' edits, where the second holds the first, each change names its own."""
    text = b"one two\nthree four\nfive"
    first: list[Span] = [(0, 4, 0)]
    second: list[Span] = [(0, 4, 0), (8, 19, 0)]
    found = hunks(text, second, [("words", first), ("lines", second)])
    assert [(h.removed, h.by) for h in found] == [("one ", ("words",)),
                                                 ("three four\n", ("lines",))]  # fmt: skip
    assert list(found[0].lines())[1:] == ["-one two", "+two"]
    assert list(found[1].lines())[1:] == ["-three four"]


def test_what_is_put_in_stands_in_the_line() -> None:
    """A mask of several characters is one change."""
    mask = "<@>"
    spans = [(3, 8, PUTS.index(mask[0])), *((8, 8, PUTS.index(c)) for c in mask[1:])]
    (hunk,) = hunks(b"to a@b.c now", spans, [("pii", spans)])
    assert list(hunk.lines())[1:] == ["-to a@b.c now", "+to <@> now"]


def test_characters_are_never_cut_in_two() -> None:
    """Context that begins or ends inside a character leaves it out."""
    text = "é" * 50 + "x" + "é" * 50
    (hunk,) = hunks(text.encode(), [(100, 101, 0)], [("f", [(100, 101, 0)])])
    assert (hunk.before, hunk.removed, hunk.after) == ("é" * 20, "x", "é" * 20)
    text = "a" + "é" * 50
    (hunk,) = hunks(text.encode(), [(0, 1, 0)], [])
    assert hunk.after == "é" * 20
