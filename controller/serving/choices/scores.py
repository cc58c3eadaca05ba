"""How likely the tokens of a reply were, kept beside the reply's text: what is cut off the text is cut here, too."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from engine.base import TokenLogProbs


@dataclass(frozen=True, slots=True)
class TokenScore:
    """A token of a reply and how likely it was, raw softmax at temperature 1."""

    token: int
    log_prob: float
    likeliest: tuple[tuple[int, float], ...] = ()  # tokens and log probabilities, falling

    @classmethod
    def of(cls, token: int, known: TokenLogProbs | None) -> TokenScore | None:
        """Returns what is known of a token; None: nothing is."""
        return None if known is None else cls(token, known.log_prob, known.likeliest)


class ScoredText:
    """The scores of one text's tokens, by the characters of each. Tokens wait until their text has come.

    A character may take several tokens, and text may be held back: all tokens that have come since the last text share
    the next.
    """

    def __init__(self) -> None:
        self._length = 0  # characters that have come
        self._waiting: list[TokenScore] = []
        self._placed: deque[tuple[int, int, TokenScore]] = deque()  # first character, the one behind the last, score

    def token(self, score: TokenScore | None) -> None:
        """A token has come, whose text follows; None: nothing is known of it."""
        if score is not None:
            self._waiting.append(score)

    def text(self, characters: int) -> None:
        """That many characters have come."""
        start, self._length = self._length, self._length + characters
        self._placed.extend((start, self._length, score) for score in self._waiting)
        self._waiting.clear()

    def skip(self, end: int) -> None:
        """The characters before `end` are not shown; the tokens that have no others are dropped."""
        while self._placed and self._placed[0][1] <= end:
            self._placed.popleft()

    def shown(self, end: int) -> tuple[TokenScore, ...]:
        """Takes out the scores of the tokens that begin before `end`, up to where the text is shown now."""
        taken = []
        while self._placed and self._placed[0][0] < end:
            taken.append(self._placed.popleft()[2])
        return tuple(taken)


class ReplyScores:
    """The scores of a reply's tokens that are not said yet: those that have just come, and those of its thought.

    Holds nothing, and returns nothing, unless they are wanted.
    """

    def __init__(self, *, wanted: bool) -> None:
        self._wanted = wanted
        self._come: deque[TokenScore | None] = deque()
        self._thought: list[TokenScore | None] = []
        self._read: tuple[int, Sequence[float]] = 0, ()

    def expect(self, behind: int, log_probs: Sequence[float]) -> None:
        """Of the tokens that come next, those `behind` the first so many have been read before, by a trial."""
        self._read = behind, log_probs

    def come(self, tokens: Sequence[int], known: Sequence[TokenLogProbs | None]) -> None:
        """Tokens have come; `known`: one entry for each, or none at all."""
        if not self._wanted:
            return
        self._come = deque(map(TokenScore.of, tokens, known or [None] * len(tokens)))
        (behind, read), self._read = self._read, (0, ())
        for place, (token, log_prob) in enumerate(zip(tokens[behind:], read, strict=False), start=behind):
            self._come[place] = self._come[place] or TokenScore(token, log_prob)

    def next(self) -> tuple[TokenScore | None, ...]:
        """Takes out the score of the next token that has come."""
        return (self._come.popleft(),) if self._come else ()

    def think(self, tokens: int) -> None:
        """The next `tokens` that have come belong to the thought."""
        for _ in range(tokens if self._wanted else 0):
            self._thought += self.next()

    def cut(self, end: int) -> None:
        """The thought's tokens from `end` on are no part of it."""
        del self._thought[end:]

    def return_from(self, start: int) -> None:
        """The thought's tokens from `start` on are the next of those that have come, instead."""
        self._come.extendleft(reversed(self._thought[start:]))
        self.cut(start)

    def of_thought(self, start: int, end: int) -> list[TokenScore | None]:
        """The scores of a part of the thought."""
        return self._thought[start:end]
