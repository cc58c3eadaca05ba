"""A question's recorded samples as thoughts that may race in simulation.

Of a sampled reply the lengths and the answer were recorded, not the tokens: fillers stand for them. The first token of
a reply is a mark that stands for its answer, the same for the same answer to a question.
"""

from __future__ import annotations

from collections.abc import Sequence

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


class SampledThoughts:
    """The samples to one question, and the marks of the answers to it."""

    def __init__(
        self, trace: ThoughtTrace, samples: Sequence[SampledReply], thinking: ThinkingTokens, stop: int, vocabulary: int
    ) -> None:
        """`trace`: the greedy full thought; `stop`: the token that ends a reply."""
        self._samples = samples
        self._landing, self._close, self._stop = thinking.landing, thinking.close, stop
        self._filler = filling(thinking)
        used = {*self._landing, *self._close, *thinking.probe_suffix, *thinking.probe_stops, *thinking.markers, stop}
        free = (token for token in range(vocabulary) if token not in used)
        said = {voted(trace.answer or ""): trace.right, **{voted(one.answer): one.right for one in samples}}
        self._marks = {answer: next(free) for answer in said if answer}
        self.right = {marked(mark): said[answer] for answer, mark in self._marks.items()}

    def reply(self, answer: str, tokens: int) -> tuple[int, ...]:
        """Returns the tokens of a reply, its stop token included, that gives an answer."""
        mark = self._marks.get(voted(answer), self._filler)
        return (*((mark,) if tokens > 1 else ()), *(self._filler,) * (tokens - 2), self._stop)

    def follow(self, said: Sequence[int], seed: int) -> Course:
        """Returns the course of a sample after these tokens of its reply."""
        one = self._samples[seed % len(self._samples)]
        thought, close = one.thought_tokens, len(self._close)
        if tuple(said[-len(self._landing) :]) == self._landing:
            return Course(tokens=self.reply(one.answer, max(1, one.tokens - thought - len(self._landing))))
        place = len(said)
        if place > thought:
            return Course(tokens=(self._stop,))
        rest = self.reply(one.answer, max(1, one.tokens - thought - close))
        tokens = (*(self._filler,) * thought, *self._close, *rest)
        looks = {*range(PULSE, len(tokens), PULSE), thought, thought + close, thought + close + 1}
        return Course(tokens=tokens[place:], looks=tuple(sorted(look - place for look in looks if look > place)))
