"""Recorded probes as they go at an operating point: when each gives up, and whether it closes its thought."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from engine.base import ProbeSpec
from experiments.evaluation.evaluation import Asked
from experiments.evaluation.sweeps import score_of
from models.profile.give_up import GiveUpLimit, worth_below
from models.score import Score


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayedProbe:
    """A recorded probe, replayed at a point."""

    seen: Asked
    rows: int  # token rows until it ends or gives up
    closes: bool  # whether the thought is closed by it
    stands: Asked  # the trial whose answer the reply gets if it closes the thought
    hopeless: bool = False  # whether it closes the thought because its confidence lies below the curve

    @property
    def beyond(self) -> int:
        """Tokens that the thought decodes beside the probe until it ends or gives up."""
        return max(0, self.seen.beyond - (self.seen.rows - self.rows))

    @property
    def again(self) -> int:
        """The rows of an earlier trial's answer, which is computed again behind this probe's suffix."""
        return 0 if self.stands is self.seen else len(self.stands.log_probs)


def replayed_probes(probes: Sequence[Asked], spec: ProbeSpec, limit: GiveUpLimit | None) -> list[ReplayedProbe]:
    """Replays a thought's probes at the threshold `spec.give_up_below`, and under a lower curve; None: there is none.

    As served, a probe gives up once its outcome is known: it cannot reach the threshold, and under a curve neither the
    curve nor the best trial so far. One that gives up after m answer tokens has cost m − 1 answer rows: token m is
    sampled from row m − 1.
    """
    found: list[ReplayedProbe] = []
    best: tuple[float, Asked] | None = None
    for seen in probes:
        score, low = score_of(seen, spec.score), 0.0 if limit is None else limit.at(seen.thought_tokens)
        at = spec
        if limit is not None:
            at = replace(spec, give_up_below=worth_below(spec.give_up_below, low, None if best is None else best[0]))
        sure = score >= spec.give_up_below
        given_up = None if sure else at.gives_up(seen.log_probs)
        if given_up is None and (best is None or score >= best[0]):
            best = score, seen
        hopeless = not sure and score < low and best is not None
        found.append(
            ReplayedProbe(
                seen=seen,
                rows=seen.rows if given_up is None else len(spec.suffix) + given_up - 1,
                closes=sure or hopeless,
                stands=best[1] if hopeless and best is not None else seen,
                hopeless=hopeless,
            )
        )
    return found


def closed_hopeless(probes: Sequence[Asked], spec: ProbeSpec, limit: GiveUpLimit) -> bool:
    """Whether a thought without a budget is given up, at the threshold `spec.give_up_below`."""
    closing = next((probe for probe in replayed_probes(probes, spec, limit) if probe.closes), None)
    return closing is not None and closing.hopeless


def may_be_given_up(probes: Sequence[Asked], score: Score, limit: GiveUpLimit, counts: Callable[[Asked], bool]) -> bool:
    """Whether below the curve, at any place, some trial that may be the best by then `counts`.

    While limits move, some trials may be missing, or may have given up: of those up to a place any one may be the best
    that is at least as sure as the place's own.
    """
    surest = -1.0  # of the trials so far that count
    for seen in probes:
        confidence = score_of(seen, score)
        if counts(seen):
            surest = max(surest, confidence)
        if confidence < limit.at(seen.thought_tokens) and surest >= confidence:
            return True
    return False
