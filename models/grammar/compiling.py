"""Compiles grammars for a model's vocabulary, by llguidance, and keeps the last ones."""

from __future__ import annotations

import json
import logging
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from typing import Any

from llguidance import LLMatcher, LLParserLimits
from llguidance.gbnf_to_lark import any_to_lark

from models.grammar import faults
from models.grammar.extent import SchemaExtent
from models.grammar.grammar import Grammar, GrammarError, GrammarKind
from models.grammar.leaves import likely_texts
from models.grammar.matching import GrammarMatch, MatcherState
from models.grammar.parts import SchemaParts, embedded
from models.grammar.pieces import Pieces
from models.grammar.shortest import Looks, longest_way, shortest_way
from models.grammar.vocabulary import GrammarVocabulary, in_one_line

log = logging.getLogger(__name__)

KEPT = 64  # compiled grammars
MOST_WAY = 8_192  # tokens of a shortest answer that is looked for
LOOKS_SHORTEST, LOOKS_LONGEST = 1_024, 1_024  # of the searches for the shortest and the longest answer
LEAVES = 64  # texts and numbers of a schema whose shortest values are looked for
LOOKS_LEAF = 96  # of LOOKS_SHORTEST, for the shortest value of one text's or number's schema
SHORT = 3  # tokens of a text or a number that is not made shorter
MOST_COUNTED = 8_192  # bytes of texts whose fewest tokens are counted
MOST_WALK = 32  # tokens up to which the longest text of a grammar is measured
RISE = 8  # tokens that one token of a grammar may add to the shortest way, beyond what is known of it
BLANKS = r"(\x20|\n[\x20\t]{0,16})"  # between parts of JSON: one blank, or a new line and its indentation
LEXER_STATES, GRAMMAR_SIZE = 50_000, 100_000


