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
    ballot = Ballot(5, vote=True)
    assert ballot.answer(2, "7") is None
    assert ballot.drop(4) is None
    assert ballot.answer(1, "7") == 2  # two of four, and of as many votes the first
    failing = Ballot(1, vote=False)
    assert failing.drop(0) is None


def test_of_a_vote_that_has_shrunk_to_two_the_first_thought_is_served() -> None:
    behind = Ballot(3, vote=True)
    assert behind.answer(2, "7") is None
    assert behind.drop(1) is None  # what ended first is outvoted by nobody, and yet not served
    assert behind.waits_for_first
    assert behind.answer(0, "8") == 0
    ahead = Ballot(3, vote=True)
    assert ahead.answer(0, "8") is None
    assert ahead.drop(1) == 0
    going = Ballot(3, vote=True)
    assert going.drop(2) is None
    assert going.waits_for_first
    assert going.answer(1, "7") is None
    assert going.answer(0, "") == 0


def test_a_vote_of_two_whose_first_thought_is_lost_is_the_other_s() -> None:
    behind = Ballot(3, vote=True)
    assert behind.answer(2, "7") is None
    assert behind.drop(1) is None
    assert behind.drop(0) == 2
    before = Ballot(3, vote=True)
    assert before.drop(0) is None
    assert not before.waits_for_first
    assert before.answer(1, "7") == 1
    never = Ballot(2, vote=False)
    assert never.drop(1) is None
    assert not never.waits_for_first  # the first to finish has nobody else to wait for


@given(
    st.lists(st.sampled_from(["", "1", "2"]), min_size=5, max_size=5),
    st.permutations(range(5)),
    st.lists(st.booleans(), min_size=5, max_size=5),
)
def test_whoever_is_lost_a_vote_is_a_narrower_one_or_the_first_thought_s(
    answers: list[str], order: list[int], shed: list[bool]
) -> None:
    ballot, lost, won = Ballot(5, vote=True), 0, None
    ended = []
    for place in order:
        if shed[place] and place:
            won, lost = ballot.drop(place), lost + 1
        else:
            ended.append(place)
            won = ballot.answer(place, answers[place])
        if won is not None:
            break
    assert won is not None
    if 5 - lost <= 2:
        assert won == 0
    else:
        assert won in ended


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
