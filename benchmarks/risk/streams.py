"""Is what is charged at least what is harmed? Streams of recorded thoughts under limits that move with the load.

    python -m benchmarks.risk.streams

The recorded questions are the world, so that every thought's harm is known. Each stream certifies anew, on a sample of
the calibration's size drawn from that world, and then serves requests under the real keeper and its account: calm and
bursts alternate, the limits move every 20 to 200 tokens and are the laxer the busier it is, and in bursts long thoughts
and some benchmarks come more often, in calm less, so that their mix over all is about the world's.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from heapq import heappop, heappush
from pathlib import Path

import numpy as np
import numpy.typing as npt

from controller.policies.definition import certified_at
from controller.policy import Limits
from controller.risk.account import RiskSettings
from controller.risk.keeper import Grant, RiskKeeper
from controller.serving.trials import probe_spec
from experiments.calibration.by_class import counts_by_class
from experiments.calibration.grid import Grid, grid
from experiments.calibration.traces import ClosedReply, ThoughtTrace, run_questions
from experiments.evaluation.sweeps import THRESHOLDS, score_of
from experiments.simulation.levers_of_records import given_up
from experiments.simulation.recording import read_calibration
from models.chat_model import load_chat_model
from models.profile.certificate import certify, evidence
from models.profile.give_up import GiveUpLimit
from models.profile.lever import Lever
from models.profile.profile import Profile, profile_of
from models.reasoner import bundled_model
from models.score import Score

SLOTS = 16  # thoughts that run at once
CALM = ((None, None), (0.97, None), (0.95, None), (0.9, None), (0.85, None))
BUSY = ((0.85, None), (0.8, None), (0.75, 318), (0.7, None), (0.65, None), (0.65, 318), (0.9, 214))
SHIFTS = (20, 200)  # tokens between two moves of the limits
PHASE = (500, 4000)  # tokens that a phase lasts
BUSY_SHARE = 0.3  # of phases


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class World:
    """The recorded questions, replayed."""

    profile: Profile
    traces: Sequence[ThoughtTrace]
    closings: dict[tuple[int, int], ClosedReply]
    replayed: Grid
    places: npt.NDArray[np.intp]  # the class of each question
    families: npt.NDArray[np.intp]  # its benchmark
    lengths: npt.NDArray[np.float64]  # of its thought, in standard deviations of the logarithm from the mean
    probes: Sequence[Sequence[tuple[int, float, bool]]]  # of each thought: place, confidence, whether it is right
    curved: Sequence[Grid]  # the same under each lower curve of the profile; empty: no thought is given up

    @classmethod
    def bundled(cls, *, give_up: bool = False) -> World:
        """`give_up`: hopeless thoughts are given up, too, by curves that the records place."""
        directory = bundled_model()
        chat = load_chat_model(directory)
        found = read_calibration(chat, directory, profile_of(directory))
        profile = given_up(chat, found) if give_up else found.profile
        log = found.log.of(run_questions(found.questions, ()))
        traces = [log.traces[number] for number in range(len(found.questions))]
        score = Score(profile.score)
        budgets = [budget for budget in profile.budgets if budget is not None]
        spec = probe_spec(chat.thinking, chat.stop_tokens, score)
        replayed = grid(traces, log.closings, THRESHOLDS, budgets, spec)
        places = [profile.classes.index(profile.difficulty.classify(one.prompt)) for one in traces]
        curved = []
        if give_up and profile.give_up is not None:
            for curve in profile.give_up.curves:
                limits = [GiveUpLimit(curve=curve, median=profile.give_up.medians[place]) for place in places]
                curved.append(grid(traces, log.closings, THRESHOLDS, budgets, spec, limits))
        names = sorted({question.benchmark for question in found.questions})
        logs = np.log([max(1, len(one.thought)) for one in traces])
        return cls(
            profile=profile,
            traces=traces,
            closings=log.closings,
            replayed=replayed,
            places=np.array(places),
            families=np.array([names.index(question.benchmark) for question in found.questions]),
            lengths=(logs - logs.mean()) / logs.std(),
            probes=[[(p.thought_tokens, score_of(p, score), p.right) for p in one.probes] for one in traces],
            curved=curved,
        )

    def certified(self, rng: np.random.Generator, risk: float, peak: float) -> Profile:
        """Returns the profile with a certificate on a fresh sample of the world, of the calibration's size."""
        given = self.profile.certificate
        sample = rng.integers(len(self.traces), size=given.count)
        drawn = [
            replace(one, harmed=one.harmed[sample], ends=one.ends[sample]) for one in (self.replayed, *self.curved)
        ]
        member = np.array([self.places[sample] == place for place in range(len(self.profile.classes))])
        told, harmed = [counts_by_class(one, member) for one in drawn], [one.harmed.sum(axis=0) for one in drawn]
        right = sum(self.traces[number].right for number in sample)
        seen = evidence(right, given.count, None, given.count, given.delta, told[0])
        made = certify(harmed[0], given.count, epsilon=given.epsilon, delta=given.delta, evidence=seen)
        give_up = self.profile.give_up if self.curved else None
        if give_up is not None:
            give_up = replace(give_up, harmed=tuple(map(_nested, harmed)), by_class=tuple(told))
        profile = replace(self.profile, certificate=made, give_up=give_up)
        return certified_at(profile, risk, peak, levers=() if give_up is None else (Lever.GIVE_UP,))


