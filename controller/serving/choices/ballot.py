"""Who wins a race of thoughts: the reply that ends first, or the answer that most of them give."""

from __future__ import annotations

import re
from collections import Counter

LONGEST = 400  # characters of an answer that are compared, its last ones: replies begin alike and end with the answer

_BOX = re.compile(r"\\boxed\s*\{((?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*)\}")


def voted(text: str) -> str:
    """Returns what a reply votes for: its last box, else all its text, in one spelling; empty: it votes for nothing."""
    boxes = _BOX.findall(text)
    return " ".join((boxes[-1] if boxes else text).split())[-LONGEST:]


class Ballot:
    """Takes the answers of a race in the order in which they end, and tells the winner once nothing can change it.

    Of answers with as many votes the one that ended first wins, and its first reply is served. An empty answer wins
    only against others like it. A vote that has shrunk to two has no majority to find: place 0, the request's own
    thought, wins it, unless it was lost itself.
    """

    def __init__(self, places: int, *, vote: bool) -> None:
        """`places`: thoughts that race. `vote`: whether answers are counted."""
        self._vote = vote
        self._going = set(range(places))
        self._shrunk = False  # a vote, to two
        self._answers: dict[int, str] = {}  # by place, in the order of ends

    def answer(self, place: int, text: str) -> int | None:
        """A thought has ended with a reply that votes for `text`. Returns the winner; None: the race goes on."""
        self._answers[place] = text
        self._going.discard(place)
        return self._decided()

    def drop(self, place: int) -> int | None:
        """A thought is lost. Returns the winner; None: the race goes on, or nobody has answered."""
        self._going.discard(place)
        self._shrunk = self._vote and len(self._going) + len(self._answers) <= 2
        return self._decided()

    @property
    def waits_for_first(self) -> bool:
        """Whether place 0 is to win a vote that has shrunk to two, and goes on: nobody else needs to."""
        return self._shrunk and 0 in self._going

    def _decided(self) -> int | None:
        if self.waits_for_first:
            return None
        if self._shrunk and 0 in self._answers:
            return 0
        going, said = len(self._going), [one for one in self._answers.values() if one]
        if not said:
            return None if going else next(iter(self._answers), None)
        if not self._vote:
            return self._first(said[0])
        votes = Counter(said)  # in the order in which answers came, by which ties are broken
        ahead = max(votes, key=votes.__getitem__)
        before = True
        for one, count in votes.items():
            before = before and one != ahead
            most = count + going
            if one != ahead and (most > votes[ahead] or (before and most == votes[ahead])):
                return None
        return None if going > votes[ahead] else self._first(ahead)

    def _first(self, answer: str) -> int:
        return next(place for place, one in self._answers.items() if one == answer)
