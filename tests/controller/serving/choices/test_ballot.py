"""Who wins a race of thoughts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from controller.serving.choices.ballot import Ballot, voted


def winner(answers: Sequence[str], *, vote: bool) -> tuple[int, int]:
    """Returns who wins if thoughts end in this order, and how many have ended by then."""
    ballot = Ballot(len(answers), vote=vote)
    for place, answer in enumerate(answers):
        won = ballot.answer(place, answer)
        if won is not None:
            return won, place + 1
    raise AssertionError("nobody won")


def test_the_first_to_end_with_an_answer_wins_without_a_vote() -> None:
    assert winner(["7", "8", "8"], vote=False) == (0, 1)
    assert winner(["", "8", "7"], vote=False) == (1, 2)
    assert winner(["", ""], vote=False) == (0, 2)


def test_a_vote_is_over_as_soon_as_nothing_can_change_it() -> None:
    assert winner(["7", "7", "8"], vote=True) == (0, 2)
    assert winner(["7", "8", "8", "8", "7"], vote=True) == (1, 4)
    assert winner(["7", "8"], vote=True) == (0, 1)  # a tie is the first one's
    assert winner(["", "8", ""], vote=True) == (1, 2)


def test_thoughts_that_are_lost_decide_a_vote_too() -> None:
    ballot = Ballot(3, vote=True)
    assert ballot.answer(2, "7") is None
    assert ballot.drop() == 2
    assert Ballot(2, vote=True).drop() is None  # nobody has answered
    failing = Ballot(1, vote=False)
    assert failing.drop() is None


@given(st.lists(st.sampled_from(["", "1", "2", "3"]), min_size=1, max_size=7))
def test_a_vote_that_ends_early_ends_as_if_all_had_voted(answers: list[str]) -> None:
    place, ended = winner(answers, vote=True)
    said = [one for one in answers if one] or answers
    votes = Counter(said)
    most = max(votes.values())
    best = next(one for one in said if votes[one] == most)
    assert place == answers.index(best)
    assert ended <= len(answers)


def test_a_reply_votes_for_its_last_box_or_for_all_its_text() -> None:
    assert voted("first \\boxed{3}, no: \\boxed{ 1 + \\frac{1}{2} }.") == "1 + \\frac{1}{2}"
    assert voted(" the  answer\nis 7 ") == "the answer is 7"
    assert voted(" \n") == ""


def test_long_replies_that_begin_alike_vote_for_what_they_end_with() -> None:
    words = "We add the numbers one by one. " * 40
    assert voted(words + "so 4") != voted(words + "so 5")
    assert voted(words + "so 4") == voted("First. " + words + " so  4")
    assert len(voted(words)) == 400
