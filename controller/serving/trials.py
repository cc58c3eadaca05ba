"""Trial answers: how a probe asks a thought for its answer, by the form of the answer, and what is kept of one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from controller.serving.request import Checkpoint
from engine.base import Probed, ProbeSpec
from models.kinds.kind import AnswerForm
from models.score import Score
from models.thinking import Keep, ThinkingTokens
from models.tokenizer import Decoder

if TYPE_CHECKING:
    from controller.serving.active import ActiveRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerTrial:
    """How thoughts are probed for answers of one form. Only a box that was wanted becomes the reply's answer."""

    spec: ProbeSpec
    close: int  # tokens of the suffix that close the thought, and say nothing of the answer
    adopted: bool  # whether a sure trial answer becomes the reply; else the model writes its answer itself
    whole: bool = False  # whether an answer that was cut at its longest counts as none

    def read(self, probed: Probed) -> Probed:
        """Returns a probe as the exit signals are to read it."""
        return replace(probed, gave_up=True) if self.whole and probed.terminator is None else probed

    def kept(self, probed: Probed, stop_tokens: frozenset[int]) -> int:
        """Returns how many tokens of a probe's path become part of the reply."""
        if not self.adopted:
            return self.close
        terminated = probed.terminator is not None and probed.terminator not in stop_tokens
        return len(self.spec.suffix) + len(probed.answer) + terminated


def probe_spec(thinking: ThinkingTokens, stop_tokens: frozenset[int], score: Score | None = None) -> ProbeSpec:
    """Returns how to probe thoughts of this format for an answer in a box; `score` None: the format's."""
    return ProbeSpec(
        suffix=thinking.probe_suffix,
        max_answer_tokens=thinking.format.probe.max_answer_tokens,
        answer_stops=thinking.probe_stops | stop_tokens,
        score=score or thinking.format.probe.score,
    )


class Trials:
    """The trials of one thinking format."""

    def __init__(self, thinking: ThinkingTokens, stop_tokens: frozenset[int], score: Score | None = None) -> None:
        """`score` None: the format's."""
        self._thinking = thinking
        self._stop_tokens = stop_tokens
        form = thinking.format
        spec = probe_spec(thinking, stop_tokens, score)
        whole = len(spec.suffix) if form.in_the_open else thinking.keep_of(spec.suffix)
        self.box = AnswerTrial(spec=spec, close=whole, adopted=form.keep is Keep.ANSWER)
        self._unboxed = AnswerTrial(spec=spec, close=thinking.keep_of(spec.suffix), adopted=False)
        self._choice: AnswerTrial | None = None

    @property
    def room(self) -> int:
        """The largest number of tokens that a probe may need."""
        return self.box.spec.room

    def of(self, form: AnswerForm, *, as_certified: bool) -> AnswerTrial:
        """Returns the trial for answers of a form. `as_certified`: with the suffix of the box, which was calibrated."""
        if form is AnswerForm.BOX:
            return self.box
        if form is AnswerForm.WORDS or as_certified or self._thinking.format.in_the_open:
            return self._unboxed
        if self._choice is None:
            self._choice = self._of_choice(self.box.spec)
        return self._choice

    def _of_choice(self, box: ProbeSpec) -> AnswerTrial:
        """Returns the trial for the label of a choice; a probe of it takes no more room than one of a box."""
        choice = self._thinking.format.choice
        suffix = self._thinking.encode(self._thinking.format.choice_suffix)
        stops = self._thinking.stops_with(choice.stops)
        most = min(choice.max_answer_tokens, box.room - len(suffix) - 1)
        if most < 1 or not stops:
            return self._unboxed
        spec = ProbeSpec(suffix=suffix, max_answer_tokens=most, answer_stops=stops | self._stop_tokens, score=box.score)
        return AnswerTrial(spec=spec, close=self._thinking.keep_of(suffix), adopted=False, whole=True)


def checkpoint(active: ActiveRequest, event: Probed, tokenizer: Decoder) -> Checkpoint:
    """Returns the report of a trial answer that has just ended."""
    return Checkpoint(
        thought_tokens=active.fork_at,
        beyond=active.beyond,
        answer=tokenizer.decode(event.answer),
        confidence=event.confidence,
        joint=Score.JOINT.confidence(event.log_probs),
        log_probs=event.log_probs,
        gave_up=event.gave_up,
        rows=event.rows,
        choice=active.choice,
    )