class CompiledGrammar:
    """A grammar for one vocabulary. It knows of no request's field: requests that say the same share it."""

    def __init__(self, grammar: Grammar, vocabulary: GrammarVocabulary, matcher: LLMatcher) -> None:
        self.vocabulary = vocabulary
        self._grammar = grammar
        self._matcher = matcher
        self._fault: str | None = None  # why it cannot be measured; None: no fault is known
        self._looks = Looks(LOOKS_SHORTEST)
        self._leaves = 0  # that were asked for
        self._counted = 0  # bytes of texts whose tokens were counted

    def begin(self, room: int) -> GrammarMatch:
        """Returns the beginning of an answer that may have `room` tokens."""
        return GrammarMatch(self, self._matcher.deep_copy(), room)

    def measure(self) -> None:
        """Finds out how long answers may be, which takes longer than to compile the grammar.

        Raises GrammarError, each time at once but the first, if the grammar is too complex to be followed.
        """
        if self._fault is not None:
            raise GrammarError("", self._fault)
        try:
            with _panics_told(""):
                _ = self.shortest, self.longest, self.rise
        except GrammarError as error:
            self._fault = str(error)
            raise

    def start(self, looks: Looks) -> MatcherState:
        """Returns where an answer begins, for a search."""
        return MatcherState(self._matcher.deep_copy(), self.vocabulary, looks, self.pieces)

    @cached_property
    def way(self) -> tuple[int, ...] | None:
        """The tokens of the shortest answer; None: none was found."""
        _ = self.pieces  # which have looks first
        start = self.start(self._looks)
        way = shortest_way(start, self.vocabulary.signposts, MOST_WAY)
        if way is not None:
            fewest = self.vocabulary.fewest(b"".join(self.vocabulary.tokens[token] for token in way))
            way = fewest if len(fewest) < len(way) and start.ends_behind(fewest) else way
        return way

    @cached_property
    def pieces(self) -> Pieces:
        """What searches write at once."""
        return Pieces(self._parts, self.vocabulary.closers, self.vocabulary.fewest)

    @cached_property
    def _parts(self) -> list[SchemaParts]:
        return [SchemaParts(schema, self._tokens, self._leaf, separators) for schema, separators in self._schemas()]

    def _schemas(self) -> Iterator[tuple[Any, tuple[str, str]]]:
        """Yields the JSON schemas in the grammar, each with what stands between its values' parts."""
        match self._grammar.kind:
            case GrammarKind.JSON_SCHEMA:
                yield json.loads(self._grammar.text), (",", ":")
            case GrammarKind.GRAMMAR:
                yield from embedded(self._grammar.text)

    def _tokens(self, text: bytes) -> int:
        """Returns about how many tokens a text has, the fewest as long as not many are asked for."""
        self._counted += len(text)
        if self._counted < MOST_COUNTED:
            return len(self.vocabulary.fewest(text))
        return self.vocabulary.count(text.decode(errors="replace"))

    def _leaf(self, schema: dict[str, Any]) -> bytes | None:
        """Returns a short value of a text's or a number's schema; None: none is known.

        Of the first LEAVES it is the shortest that is found, of others a guess.
        """
        likely = [self.vocabulary.fewest(text) for text in likely_texts(schema, self.vocabulary.signposts.words)]
        self._leaves += 1
        way = self._shortest_leaf(schema, likely) if self._leaves <= LEAVES else next(iter(likely), None)
        return None if way is None else b"".join(self.vocabulary.tokens[token] for token in way)

    def _shortest_leaf(self, schema: dict[str, Any], likely: Sequence[tuple[int, ...]]) -> tuple[int, ...] | None:
        looks = Looks(min(LOOKS_LEAF, self._looks.left))
        self._looks.left -= looks.left
        signposts = self.vocabulary.signposts
        try:
            matcher = _matcher(Grammar.json_schema(schema, asked_by="", compact=True), self.vocabulary)
            start = MatcherState(matcher, self.vocabulary, looks)
            way = min((each for each in likely if start.ends_behind(each)), key=len, default=None)
            if way is not None and len(way) <= SHORT:
                return way
            return shortest_way(start, signposts, MOST_WAY if way is None else len(way) - 1) or way
        except GrammarError:  # there is none, or it cannot be followed
            return None
        finally:
            self._looks.left += looks.left

    @property
    def shortest(self) -> int | None:
        """How many tokens the shortest answer has, with that which ends an empty one; None: none was found."""
        return None if self.way is None else max(1, len(self.way))

    @cached_property
    def longest(self) -> int | None:
        """The tokens of the longest answer, about; None: the grammar does not bound it."""
        match self._grammar.kind:
            case GrammarKind.JSON_SCHEMA:
                return self._extent.longest
            case GrammarKind.CHOICE:
                return max(map(self.vocabulary.count, json.loads(self._grammar.text)))
            case _:
                return longest_way(self.start(Looks(LOOKS_LONGEST)), self.vocabulary.letters, MOST_WALK)

    @cached_property
    def rise(self) -> int:
        """The most tokens by which one token may lengthen the shortest way to the end, about."""
        parts = max((each.rise for each in self._parts), default=0)
        if self._grammar.kind is GrammarKind.JSON_SCHEMA:
            return RISE + parts
        return RISE + max(parts, self.longest or self.shortest or 0)

    @cached_property
    def _extent(self) -> SchemaExtent:
        return SchemaExtent(json.loads(self._grammar.text), self.vocabulary.count)


