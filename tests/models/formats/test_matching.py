from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.formats.ending import EndFinder, Ending
from models.formats.matching import TextFilter, first_ended, overlap

MARKERS = ("</t>", "<a|b>", "<a|", "aba", "Here is: ", "ab")
TEXTS = st.text(alphabet="ab<>/t|Here is:x \n", max_size=30)
PIECES = st.lists(TEXTS | st.sampled_from(MARKERS) | st.sampled_from([mark[:2] for mark in MARKERS]), max_size=12)


class Words:
    """Implements `models.tokenizer.Streamed`: token i is text i of a list."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = texts

    def push(self, token: int) -> str:
        return self._texts[token]

    def rest(self) -> str:
        return ""


def whole(text: str, replaced: Mapping[str, str], head: Iterable[str]) -> str:
    """What is shown of a text that is seen at once."""

    def any_of(markers: Iterable[str]) -> str:
        return "|".join(map(re.escape, sorted(markers, key=len, reverse=True))) or r"(?!)"

    said = {**dict.fromkeys(head, ""), **replaced}
    blank = re.compile(rf"\s|{any_of(said)}")
    shown, at = "", 0
    while (one := blank.match(text, at)) is not None:  # before the first visible character
        shown += said.get(one[0], one[0])
        at = one.end()
        if shown.strip():
            break
    return shown + re.sub(any_of(replaced), lambda one: replaced[one[0]], text[at:])


@given(
    pieces=PIECES,
    inside=st.dictionaries(st.sampled_from(MARKERS), st.sampled_from(["", "\n\n"]), max_size=4),
    head=st.lists(st.sampled_from(MARKERS), max_size=2),
)
def test_what_is_shown_does_not_depend_on_where_the_pieces_are_cut(
    pieces: list[str], inside: dict[str, str], head: list[str]
) -> None:
    filtered = TextFilter(inside, head)
    text, shown = "".join(pieces), ""
    for end, piece in enumerate(pieces, start=1):
        shown += filtered.push(piece)
        so_far = "".join(pieces[:end])
        assert whole(text, inside, head).startswith(shown)
        decided = so_far[: len(so_far) - overlap(so_far, (*inside, *head))]
        assert len(shown) >= len(whole(decided, inside, head)) - max(map(len, (*inside, *head, "")))
    shown += filtered.rest()
    assert shown == whole(text, inside, head)
    assert filtered.rest() == ""


@pytest.mark.parametrize(
    ("pieces", "shown"),
    [
        (["so </", "t> on"], ["so ", " on"]),
        (["so </", "x> on"], ["so ", "</x> on"]),
        (["a <", "b"], ["a ", "<b"]),
        (["<a|", "b", ">c"], ["", "", "c"]),  # the longer marker counts
        (["<a|", "c"], ["", "c"]),
        (["x<</", "t>"], ["x<", ""]),
    ],
)
def test_text_is_held_back_only_as_long_as_it_may_be_a_marker(pieces: list[str], shown: list[str]) -> None:
    filtered = TextFilter(dict.fromkeys(("</t>", "<a|b>", "<a|"), ""))
    assert [filtered.push(piece) for piece in pieces] == shown


def test_a_sentence_is_taken_out_of_the_beginning_only() -> None:
    filtered = TextFilter({}, head=("Here is: ",))
    assert filtered.push("\n\nHere is: Here is: you. Here is: it.") == "\n\nyou. Here is: it."


@given(text=TEXTS)
def test_an_overlap_is_the_longest_end_that_may_become_a_marker(text: str) -> None:
    ends = [len(mark[:cut]) for mark in MARKERS for cut in range(1, len(mark)) if text.endswith(mark[:cut])]
    assert overlap(text, MARKERS) == max(ends, default=0)


@given(pieces=PIECES, closers=st.lists(st.sampled_from(MARKERS), min_size=1, max_size=3, unique=True))
def test_a_thought_ends_where_the_text_says_whatever_tokens_spell_it(pieces: list[str], closers: list[str]) -> None:
    text = "".join(pieces)
    finder = EndFinder(closers, lambda: Words(pieces))
    found: Ending | None = None
    for token in range(len(pieces)):
        found = finder.push(token)
        if found is not None:
            break
        so_far = "".join(pieces[: token + 1])
        decided = "".join(pieces[: finder.undecided])
        assert len(so_far) - len(decided) >= overlap(so_far, closers)  # no token with a part of a marker is decided
        assert finder.pending == (overlap(so_far, closers) > 0)
    said = first_ended(text, closers)
    assert (found is None) == (said is None)
    if found is None or said is None:
        return
    begin, end = said
    assert "".join(pieces[: found.start]) + found.head == text[:begin]
    assert found.tail + "".join(pieces[found.end :]) == text[end:]


@given(pieces=PIECES, kept=st.integers(0, 12), closer=st.sampled_from(MARKERS))
def test_a_rewound_finder_goes_on_as_if_nothing_had_been(pieces: list[str], kept: int, closer: str) -> None:
    pieces = [piece for piece in pieces if piece]
    if first_ended("".join(pieces), (closer,)) is not None:
        return
    ahead, other = (EndFinder((closer,), lambda: Words(pieces)) for _ in range(2))
    for token in range(len(pieces)):
        ahead.push(token)
    ahead.rewind(range(min(kept, len(pieces))))
    for token in range(min(kept, len(pieces))):
        other.push(token)
    assert (ahead.undecided, ahead.pending) == (other.undecided, other.pending)