def _nested(table: npt.NDArray[np.int64]) -> tuple[tuple[int, ...], ...]:
    return tuple(map(tuple, table.tolist()))


@dataclass(slots=True, kw_only=True)
class Running:
    """A thought that runs."""

    question: int
    began: int
    grant: Grant
    limits: Limits
    next: int = 0  # place of its next probe
    best: tuple[float, bool] = (-1.0, False)  # confidence of its surest trial, and whether it is right


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """What came of a stream."""

    requests: int
    charged: float  # mean
    harmed: float  # mean
    topped_up: int
    refused: int
    earliest_gap: float  # the most that the sum charged exceeded risk·n anywhere; at most 0 by the account


def weights(world: World, rng: np.random.Generator) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Returns the questions' chances in calm and in bursts, where long thoughts and some families come more often."""
    strength, favoured = rng.uniform(0.0, 1.0), rng.normal(0.0, 1.0, world.families.max() + 1)
    busy = np.exp(strength * (1.5 * world.lengths + favoured[world.families]))
    busy /= busy.sum()
    even = 1.0 / len(busy)
    calm = np.maximum(even - BUSY_SHARE * busy, 0.0)
    return calm / calm.sum(), busy


def run(world: World, seed: int, count: int, risk: float, peak: float) -> Stream:
    """Serves a stream of `count` requests."""
    rng = np.random.default_rng(seed)
    profile = world.certified(rng, risk, peak)
    now = 0
    keeper = RiskKeeper(profile, RiskSettings(), time_s=lambda: float(now))
    points, lower = profile.points(), profile.curves
    medians = (0.0,) * len(profile.classes) if lower is None else lower.medians
    calm, busy = weights(world, rng)
    drawn = {False: rng.choice(len(calm), size=count, p=calm), True: rng.choice(len(busy), size=count, p=busy)}
    names: list[str | None] = [*profile.classes, None]
    wanted: dict[str | None, Limits] = {}
    running: dict[int, Running] = {}
    events: list[tuple[int, int, int]] = []  # time, kind (0: limits, 1: phase, 2: thought), request
    bursting, begun, harms, gap = False, 0, 0, -np.inf

    def move() -> None:
        pick = [point for point in points if (point.threshold, point.budget) in (BUSY if bursting else CALM)]
        some = rng.integers(len(pick), size=len(names))
        wanted.clear()
        for name, k, median in zip(names, some, (*medians, medians[-1]), strict=True):
            curve = pick[k].give_up
            wanted[name] = Limits(
                threshold=pick[k].threshold,
                budget=pick[k].budget,
                give_up=None if curve is None else GiveUpLimit(curve=curve, median=median),
            )
        keeper.expect(wanted, wanted)
        for one in running.values():
            look(one)
        heappush(events, (now + int(rng.integers(*SHIFTS)), 0, 0))

    def look(one: Running) -> None:
        name = profile.classes[world.places[one.question]]
        one.limits = keeper.within(one.grant, wanted[name], now - one.began)

    def due(number: int, one: Running) -> None:
        probes = world.probes[one.question]
        length = len(world.traces[one.question].thought)
        at = probes[one.next][0] if one.next < len(probes) else length
        heappush(events, (max(now, one.began + min(at, length)), 2, number))

    def begin() -> None:
        nonlocal begun, gap
        question = int(drawn[bursting][begun])
        grant = keeper.admit(profile.classes[world.places[question]], "", pays=True)
        running[begun] = one = Running(question=question, began=now, grant=grant, limits=Limits())
        look(one)
        due(begun, one)
        begun += 1
        gap = max(gap, keeper.account.spent - risk * keeper.account.requests)

    def ended(one: Running) -> bool | None:
        """Returns whether the reply is right of a thought that has ended by now; None: it goes on."""
        age, trace = now - one.began, world.traces[one.question]
        budget = one.limits.budget
        if budget is not None and budget <= min(age, len(trace.thought)):
            return world.closings[one.question, budget].right
        if one.next == len(world.probes[one.question]):
            return trace.right
        place, sure, right = world.probes[one.question][one.next]
        look(one)
        one.next += 1
        one.best = (sure, right) if sure >= one.best[0] else one.best
        if one.limits.threshold is not None and sure >= one.limits.threshold:
            return right
        lower = one.limits.give_up
        return one.best[1] if lower is not None and sure < lower.at(place) else None

    move()
    heappush(events, (int(rng.integers(*PHASE)), 1, 0))
    for _ in range(min(SLOTS, count)):
        begin()
    while running:
        now, kind, number = heappop(events)
        if kind == 0:
            move()
        elif kind == 1:
            bursting = bool(rng.uniform() < BUSY_SHARE)
            heappush(events, (now + int(rng.integers(*PHASE)), 1, 0))
        else:
            one = running[number]
            right = ended(one)
            if right is None:
                due(number, one)
                continue
            harms += world.traces[one.question].right and not right
            keeper.served(one.grant)
            del running[number]
            if begun < count:
                begin()
    status = keeper.status(0.0)
    return Stream(
        requests=status.requests, charged=status.mean, harmed=harms / status.requests, topped_up=status.topped_up,
        refused=status.refused, earliest_gap=float(gap),
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=400)
    parser.add_argument("--requests", type=int, default=1000, help="of a stream")
    parser.add_argument("--seed", type=int, default=100)
    parser.add_argument("--risk", type=float, default=0.02)
    parser.add_argument("--peak", type=float, default=0.10)
    parser.add_argument("--give-up", action="store_true", help="hopeless thoughts are given up, too")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    world = World.bundled(give_up=options.give_up)
    seeds = range(options.seed, options.seed + options.streams)
    found = [run(world, seed, options.requests, options.risk, options.peak) for seed in seeds]
    charged = np.array([one.charged for one in found])
    harmed = np.array([one.harmed for one in found])
    gaps = charged - harmed
    print(
        f"{len(found)} streams of {options.requests} requests: charged {charged.mean():.3%} (most "
        f"{charged.max():.3%}), harmed {harmed.mean():.3%} (most {harmed.max():.3%}); harmed more than charged in "
        f"{int((gaps < 0).sum())} streams; least gap {gaps.min():+.3%}; "
        f"{sum(one.topped_up for one in found)} top-ups, {sum(one.refused for one in found)} held to a stricter "
        f"corner; sum charged above risk·n at most {max(one.earliest_gap for one in found):+.2g}"
    )
    if options.out is not None:
        options.out.write_text(json.dumps([asdict(one) for one in found], indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
