"""A text that a compiled grammar holds, token by token: what may come next, and how the text is brought to an end.

Implements `engine.constraint.Constraint`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from llguidance import LLMatcher

from models.grammar.grammar import GrammarError
from models.grammar.shortest import quick_way, shortest_way

if TYPE_CHECKING:
    from models.grammar.compiling import CompiledGrammar
    from models.grammar.vocabulary import GrammarVocabulary


class MatcherState:
    """A place of a matcher, for a search. It is never changed: a step is made on a copy."""

    def __init__(self, matcher: LLMatcher, vocabulary: GrammarVocabulary) -> None:
        self._matcher = matcher
        self._vocabulary = vocabulary
        self._allowed: npt.NDArray[np.uint32] | None = None  # None: not yet asked for

    @property
    def whole(self) -> bool:
        """Whether the text may end here."""
        return self._matcher.is_accepting()

    def allowed(self) -> npt.NDArray[np.uint32]:
        """The tokens that may come next, without those that end the text."""
        if self._allowed is None:
            self._allowed = self._vocabulary.mask(self._matcher) & ~self._vocabulary.end_bits
        return self._allowed

    def forced(self) -> list[int]:
        """The tokens that come next in any text, as far as that is known."""
        return self._matcher.compute_ff_tokens()

    def behind(self, *tokens: int) -> MatcherState:
        """Returns the place behind tokens that are allowed."""
        matcher = self._matcher.deep_copy()
        matcher.consume_tokens(list(tokens))
        return MatcherState(matcher, self._vocabulary)


class GrammarMatch:
    """A text so far, and the grammar that holds it. It has room for a number of tokens, and ends within them.

    While there is room, any token of the grammar may come. Where the shortest way to the end needs all the room that
    is left, or a token could make it so, only that way is open. If even the shortest does not fit, the text is cut.
    """

    def __init__(self, grammar: CompiledGrammar, matcher: LLMatcher, room: int) -> None:
        """`room`: tokens that the text may still have."""
        self._grammar = grammar
        self._matcher = matcher
        self._room = room
        self._begun = False
        self._ended = False  # a token that ends the text has come
        self._way: tuple[int, ...] | None = None  # the only way that is still open; None: any
        self._sure_until = room  # while there is more room than this, no way need be looked for

    @property
    def complete(self) -> bool:
        """Whether the text is whole and nothing but its end can follow."""
        return self._ended or (self._matcher.is_stopped() and self._matcher.is_accepting())

    @property
    def whole(self) -> bool:
        """Whether the text may end here."""
        return self._ended or self._matcher.is_accepting()

    def mask(self) -> npt.NDArray[np.uint32]:
        """The tokens that may come next, packed. Raises GrammarError if the grammar's limits are exceeded."""
        vocabulary = self._grammar.vocabulary
        if self._ended:
            return vocabulary.end_bits
        if self._way is None and self._room <= self._sure_until:
            self._close_in_time()
        if self._way is not None:
            return vocabulary.only(self._way[0]) if self._way else vocabulary.end_bits
        mask = vocabulary.mask(self._matcher)
        if not self._begun:  # an answer is not empty if the grammar has others
            words = mask & ~vocabulary.end_bits
            mask = words if words.any() else mask
        return mask

    def _close_in_time(self) -> None:
        """Looks for the shortest way to the end, and opens only that one if it is time."""
        rise = self._grammar.rise
        state = MatcherState(self._matcher, self._grammar.vocabulary)
        signposts = self._grammar.vocabulary.signposts
        way = quick_way(state, signposts, self._room)
        if way is None:
            way = shortest_way(state, signposts, self._room)
        if way is None:
            self._sure_until = self._room // 2  # a search that finds nothing is dear, and not soon repeated
        elif self._room <= len(way) + rise and (way or self._begun):
            self._way = way
        else:  # each token takes one of the room, and may add `rise` to the way
            spare = self._room - len(way) - rise
            self._sure_until = self._room - max(1, spare // (rise + 1))

    def accept(self, token: int) -> None:
        """Goes on behind `token`. Raises GrammarError if the grammar does not allow it."""
        self._room -= 1
        self._begun = True
        if self._ended or token in self._grammar.vocabulary.ends:
            self._ended = True
            return
        if not self._matcher.consume_token(token):
            raise GrammarError(self._grammar.asked_by, f"token {token} is not allowed here")
        if self._way is not None:
            self._way = self._way[1:] if self._way and self._way[0] == token else None

    def take(self, tokens: Iterable[int]) -> None:
        """Goes on behind several tokens."""
        for token in tokens:
            self.accept(token)

    def copy(self) -> GrammarMatch:
        """Returns a match at the same place, which goes on by itself."""
        other = GrammarMatch(self._grammar, self._matcher.deep_copy(), self._room)
        other._begun, other._ended = self._begun, self._ended
        other._way, other._sure_until = self._way, self._sure_until
        return other
