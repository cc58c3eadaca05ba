"""A text that a compiled grammar holds, token by token: what may come next, and how the text is brought to an end.

Implements `engine.constraint.Constraint`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from llguidance import LLMatcher

from models.grammar.grammar import GrammarError
from models.grammar.shortest import quick_way, shortest_way
from models.token_masks import Mask

if TYPE_CHECKING:
    from models.grammar.compiling import CompiledGrammar
    from models.grammar.vocabulary import GrammarVocabulary


FEW = 12  # tokens that are each looked at where an answer must come to its end
LONG = 48  # tokens of a way to the end beside which no other is looked for


class MatcherState:
    """A place of a matcher, for a search. It is never changed: a step is made on a copy."""

    def __init__(self, matcher: LLMatcher, vocabulary: GrammarVocabulary) -> None:
        self._matcher = matcher
        self._vocabulary = vocabulary
        self._allowed: Mask | None = None  # None: not yet asked for

    @property
    def whole(self) -> bool:
        """Whether the text may end here."""
        return self._matcher.is_accepting()

    def allowed(self) -> Mask:
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

    While there is room, any token of the grammar may come. Where the shortest way to the end could come to need all the
    room that is left, only tokens stay open behind which it still fits. If even the shortest does not fit, the text is
    cut.
    """

    def __init__(self, grammar: CompiledGrammar, matcher: LLMatcher, room: int) -> None:
        """`room`: tokens that the text may still have."""
        self._grammar = grammar
        self._matcher = matcher
        self._room = room
        self._begun = False
        self._ended = False  # a token that ends the text has come
        self._way: tuple[int, ...] | None = None  # tokens behind which the text may end; None: none are known
        self._sure_until = room  # while there is more room than this, no way need be looked for

    @property
    def complete(self) -> bool:
        """Whether the text is whole and nothing but its end can follow."""
        return self._ended or (self._matcher.is_stopped() and self._matcher.is_accepting())

    @property
    def whole(self) -> bool:
        """Whether the text may end here."""
        return self._ended or self._matcher.is_accepting()

    def mask(self) -> Mask:
        """The tokens that may come next, packed. Raises GrammarError if the grammar's limits are exceeded."""
        vocabulary = self._grammar.vocabulary
        if self._ended:
            return vocabulary.end_bits
        mask = vocabulary.mask(self._matcher)
        if not self._begun:  # an answer is not empty if the grammar has others
            words = mask & ~vocabulary.end_bits
            mask = words if words.any() else mask
        if self._room <= self._sure_until and not self.complete:
            way = self._known_way()
            if way is not None:
                return self._fitting(mask, way)
        return mask

    def _known_way(self) -> tuple[int, ...] | None:
        """Returns a way to the end if it is time to look after it; None: it is not, or none is found."""
        if self._way is None:
            state, signposts = self._state, self._grammar.vocabulary.signposts
            quick = quick_way(state, signposts, self._room)
            self._way = shortest_way(state, signposts, self._room) if quick is None else quick
        way, room, rise = self._way, self._room, self._grammar.rise
        if way is None:
            self._sure_until = room // 2  # a search that finds nothing is dear, and not soon repeated
        elif room > len(way) + rise:  # each token takes one of the room, and may add `rise` to the way
            self._sure_until = room - max(1, (room - len(way) - rise) // (rise + 1))
            return None
        return way

    def _fitting(self, mask: Mask, way: tuple[int, ...]) -> Mask:
        """Returns those tokens of a mask behind which a way to the end still fits.

        Of many tokens only plain text is looked at, and of that two tokens for all; where the way is long, only its own
        tokens stay open.
        """
        vocabulary = self._grammar.vocabulary
        found = mask & vocabulary.end_bits
        if way:
            found = found | vocabulary.only(way[0])
        if len(way) >= self._room or len(way) > LONG:
            return found
        words = mask & ~vocabulary.end_bits
        tokens = vocabulary.tokens_of(words)
        if len(tokens) <= FEW:
            fitting = [token for token in tokens if self._fits(token)]
            return found | vocabulary.packed(fitting)
        plain = words & vocabulary.plain_bits
        tried = vocabulary.tokens_of(plain)
        if tried and self._fits(tried[0]) and self._fits(max(tried, key=vocabulary.size_of)):
            found = found | plain
        return found

    def _fits(self, token: int) -> bool:
        """Whether a way to the end fits behind a token."""
        signposts = self._grammar.vocabulary.signposts
        return quick_way(self._state.behind(token), signposts, self._room - 1) is not None

    @property
    def _state(self) -> MatcherState:
        return MatcherState(self._matcher, self._grammar.vocabulary)

    def accept(self, token: int) -> None:
        """Goes on behind `token`. Raises GrammarError if the grammar does not allow it."""
        self._room -= 1
        self._begun = True
        if self._ended or token in self._grammar.vocabulary.ends:
            self._ended = True
            return
        if not self._matcher.consume_token(token):
            raise GrammarError(self._grammar.asked_by, f"token {token} is not allowed here")
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
