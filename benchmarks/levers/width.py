"""What several thoughts of one prompt win at idle, replayed on the bundled model's records. Nothing is decoded.

The aim, stated before any race of these rules was replayed (2026-11-30): of the rules tabulated, the one that wins most
on a seeded half of the questions wins at least 1.5 points of accuracy, pooled, on the other half, against the one
thought that is served without width. Known before: `benchmarks.reasoner` has measured that the majority of all five
samples wins 2.0 points (1.2…2.8) over greedy thoughts, and the first of four to finish 5.9 in countdown.

How it is measured, stated with the aim:

- `python -m benchmarks.reasoner` has recorded 5 replies to each of 1,000 questions a family at temperature 0.7, and the
  greedy full thought of each. The bundled model is served greedily by default, as its generation_config.json says, so
  the aim counts for greedy requests: the first thought of a race is the greedy one, and the others are sampled. The
  same is shown for requests at temperature 0.7, whose first thought is a sample, too;
- a question counts as the mean over all its races (`experiments/calibration/races/width.py`). Points won are
  right(race) − right(alone); the interval is that of 2,000 bootstrap samples of questions, 95 %;
- w=2…5 by the first to finish, w=3…5 by majority, ties broken by who ended first; rows are those of all thoughts until
  the race is decided, steps are those of the winner's wait;
- the bound is the empirical Bernstein bound of the net loss, as in a profile (`models/profile/width.py`), at
  .05 over all rules, on all questions; harm: right first thoughts that a race spoils.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from benchmarks.reasoner.aims import COUNT, TEMPERATURE
from benchmarks.reasoner.asking import asked_reasoner
from benchmarks.reasoner.evidence import evidence, read_samples, read_thoughts
from benchmarks.support import report
from experiments.calibration.races.width import RacedQuestions, raced, raced_questions, rules, with_width
from models.profile.profile import profile_of, read_profile, write_profile
from models.profile.width import RaceRule, net_bound
from models.reasoner import bundled_model

RECORDS = bundled_model().parent / "records"
RESAMPLES = 2_000
DELTA = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class WidthAim:
    """What width must win at idle."""

    won: float = 0.015  # share of right answers, pooled


AIM = WidthAim()


@dataclass(frozen=True, slots=True, kw_only=True)
class Won:
    """What a rule wins on some questions."""

    rule: RaceRule
    questions: int
    right: float  # share of right races
    won: float  # over one thought
    low: float
    high: float
    harm: float  # right first thoughts spoiled
    bound: float  # of the net loss
    rows: float  # mean token rows of a request
    steps: float  # mean steps until the race is decided


def won(found: RacedQuestions, places: Sequence[int], seed: int) -> tuple[Won, ...]:
    """Returns what each rule wins on the questions at some places."""
    rng, mine = np.random.default_rng(seed), list(places)
    drawn = rng.integers(len(mine), size=(RESAMPLES, len(mine)))
    told = []
    for k, rule in enumerate(found.rules):
        gained = found.right[mine, k] - found.alone[mine]
        low, high = np.percentile(gained[drawn].mean(axis=1), (2.5, 97.5))
        told.append(
            Won(
                rule=rule,
                questions=len(mine),
                right=float(found.right[mine, k].mean()),
                won=float(gained.mean()),
                low=float(low),
                high=float(high),
                harm=float(found.harm[mine, k].mean()),
                bound=net_bound(-gained, DELTA / len(found.rules)),
                rows=float(found.rows[mine, k].mean()),
                steps=float(np.mean([np.mean(found.steps[n][k]) for n in mine])),
            )
        )
    return tuple(told)


def lines(title: str, alone: float, told: Sequence[Won]) -> list[str]:
    """Returns figures as lines."""
    found = [f"{title}: {told[0].questions:,} questions, one thought right {alone:.1%}"]
    found.append(f"  {'rule':<12}{'right':>8}{'won':>8}{'95 %':>16}{'harm':>8}{'net ≤':>8}{'rows':>8}{'steps':>8}")
    for one in told:
        name = f"{'vote' if one.rule.vote else 'first'} of {one.rule.width}"
        found.append(
            f"  {name:<12}{one.right:>8.1%}{100 * one.won:>+8.2f}{f'{100 * one.low:+.2f}…{100 * one.high:+.2f}':>16}"
            f"{100 * one.harm:>8.2f}{100 * one.bound:>+8.2f}{one.rows:>8.0f}{one.steps:>8.0f}"
        )
    return found


def main() -> None:
    """Replays the races of both kinds of requests, and tells whether the aim is met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--thoughts", type=Path, nargs="+", default=[RECORDS / "thoughts.jsonl.xz"])
    parser.add_argument("--replies", type=Path, nargs="+", default=[RECORDS / "replies.jsonl.xz"])
    parser.add_argument("--seed", type=int, default=0, help="draws the half that chooses; default: 0")
    parser.add_argument("--profile", type=Path, help="write the model's profile with the races tabulated, greedy, here")
    parser.add_argument("--out", type=Path, help="write the figures to this file, JSON")
    arguments = parser.parse_args()
    ran = report.circumstances("benchmarks.levers.width", arguments.seed)
    asked = asked_reasoner(bundled_model(), COUNT)
    seen = evidence(asked, read_thoughts(asked, arguments.thoughts), read_samples(asked, arguments.replies))
    places = seen.drawn.tolist()
    questions = raced_questions([seen.traces[place] for place in places], [seen.replies[place] for place in places])
    families = [seen.questions[place].benchmark for place in places]
    order = np.random.default_rng(arguments.seed).permutation(len(questions)).tolist()
    choosing, measuring = order[: len(order) // 2], order[len(order) // 2 :]
    results: dict[str, object] = {"aim": asdict(AIM)}
    for asked_at, title in ((0.0, "greedy requests"), (TEMPERATURE, f"requests at temperature {TEMPERATURE:g}")):
        found = raced(questions, rules(TEMPERATURE, asked_at))
        pooled = won(found, order, arguments.seed)
        print("\n".join(lines(title, float(found.alone.mean()), pooled)))
        by_family = {}
        for name in dict.fromkeys(families):
            mine = [n for n, family in enumerate(families) if family == name]
            by_family[name] = won(found, mine, arguments.seed)
            print("\n".join(lines(f"{title}, {name}", float(found.alone[mine].mean()), by_family[name])))
        chosen = max(enumerate(won(found, choosing, arguments.seed)), key=lambda pair: pair[1].won)[0]
        one = won(found, measuring, arguments.seed)[chosen]
        print(
            f"{'MET' if one.won >= AIM.won else 'MISSED'}, {title}: {'vote' if one.rule.vote else 'first'} of "
            f"{one.rule.width}, chosen on {len(choosing):,} questions, wins {100 * one.won:+.2f} points "
            f"({100 * one.low:+.2f}…{100 * one.high:+.2f}) on the other {one.questions:,} (aim {100 * AIM.won:+.1f})"
        )
        results[title] = {
            "pooled": [asdict(each) for each in pooled],
            "families": {name: [asdict(each) for each in mine] for name, mine in by_family.items()},
            "chosen": asdict(one),
        }
    if arguments.profile is not None:
        before = read_profile(profile_of(bundled_model()))
        told = [before.difficulty.classify(seen.traces[place].prompt) for place in places]
        tabulated = with_width(before, questions, told, rules(TEMPERATURE, 0.0))
        write_profile(arguments.profile, tabulated)
    if arguments.out is not None:
        report.write(arguments.out, ran, results)


if __name__ == "__main__":
    main()
