"""A simulated model that replays calibration's records: full thoughts, their probes, and the replies after a closing.

Behaviour that was not recorded is taken from the nearest recorded place before it: a thought closed between two budgets
gets the reply of the shorter budget, and a probe forked elsewhere answers like the probe before. Thoughts closed before
the shortest budget were not recorded and count as wrong; where answers without thought were recorded, that budget is 0,
and there are none. Of the reply after a thought only the length is recorded: one filler token stands for each of its
tokens. Where samples were recorded, too, the first is a mark of its answer.
"""

from __future__ import annotations

import sys
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from controller.serving.request import CUTS, ExitReason, Thought
from engine.base import EngineError, ProbeSpec
from engine.simulated.model import Course, CourseRules, TrialAnswer
from experiments.calibration.races.sampled import SampledReply
from experiments.calibration.traces import ClosedReply, ThoughtTrace
from experiments.evaluation.evaluation import Asked
from experiments.simulation.sampled_thoughts import PULSE, SampledThoughts, unmarked
from models.thinking import ThinkingTokens

NEVER_SURE = -30.0  # log p of each token of an answer that was not recorded
UNKNOWN = "not recorded"  # an answer that nobody else gives, which counts as wrong


@dataclass(frozen=True, slots=True, kw_only=True)
class _Closed:
    """What follows a landing that closes the thought."""

    tokens: int
    right: bool
    answer: str


class RecordedThought:
    """One question's thought, with its recorded probes and closings."""

    def __init__(
        self,
        trace: ThoughtTrace,
        closings: Sequence[ClosedReply],
        thinking: ThinkingTokens,
        encode: Callable[[str], list[int]],
        stop: int,
        samples: SampledThoughts | None = None,
    ) -> None:
        """`encode` returns the tokens of a trial answer; `stop` is the token that ends a reply.

        `samples` None: no sampled replies were recorded, and every sequence is greedy.
        """
        self._samples = samples
        self._trace = trace
        self._closings = sorted(closings, key=lambda closing: closing.budget)
        self._budgets = [closing.budget for closing in self._closings]
        self._forks = [probe.thought_tokens for probe in trace.probes]
        self._landing = thinking.landing
        self._close = thinking.close
        self._stop = stop
        self._filler = next(token for token in thinking.probe_suffix if token not in thinking.close)
        self._terminator = min(thinking.probe_stops)
        suffix = len(thinking.probe_suffix)
        self._trials = [self._trial(probe, suffix, encode) for probe in trace.probes]
        # whether a probe was dropped because the thought ended before its answer was known
        self._dropped = trace.rows - trace.tokens > sum(probe.rows for probe in trace.probes)
        self._whole = self._whole_course(thinking)

    def follow(self, said: Sequence[int], rules: CourseRules | None = None) -> Course:
        """Returns the course of the sequence after these tokens of the reply; `rules` None: it is greedy."""
        if self._samples is not None and rules is not None and rules.temperature > 0.0:
            return self._samples.follow(said, rules.seed)
        if not said:
            return self._whole
        if tuple(said[-len(self._landing) :]) == self._landing:
            found = self._closed_at(len(said) - len(self._landing))
            return Course(tokens=self._reply(found.answer, found.right, found.tokens))
        if self._closed(said):  # an adopted answer
            return Course(tokens=(self._stop,))
        place = len(said)
        looks = tuple(look - place for look in self._whole.looks if look > place)
        return Course(tokens=self._whole.tokens[place:], looks=looks)

    def right_reply(self, text: str) -> bool | None:
        """Whether a raced reply is right, by its text as `AnswerLetters` decodes it; None: that does not tell."""
        return None if self._samples is None else self._samples.right.get(text)

    def answer(self, fork_at: int, spec: ProbeSpec) -> TrialAnswer:
        """Returns the trial answer of a probe forked after `fork_at` thought tokens.

        Raises EngineError if the probe reads anything else: only answers were recorded.
        """
        if spec.read:
            named = ", ".join(sorted(spec.read))
            raise EngineError(f"the probe reads {named}, must read nothing besides: answers alone were recorded")
        place = bisect_right(self._forks, fork_at) - 1
        if place == len(self._forks) - 1 and self._dropped and (place < 0 or self._forks[place] < fork_at):
            unknown = spec.max_answer_tokens
            return TrialAnswer(answer=(self._filler,) * unknown, log_probs=(NEVER_SURE,) * unknown, terminator=None)
        if place < 0:
            return TrialAnswer(answer=(), log_probs=(), terminator=self._terminator)
        return self._trials[place]

    def right(self, thought: Thought) -> bool:
        """Whether the reply after this thought is right."""
        if thought.exit_reason is None:  # there was no thought
            return self.closed(0)[1]
        if thought.exit_reason == ExitReason.NATURAL:
            return self._trace.right
        if thought.exit_reason in CUTS:
            return self.closed(thought.tokens)[1]
        if thought.exit_reason == ExitReason.HOPELESS and thought.tried_at is not None:
            return self._right_before(thought.tried_at)  # with the best trial answer so far
        return self._right_before(thought.tokens)  # by a signal, with a trial answer: no other probes were recorded

    def closed(self, at: int) -> tuple[int, bool]:
        """Returns the tokens after a landing forced at `at` thought tokens, and whether the answer is right."""
        found = self._closed_at(at)
        return found.tokens, found.right

    def _closed_at(self, at: int) -> _Closed:
        trace, landing = self._trace, len(self._landing)
        if at < len(trace.thought) and self._closings:
            place = bisect_right(self._budgets, at) - 1
            closing = self._closings[max(0, place)]
            right, answer = (closing.right, closed_answer(trace, closing)) if place >= 0 else (False, UNKNOWN)
            return _Closed(tokens=max(1, closing.tokens - landing), right=right, answer=answer)
        tokens, right, answer = max(1, trace.tokens - len(trace.thought) - landing), trace.right, trace.answer or ""
        if at < len(trace.thought):
            place = bisect_right(self._forks, at) - 1
            right, answer = self._right_before(at), trace.probes[place].answer if place >= 0 else UNKNOWN
        return _Closed(tokens=tokens, right=right, answer=answer)

    def _right_before(self, at: int) -> bool:
        place = bisect_right(self._forks, at) - 1
        return place >= 0 and self._trace.probes[place].right

    def _whole_course(self, thinking: ThinkingTokens) -> Course:
        """Returns the full thought and its reply, with a look at each place where the loop may act.

        These places are transition points, the end of a thought that max_tokens has cut, the closing marker and the
        first token of the answer.
        """
        thought, window = self._trace.thought, thinking.lookback + 2
        end, close = len(thought), len(self._close)
        seen = [n for n in range(1, end + 1) if thinking.transition(thought[max(0, n - window) : n]) is not None]
        pulses: Sequence[int] = () if self._samples is None else range(PULSE, end, PULSE)
        return Course(
            tokens=(*thought, *self._close, *self._full_reply(max(1, self._trace.tokens - end - close))),
            looks=tuple(sorted({*seen, *pulses, end, end + close, end + close + 1} - {0})),
        )

    def _closed(self, said: Sequence[int]) -> bool:
        first, size = self._close[0], len(self._close)
        return any(token == first and tuple(said[at : at + size]) == self._close for at, token in enumerate(said))

    def _full_reply(self, tokens: int) -> tuple[int, ...]:
        return self._reply(self._trace.answer or "", self._trace.right, tokens)

    def _reply(self, answer: str, right: bool, tokens: int) -> tuple[int, ...]:
        if self._samples is not None:
            return self._samples.reply(answer, right, tokens)
        return (*(self._filler,) * (tokens - 1), self._stop)

    def _trial(self, seen: Asked, suffix: int, encode: Callable[[str], list[int]]) -> TrialAnswer:
        count = len(seen.log_probs)
        answer = tuple(encode(seen.answer))
        if self._samples is not None:
            answer = self._samples.trial(seen.answer, seen.right, count)
        elif len(answer) != count:  # re-encoding the text gives another number of tokens than were decoded
            answer = (self._filler,) * count
        ended = seen.rows == suffix + count
        return TrialAnswer(answer=answer, log_probs=seen.log_probs, terminator=self._terminator if ended else None)