class Grammars:
    """The grammars that a model's answers are held to. May be used from any thread."""

    def __init__(self, vocabulary: Callable[[], GrammarVocabulary], *, ahead: bool = False) -> None:
        """`vocabulary` makes the model's vocabulary, once, when it is first needed.

        `ahead`: a grammar is measured when it is compiled, and not first when its answers are decoded.
        """
        self._make = vocabulary
        self._ahead = ahead
        self._making = threading.Lock()
        self._kept: OrderedDict[Grammar, CompiledGrammar] = OrderedDict()
        self._lock = threading.Lock()

    def compiled(self, grammar: Grammar) -> CompiledGrammar:
        """Returns a grammar, compiled. Raises GrammarError, which names the field that asked for it."""
        with self._lock:
            if grammar in self._kept:
                self._kept.move_to_end(grammar)
                return self._kept[grammar]
        vocabulary = self.vocabulary
        with _panics_told(grammar.asked_by):
            made = CompiledGrammar(grammar, vocabulary, _matcher(grammar, vocabulary))
        if self._ahead:
            with suppress(GrammarError):  # which `measure` raises again, for the request
                made.measure()
        with self._lock:
            self._kept[grammar] = made
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return made

    @property
    def vocabulary(self) -> GrammarVocabulary:
        """The model's vocabulary. Raises GrammarError if it cannot be held to a grammar."""
        with self._making:
            return self._made

    @cached_property
    def _made(self) -> GrammarVocabulary:
        return self._make()

    def __contains__(self, grammar: Grammar) -> bool:
        """Whether a grammar is compiled, and measured if that is done ahead."""
        with self._lock:
            return grammar in self._kept

    def warm(self, grammar: Grammar) -> None:
        """Compiles a grammar ahead of its request, with which errors come."""
        with suppress(GrammarError):
            self.compiled(grammar)

    def warm_up(self) -> None:
        """Makes on a thread of its own what all grammars need: of a large vocabulary it takes seconds."""

        def make() -> None:
            with suppress(GrammarError):
                self.vocabulary.warm_up()

        threading.Thread(target=make, name="grammars", daemon=True).start()


@contextmanager
def _panics_told(asked_by: str) -> Iterator[None]:
    """Turns a panic of the library's, which is no Exception, into GrammarError: it would end all that is served."""
    try:
        yield
    except (Exception, KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:
        log.exception("a grammar has made its library panic")
        raise GrammarError(asked_by, f"cannot be worked on: {in_one_line(str(error))}") from error


def _matcher(grammar: Grammar, vocabulary: GrammarVocabulary) -> LLMatcher:
    """Compiles a grammar. Raises GrammarError."""
    limits = LLParserLimits(max_lexer_states=LEXER_STATES, max_grammar_size=GRAMMAR_SIZE, verbose_errors=False)
    matcher = LLMatcher(vocabulary.llguidance, _written(grammar), log_level=0, limits=limits)
    if matcher.is_error():
        raise GrammarError(grammar.asked_by, faults.told(grammar, matcher.get_error()))
    refused = faults.refused(json.loads(grammar.text)) if grammar.kind is GrammarKind.JSON_SCHEMA else None
    if refused is not None:
        raise GrammarError(grammar.asked_by, refused)
    return matcher


def _written(grammar: Grammar) -> str:
    """Returns a grammar as llguidance reads it. Raises GrammarError if it cannot be written so."""
    match grammar.kind:
        case GrammarKind.JSON_SCHEMA:
            try:
                return LLMatcher.grammar_from_json_schema(
                    grammar.text,
                    overrides={
                        "lenient": False,
                        "coerce_one_of": False,
                        "whitespace_flexible": not grammar.compact,
                        "whitespace_pattern": None if grammar.compact else BLANKS,
                    },
                )
            except ValueError as error:  # it is nested too deeply
                raise GrammarError(grammar.asked_by, in_one_line(str(error))) from error
        case GrammarKind.REGEX:
            return LLMatcher.grammar_from_regex(grammar.text)
        case GrammarKind.CHOICE:
            return LLMatcher.grammar_from_regex("|".join(map(re.escape, json.loads(grammar.text))))
        case GrammarKind.GRAMMAR:
            try:
                return LLMatcher.grammar_from_lark(any_to_lark(grammar.text))
            except Exception as error:  # the reader of GBNF raises whatever the text makes it
                raise GrammarError(grammar.asked_by, in_one_line(str(error))) from error
