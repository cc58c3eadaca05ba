"""A question's recorded samples as thoughts that may race in simulation.

Of a sampled reply the lengths and the answer were recorded, not the tokens: fillers stand for them. The first token of
a reply is a mark that stands for its answer, the same for the same answer to a question. So it is of what follows a
thought that is closed, and of trial answers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from controller.serving.choices.ballot import voted
from engine.simulated.model import Course
from experiments.calibration.races.sampled import SampledReply
from experiments.calibration.traces import ThoughtTrace
from models.thinking import ThinkingTokens

PULSE = 16  # tokens of a sampled thought from one look to the next, so that its rows are known


def marked(token: int) -> str:
    """Returns the letter that stands for a token."""
    return chr(0xE000 + token)


def filling(thinking: ThinkingTokens) -> int:
    """Returns the token that stands for those that were not recorded."""
    return next(token for token in thinking.probe_suffix if token not in thinking.close)


def unmarked(thinking: ThinkingTokens, stop: int) -> frozenset[int]:
    """Returns the tokens that stand for no answer: those of closings, probes and markers, and `stop`, a reply's end."""
    put_in = (*thinking.landing, *thinking.close, *thinking.probe_suffix, *thinking.probe_stops)
    return frozenset((*put_in, *thinking.markers, stop))


class SampledThoughts:
    """The samples to one question, and the marks of the answers to it."""

    def __init__(
        self,
        trace: ThoughtTrace,
        samples: Sequence[SampledReply],
        thinking: ThinkingTokens,
        stop: int,
        vocabulary: int,
        others: Iterable[tuple[str, bool]] = (),
    ) -> None:
        """`trace`: the greedy full thought; `stop`: the token that ends a reply.

        `others`: the answers that the thought may give when it is closed, and whether each is right.
        """
        self._samples = samples
        self._landing, self._close, self._stop = thinking.landing, thinking.close, stop
        self._filler = filling(thinking)
        used = unmarked(thinking, stop)
        free = (token for token in range(vocabulary) if token not in used)
        said = [(trace.answer or "", trace.right), *((one.answer, one.right) for one in samples), *others]
        keys = dict.fromkeys((voted(answer), right) for answer, right in said)
        self._marks = {key: next(free) for key in keys if key[0]}
        self.right = {marked(mark): right for (_, right), mark in self._marks.items()}

    def trial(self, answer: str, right: bool, tokens: int) -> tuple[int, ...]:
        """Returns the tokens of an answer alone: its mark, then fillers; an empty answer is fillers alone."""
        mark = self._marks.get((voted(answer), right), self._filler)
        return (mark, *(self._filler,) * (tokens - 1)) if tokens > 0 else ()

    def reply(self, answer: str, right: bool, tokens: int) -> tuple[int, ...]:
        """Returns the tokens of a reply, its stop token included, that gives an answer."""
        return (*self.trial(answer, right, tokens - 1), self._stop)

    def follow(self, said: Sequence[int], seed: int) -> Course:
        """Returns the course of a sample after these tokens of its reply."""
        one = self._samples[seed % len(self._samples)]
        thought, close = one.thought_tokens, len(self._close)
        if tuple(said[-len(self._landing) :]) == self._landing:
            return Course(tokens=self.reply(one.answer, one.right, max(1, one.tokens - thought - len(self._landing))))
        place = len(said)
        if place > thought:
            return Course(tokens=(self._stop,))
        rest = self.reply(one.answer, one.right, max(1, one.tokens - thought - close))
        tokens = (*(self._filler,) * thought, *self._close, *rest)
        looks = {*range(PULSE, len(tokens), PULSE), thought, thought + close, thought + close + 1}
        return Course(tokens=tokens[place:], looks=tuple(sorted(look - place for look in looks if look > place)))
