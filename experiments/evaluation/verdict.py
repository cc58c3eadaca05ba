"""What an evaluation means, in sentences: how well the model answers, what an early exit does, what is wrong."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from controller.policies.fixed import FixedThreshold
from experiments.evaluation.breakdown import Group
from experiments.evaluation.report import Evaluation
from experiments.evaluation.sweeps import ExitPoint
from experiments.sentences import FEW, costs, counted, percent, right, saves

MANY = 0.1  # of the thoughts; as many cut ones make figures those of the token limit
EMPTY = 2  # tokens; a thought that is no longer holds nothing

FORMAT = "the thinking format is not this model's (--thinking)"
LIMIT = "the token limit is too low (--max-tokens)"


def verdict(figures: Evaluation) -> list[str]:
    """Returns the sentences that an evaluation's summary begins with."""
    group = figures.breakdown.all
    of = group.accuracy
    first = f"With full thought {right(of)} of {counted(of.count, 'answer')} are right"
    lines = [
        f"{first}; a thought has {group.thought.mean:.0f} tokens in the mean.",
        *causes(group),
        *_exits(figures),
    ]
    if of.count < FEW:
        lines.append(
            f"That is few: ask more than {counted(of.count, 'question')} (-n) before you rely on these figures."
        )
    return lines


def causes(group: Group) -> Iterator[str]:
    """Yields what is wrong with the replies as a whole, with the likely causes."""
    count, longest = group.accuracy.count, f"the longest thought has {counted(group.thought.max, 'token')}"
    nothing = "Nothing is right. " if group.accuracy.share == 0.0 else ""
    if group.cut == count:
        yield f"{nothing}No thought ended by itself ({longest}). Likely {LIMIT}, or {FORMAT}."
    elif group.unended == count:
        yield f"{nothing}No reply ended: behind its thought the model wrote on. Likely {FORMAT}, or {LIMIT}."
    elif group.thought.p90 <= EMPTY:
        yield f"{nothing}Thoughts are empty ({longest}): the model does not think, or {FORMAT}."
    elif nothing:
        yield (
            f"{nothing}Thoughts and replies end. Likely the answers do not stand where they are looked for, in the "
            "last \\boxed{…} or as the last number, or the questions are beyond the model. --records FILE keeps the "
            "replies."
        )
    if group.cut < count and group.cut >= MANY * count:
        yield f"{percent(group.cut / count, 0)} of the thoughts were cut by the token limit: {LIMIT}, or {FORMAT}."
    if group.unended < count and group.unended >= MANY * count:
        yield f"{percent(group.unended / count, 0)} of the replies broke off at the token limit: {LIMIT}, or {FORMAT}."


def given(points: Sequence[ExitPoint]) -> ExitPoint:
    """Returns the point at the threshold that `laser serve` takes without a profile, or the nearest to it."""
    return min(points, key=lambda one: abs(one.threshold - FixedThreshold().threshold))


def _exits(figures: Evaluation) -> Iterator[str]:
    if figures.breakdown.all.accuracy.share == 0.0:
        return  # an early exit has nothing to lose, which is no praise of it
    if figures.calibration.all is None:
        yield "No thought was probed: there is nothing to close early."
        return
    one = given(figures.thresholds[figures.score].all)
    ways = [
        (f"Really served, closing a thought at confidence {served.threshold:.2f}", served.saved, served.against)
        for served in figures.served
        if served.threshold is not None
    ]
    way, saved, against = (*ways, (f"Closing a thought at confidence {one.threshold:.2f}", one.saved, one.against))[0]
    yield f"{way} {saves(saved)} and {costs(against, figures.breakdown.all.accuracy.count)}."
