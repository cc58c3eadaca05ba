"""An answer that a grammar holds: from its first token on, in trial answers, and within the tokens that are left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from controller.serving.request import ReasoningRequest
from controller.serving.trials import AnswerTrial
from engine.base import Capabilities, ProbeSpec
from models.grammar.compiling import CompiledGrammar, Grammars
from models.grammar.grammar import GrammarError
from models.grammar.matching import GrammarMatch
from models.thinking import Keep, ThinkingTokens

FREE = 64  # tokens left for the content of an answer whose length is not bounded
MOST_TRIED = 24  # tokens of the longest answer that a probe tries under its grammar


@dataclass(slots=True, eq=False)
class HeldAnswer:
    """A request's grammar, and the answer so far."""

    grammar: CompiledGrammar
    match: GrammarMatch | None = None  # None: the answer has not begun

    @property
    def begun(self) -> bool:
        """Whether the answer is held from the next sampled token on."""
        return self.match is not None

    @property
    def complete(self) -> bool:
        """Whether the answer is whole and nothing can follow."""
        return self.match is not None and self.match.complete

    @property
    def whole(self) -> bool:
        """Whether the answer may end here."""
        return self.match is not None and self.match.whole

    @property
    def tried(self) -> bool:
        """Whether the grammar bounds the answer to so few tokens that a probe may try it."""
        longest = self.grammar.longest
        return longest is not None and longest <= MOST_TRIED

    def allows(self, tokens: Sequence[int]) -> bool:
        """Whether an answer may begin with these tokens."""
        try:
            self.grammar.begin(len(tokens) + 1).take(tokens)
        except GrammarError:
            return False
        return True

    def begin(self, room: int, taken: Sequence[int] = ()) -> GrammarMatch:
        """The answer begins, behind the tokens `taken` of it, and may have `room` tokens in all."""
        self.match = match = self.grammar.begin(room)
        match.take(taken)
        return match


class AnswerGrammars:
    """How answers under a grammar are begun and tried, for models of one thinking format."""

    def __init__(
        self, thinking: ThinkingTokens, probe: ProbeSpec, stops: frozenset[int], grammars: Grammars | None
    ) -> None:
        """`probe`: how other answers are tried. `grammars` None: no answer is held to one."""
        self._grammars = grammars
        self._open = thinking.format.in_the_open
        self._thinking = thinking
        self.lead = thinking.lead
        suffix = (*probe.suffix[: thinking.keep_of(probe.suffix)], *self.lead)  # without words of the format's own
        self.trial = AnswerTrial(
            spec=replace(probe, suffix=suffix, max_answer_tokens=MOST_TRIED, answer_stops=stops),
            close=len(suffix),
            adopted=thinking.format.keep is Keep.ANSWER,
        )  # of any held answer; each is tried under its own grammar

    @property
    def room(self) -> int:
        """The most tokens that a probe of an answer under a grammar may need; 0: there is none."""
        return 0 if self._grammars is None else self.trial.spec.room

    def of(self, request: ReasoningRequest, capabilities: Capabilities) -> HeldAnswer | None:
        """Returns what holds a request's answer; None: nothing does.

        Raises GrammarError if the grammar cannot be used, UnsupportedError if the engine cannot hold to one.
        """
        grammar = request.grammar
        if grammar is None:
            return None
        capabilities.need("constraints", f"{grammar.asked_by} holds the answer to a grammar")
        if self._grammars is None:
            raise GrammarError(grammar.asked_by, "no answer is held to a grammar here")
        if self._open and request.thinking:
            raise GrammarError(grammar.asked_by, "a thought in the open is part of the answer, must be off")
        compiled = self._grammars.compiled(grammar)
        try:
            compiled.measure()
        except GrammarError as error:  # too complex to be followed
            raise GrammarError(grammar.asked_by, str(error)) from error
        return HeldAnswer(compiled)

    def landing(self, landing: tuple[int, ...]) -> tuple[int, ...]:
        """Returns a landing without the words with which it begins an answer, which the grammar may not have."""
        end = self._thinking.ending(landing).end
        return (*landing[:end], *self.lead[: len(landing) - end])

    def least(self, held: HeldAnswer) -> int:
        """The tokens that the shortest answer takes behind the marker that ends a thought."""
        return len(self.lead) + (held.grammar.shortest or 0)

    def ample(self, held: HeldAnswer) -> int:
        """The tokens that leave an answer more than the shortest way to its end."""
        return self.least(held) + held.grammar.rise + (held.grammar.longest or FREE)

    def probe(self, held: HeldAnswer) -> ProbeSpec:
        """Returns how the answer is probed: behind the marker and the usual blanks, under its grammar."""
        return replace(self.trial.spec, constraint=held.grammar.begin(MOST_TRIED + held.grammar.rise))
