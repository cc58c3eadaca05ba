"""Tabulates races of thoughts on recorded replies: what each width wins, what it costs, and what is certified of it.

A question's races are all that its recorded replies allow: its first thought with every set of the others. Their mean
is one value of the question, which is what the certificate counts. Greedy requests have the greedy full thought first;
requests at the samples' temperature have each sample first in turn.

All thoughts of a race begin in the same step and get a token in each, so the one with the fewest tokens ends first; of
two that end together the one that was asked for first does. (The torch engine lets rivals begin a step later, behind
the prefill of the first thought, so a difference of one token may be decided the other way.) A race costs the rows of
all its thoughts until it is decided.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import numpy.typing as npt

from controller.serving.choices.ballot import Ballot, voted
from experiments.calibration.races.sampled import SampledReply
from experiments.calibration.traces import ThoughtTrace
from models.profile.profile import Profile
from models.profile.width import RaceRule, WidthTables, width_tables

WIDTHS = (2, 3, 4, 5)
WIDEST = 8  # a question has some 2,000 races up to this width, and half a million up to 16

Values = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """A recorded reply with full thought, as it may race."""

    tokens: int  # of the whole reply
    answer: str  # what it votes for
    right: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RaceResult:
    """A race that was decided."""

    winner: Contender
    steps: int  # decoded until then
    rows: int  # of all its thoughts until then


@dataclass(frozen=True, slots=True, kw_only=True)
class RacedQuestion:
    """A question's recorded replies."""

    greedy: Contender | None  # with the greedy full thought; None: not recorded
    samples: tuple[Contender, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RacedQuestions:
    """What the races of each rule do to each question, as means over its races."""

    rules: tuple[RaceRule, ...]
    alone: Values  # [question]: share of right first thoughts
    right: Values  # [question, rule]: share of right races
    rows: Values  # [question, rule]
    harm: Values  # [question, rule]: share of races that spoil a right first thought
    steps: tuple[tuple[tuple[int, ...], ...], ...]  # [question][rule]: of each race

    def tables(self, member: npt.NDArray[np.bool_], *, epsilon: float, delta: float) -> WidthTables:
        """Returns the tables of a profile; `member` is [class, question]."""
        return width_tables(
            rules=self.rules,
            member=member,
            rows=self.rows,
            right=self.right,
            alone=self.alone,
            steps=tuple(tuple(self._p95(mine, k) for k in range(len(self.rules))) for mine in member),
            harm=self.harm,
            epsilon=epsilon,
            delta=delta,
        )

    def _p95(self, mine: npt.NDArray[np.bool_], rule: int) -> float:
        """Returns the 95th percentile of the steps of a class's races, each question counted alike."""
        counted = [one[rule] for one, counts in zip(self.steps, mine, strict=True) if counts or not mine.any()]
        values = np.concatenate([np.array(one, dtype=np.float64) for one in counted])
        weights = np.concatenate([np.full(len(one), 1.0 / len(one)) for one in counted])
        order = np.argsort(values, kind="stable")
        reached = np.cumsum(weights[order])
        return float(values[order][np.searchsorted(reached, 0.95 * reached[-1])])


def rules(temperature: float, asked: float, widths: Sequence[int] = WIDTHS) -> tuple[RaceRule, ...]:
    """Returns the rules that are tabulated: first to finish of each width, and votes of 3 and more."""
    return tuple(
        RaceRule(width=width, vote=vote, asked=asked, temperature=temperature)
        for vote in (False, True)
        for width in sorted(widths)
        if not vote or width > 2  # of two votes the first counts
    )


def race(contenders: Sequence[Contender], *, vote: bool) -> RaceResult:
    """Returns how a race ends; the contenders stand in the order in which they were asked for."""
    ballot = Ballot(len(contenders), vote=vote)
    for place in sorted(range(len(contenders)), key=lambda place: contenders[place].tokens):
        winner = ballot.answer(place, contenders[place].answer)
        if winner is not None:
            steps = contenders[place].tokens
            rows = sum(min(one.tokens, steps) for one in contenders)
            return RaceResult(winner=contenders[winner], steps=steps, rows=rows)
    raise ValueError("a race needs at least 1 contender")


def races(question: RacedQuestion, rule: RaceRule) -> Iterator[tuple[Contender, ...]]:
    """Yields the races of a question under a rule, its first thought first.

    Raises ValueError if the question has too few recorded replies.
    """
    firsts: list[tuple[Contender, tuple[Contender, ...]]] = []
    if rule.asked:
        mine = question.samples
        firsts += [(first, mine[:place] + mine[place + 1 :]) for place, first in enumerate(mine)]
    elif question.greedy is not None:
        firsts.append((question.greedy, question.samples))
    if not firsts or len(firsts[0][1]) < rule.width - 1:
        raise ValueError(f"a question has {len(question.samples)} sampled replies, too few for a width of {rule.width}")
    for first, others in firsts:
        for chosen in combinations(others, rule.width - 1):
            yield (first, *chosen)


def raced(questions: Sequence[RacedQuestion], tried: Sequence[RaceRule]) -> RacedQuestions:
    """Returns what the rules do to questions; all rules hold for the same requests. Raises as `races` does."""
    shape = (len(questions), len(tried))
    right, rows, harm = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    alone = np.zeros(len(questions))
    steps: list[tuple[tuple[int, ...], ...]] = []
    for n, question in enumerate(questions):
        mine = []
        for k, rule in enumerate(tried):
            runs = tuple(races(question, rule))
            ended = [race(contenders, vote=rule.vote) for contenders in runs]
            alone[n] = np.mean([contenders[0].right for contenders in runs])
            right[n, k] = np.mean([one.winner.right for one in ended])
            rows[n, k] = np.mean([one.rows for one in ended])
            harm[n, k] = np.mean([run[0].right and not one.winner.right for run, one in zip(runs, ended, strict=True)])
            mine.append(tuple(one.steps for one in ended))
        steps.append(tuple(mine))
    return RacedQuestions(rules=tuple(tried), alone=alone, right=right, rows=rows, harm=harm, steps=tuple(steps))


def with_width(
    profile: Profile, questions: Sequence[RacedQuestion], told: Sequence[str], tried: Sequence[RaceRule]
) -> Profile:
    """Returns the profile with races tabulated, at its risk; nothing else of it changes.

    `told`: each question's class, as a classifier tells it that has not seen the question. Raises as `races` does.
    """
    member = np.array([[one == name for one in told] for name in profile.classes])
    certificate = profile.certificate
    tables = raced(questions, tried).tables(member, epsilon=certificate.epsilon, delta=certificate.delta)
    return replace(profile, width=tables)


def raced_questions(traces: Sequence[ThoughtTrace], samples: Sequence[Sequence[SampledReply]]) -> list[RacedQuestion]:
    """Returns questions as they race; `samples`: the replies to each, sampled."""
    return [
        RacedQuestion(
            greedy=contender(full.tokens, full.answer or "", full.right),
            samples=tuple(contender(one.tokens, one.answer, one.right) for one in mine),
        )
        for full, mine in zip(traces, samples, strict=True)
    ]


def contender(tokens: int, answer: str, right: bool) -> Contender:
    """Returns a recorded reply as it votes."""
    return Contender(tokens=tokens, answer=voted(answer), right=right)
