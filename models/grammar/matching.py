"""A text that a compiled grammar holds, token by token: what may come next, and how the text is brought to an end.

Implements `engine.constraint.Constraint`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, TypeAlias

from llguidance import LLMatcher

from models.grammar.grammar import GrammarError
from models.grammar.pieces import Pieces
from models.grammar.shortest import Looks, NoLooks, Signposts, State, quick_way, some_way
from models.grammar.vocabulary import GrammarVocabulary, in_one_line
from models.token_masks import Mask, count

if TYPE_CHECKING:
    from models.grammar.compiling import CompiledGrammar


FEW = 12  # tokens that are each looked at where an answer must come to its end
SAMPLE, MANY = 128, 2_048  # tokens of plain text that are tried first; all are, if they are no more than MANY
TRIED = 65_536  # tokens that are validated for one mask, about, where its candidates are tried before the way
LOOKS = 256  # that an answer's searches have, and so those of one step at most
EARNED = 8  # of them that each token of the answer gives back


Search: TypeAlias = Callable[[State, Signposts, int], tuple[int, ...] | None]


class MatcherState:
    """A place of a matcher, for a search. A step is made on a copy.

    Trials are made at the place itself: one that meets a limit of llguidance leaves it useless. Copies share a lexer,
    whose own limit so holds for all of them.
    """

    def __init__(
        self, matcher: LLMatcher, vocabulary: GrammarVocabulary, looks: Looks, pieces: Pieces | None = None
    ) -> None:
        """`looks`: of the search, in all."""
        self._matcher = matcher
        self._vocabulary = vocabulary
        self._looks = looks
        self._pieces = pieces
        self._allowed: Mask | None = None  # None: not yet asked for

    @property
    def whole(self) -> bool:
        """Whether the text may end here."""
        return self._matcher.is_accepting()

    def allowed(self) -> Mask:
        """The tokens that may come next, without those that end the text. Raises NoLooks."""
        if self._allowed is None:
            self._looks.take()
            self._allowed = self._vocabulary.mask(self._matcher) & ~self._vocabulary.end_bits
        return self._allowed

    def forced(self) -> list[int]:
        """The tokens that come next in any text, as far as that is known."""
        return self._matcher.compute_ff_tokens()

    def behind(self, *tokens: int) -> MatcherState:
        """Returns the place behind tokens that are allowed."""
        matcher = self._matcher.deep_copy()
        matcher.consume_tokens(list(tokens))
        return MatcherState(matcher, self._vocabulary, self._looks, self._pieces)

    def piece(self) -> Sequence[int]:
        """Tokens that may come next and lead on to the end; none: none are known. Raises NoLooks."""
        return () if self._pieces is None else self._pieces.next(self) or ()

    def takes(self, tokens: Sequence[int]) -> bool:
        """Whether the text may have these tokens next. Raises NoLooks."""
        fit = self._matcher.validate_tokens(list(tokens))
        self._looks.try_piece(fit)
        return fit == len(tokens)

    def ends_behind(self, tokens: Sequence[int]) -> bool:
        """Whether the text may have these tokens next, and may end behind them. Counts as a piece."""
        fit = self._matcher.validate_tokens([*tokens, self._vocabulary.end])
        with suppress(NoLooks):
            self._looks.try_piece(fit)
        return fit == len(tokens) + 1


class GrammarMatch:
    """A text so far, and the grammar that holds it. It has room for a number of tokens, and ends within them.

    While there is room, any token of the grammar may come. Where the shortest way to the end could come to need all the
    room that is left, only tokens stay open behind which it still fits. If even the shortest does not fit, the text is
    cut.

    Ways are searched for within LOOKS. Where these are spent, the last way that is known stays open alone; where none
    is known, the text goes on freely, and may be cut.
    """

    def __init__(self, grammar: CompiledGrammar, matcher: LLMatcher, room: int) -> None:
        """`room`: tokens that the text may still have."""
        self._grammar = grammar
        self._matcher = matcher
        self._room = room
        self._begun = False
        self._ended = False  # a token that ends the text has come
        self._looks = Looks(LOOKS)
        self._mask: Mask | None = None  # what may come next; None: it is not yet computed
        self._trials: LLMatcher | None = None  # a copy at the same place, so that the answer outlives a trial's limits
        self._way = grammar.way  # tokens behind which the text may end, or could a while ago; None: none were known
        self._sure = self._way is not None  # they lead there from here
        self._ways: dict[int, tuple[int, ...]] = {}  # that are known behind tokens that may come next
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
        if self._mask is None:
            self._mask = self._computed()
        return self._mask

    def _computed(self) -> Mask:
        vocabulary = self._grammar.vocabulary
        if self._ended:
            return vocabulary.end_bits
        mask = allowed = vocabulary.mask(self._matcher)
        if not self._begun:  # an answer is not empty if the grammar has others
            words = mask & ~vocabulary.end_bits
            mask = words if words.any() else mask
        if self._room <= self._sure_until and not self.complete:
            way = self._known_way()
            if way is not None:
                fitting = self._fitting(mask, way)
                return fitting if fitting.any() else allowed & vocabulary.end_bits  # it can only be empty
        return mask

    def _known_way(self) -> tuple[int, ...] | None:
        """Returns a way to the end if it is time to look after it; None: it is not, or none is found."""
        room, rise = self._room, self._grammar.rise
        way = self._way if self._sure else None
        if way is None or len(way) > room:
            way = self._found(some_way, self._state, room)
        if way is None:
            self._sure = False
            self._sure_until = room // 2  # a search that finds nothing is dear, and not soon repeated
            return None
        self._way, self._sure = way, True
        if room > len(way) + rise:  # each token takes one of the room, and may add `rise` to the way
            self._sure_until = room - max(1, (room - len(way) - rise) // (rise + 1))
            return None
        return way

    def _found(self, search: Search, state: MatcherState, room: int) -> tuple[int, ...] | None:
        """Returns the last known way or its rest if that leads on from a state, else what a search finds, if that."""
        last = self._way
        if last and not state.whole:
            for way in (last[1:], last):
                if len(way) <= room and state.ends_behind(way):
                    return way
        try:
            return search(state, self._grammar.vocabulary.signposts, room)
        except GrammarError:  # the grammar's limits are exceeded where the search went, not where the text goes
            return None

    def _fitting(self, mask: Mask, way: tuple[int, ...]) -> Mask:
        """Returns those tokens of a mask behind which a way to the end still fits.

        Of few tokens each is looked at, while looks are left. Of many only those of plain text are, and behind them
        only the known way or its rest; where single characters and a sample of the others all lead on, so does any.
        About TRIED tokens are validated for that at most, and none once half of LOOKS is spent, so before a long way
        few tokens stay open.
        """
        vocabulary = self._grammar.vocabulary
        found = mask & vocabulary.end_bits
        if way:
            found = found | vocabulary.only(way[0])
        if len(way) >= self._room:
            return found
        words = mask & ~vocabulary.end_bits
        if count(words) <= FEW:
            return found | vocabulary.packed(filter(self._fits, vocabulary.tokens_of(words)))
        plain = words & vocabulary.plain_bits
        tokens = vocabulary.tokens_of(plain)
        sample = {*tokens[:: -(-len(tokens) // SAMPLE) or 1], *vocabulary.tokens_of(plain & vocabulary.letter_bits)}
        most = max(1, TRIED // (2 * len(way) + 2))  # that are tried
        leading = self._leading(_spread(sorted(sample), most), way)
        if len(leading) == len(sample):
            return found | plain
        others = [token for token in tokens if token not in sample] if len(tokens) <= MANY else []
        return found | vocabulary.packed([*leading, *self._leading(_spread(others, most - len(sample)), way)])

    def _leading(self, tokens: Sequence[int], way: tuple[int, ...]) -> list[int]:
        """Returns those tokens behind which a way or its rest leads to the end, and fits, while looks are left."""
        rests = [rest for rest in (way, way[1:]) if len(rest) < self._room]
        state, leading = self._state, list[int]()
        for token in tokens:
            if self._looks.left <= LOOKS // 2:
                break
            if any(state.ends_behind([token, *rest]) for rest in rests):
                leading.append(token)
        return leading

    def _fits(self, token: int) -> bool:
        """Whether a way to the end fits behind a token."""
        if self._looks.left == 0:
            return False
        way = self._found(quick_way, self._state.behind(token), self._room - 1)
        if way is not None:
            self._ways[token] = way
        return way is not None

    @property
    def _state(self) -> MatcherState:
        if self._trials is None:
            self._trials = self._matcher.deep_copy()
        return MatcherState(self._trials, self._grammar.vocabulary, self._looks, self._grammar.pieces)

    def accept(self, token: int) -> None:
        """Goes on behind `token`. Raises GrammarError if the grammar does not allow it."""
        self._room -= 1
        self._begun = True
        self._mask = self._trials = None
        if self._ended or token in self._grammar.vocabulary.ends:
            self._ended = True
            return
        if not self._matcher.consume_token(token):
            raise GrammarError("", f"token {token} is not allowed here: {in_one_line(self._matcher.get_error())}")
        self._looks.left = min(LOOKS, self._looks.left + EARNED)
        known = self._ways.get(token)
        if known is not None:
            self._way, self._sure = known, True
        elif self._sure and self._way and self._way[0] == token:
            self._way = self._way[1:]
        else:
            self._sure = False
        self._ways = {}

    def take(self, tokens: Iterable[int]) -> None:
        """Goes on behind several tokens."""
        for token in tokens:
            self.accept(token)

    def copy(self) -> GrammarMatch:
        """Returns a match at the same place, which goes on by itself."""
        other = GrammarMatch(self._grammar, self._matcher.deep_copy(), self._room)
        other._begun, other._ended, other._mask = self._begun, self._ended, self._mask
        other._way, other._sure, other._ways = self._way, self._sure, dict(self._ways)
        other._sure_until, other._looks.left = self._sure_until, self._looks.left
        return other


def _spread(tokens: Sequence[int], most: int) -> Sequence[int]:
    """Returns at most `most` tokens, from all along their list."""
    return tokens[:: -(-len(tokens) // most)] if 0 < most < len(tokens) else tokens[: max(0, most)]