def closed_answer(trace: ThoughtTrace, closing: ClosedReply) -> str:
    """Returns the answer behind a closing; one of its own where it was not recorded and is not the full thought's."""
    if closing.answer is not None:
        return closing.answer
    alike = closing.same or (closing.right and trace.right)
    return trace.answer if alike and trace.answer is not None else f"{UNKNOWN}, at {closing.budget}"


def answers(trace: ThoughtTrace, closings: Sequence[ClosedReply]) -> Iterator[tuple[str, bool]]:
    """Yields the answers that a thought may give when it is closed, and whether each is right."""
    yield UNKNOWN, False
    yield from ((closed_answer(trace, closing), closing.right) for closing in closings)
    yield from ((probe.answer, probe.right) for probe in trace.probes)


class RecordedModel:
    """Recorded thoughts as an `engine.simulated.model.SimulatedModel`."""

    def __init__(
        self,
        traces: Mapping[int, ThoughtTrace],
        closings: Mapping[tuple[int, int], ClosedReply],
        thinking: ThinkingTokens,
        *,
        encode: Callable[[str], list[int]],
        stop: int,
        vocabulary: int,
        samples: Mapping[int, Sequence[SampledReply]] | None = None,
    ) -> None:
        """`traces` are by question, `closings` by question and budget, `samples`, sampled replies, by question."""
        self.vocabulary = vocabulary
        self.max_tokens = sys.maxsize  # the machine's cells are the limit
        self._landing = thinking.landing
        # tokens that say nothing of an answer; None: no sample was recorded
        self.unmarked = None if samples is None else unmarked(thinking, stop)
        self.budgets = sorted({budget for _, budget in closings})  # at which closings were recorded
        by_question: dict[int, list[ClosedReply]] = {number: [] for number in traces}
        for (number, _), closing in closings.items():
            if number in by_question:
                by_question[number].append(closing)
        self.thoughts = {
            number: RecordedThought(
                trace,
                by_question[number],
                thinking,
                encode,
                stop,
                None
                if samples is None
                else SampledThoughts(
                    trace, samples[number], thinking, stop, vocabulary, answers(trace, by_question[number])
                ),
            )
            for number, trace in traces.items()
        }
        self._by_prompt = {trace.prompt: self.thoughts[number] for number, trace in traces.items()}

    def follow(self, prompt: tuple[int, ...], said: Sequence[int], rules: CourseRules) -> Course:
        thought = self._by_prompt.get(prompt)
        if thought is not None:
            return thought.follow(said, rules)
        thought = self._by_prompt.get(prompt[: -len(self._landing)])
        if thought is None:
            raise EngineError(
                f"a prompt of {len(prompt)} tokens was not recorded, must be one of {len(self._by_prompt)}"
            )
        return thought.follow(self._landing)  # the prompt itself closes the thought

    def answer(self, prompt: tuple[int, ...], said: Sequence[int], spec: ProbeSpec) -> TrialAnswer:
        return self._by_prompt[prompt].answer(len(said), spec)
