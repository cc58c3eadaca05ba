"""What answering at once saves and costs: a learned switch, replayed on recorded thoughts. Nothing is decoded.

The aims, stated before any switch was learnt (2026-11-30; each family's share of right answers without thought was
known), for prompts of all families mixed alike:

- at one threshold (`--threshold`, by default 0.95, no budget), the switch saves at least 3 % of the token rows, probes
  counted, and costs at most 0.3 points of accuracy (point estimate; change of the share of right answers);
- beside the full thought, without threshold and budget, some cut-off of the ladder is certified at a risk of 3 % with
  95 % confidence on the measuring questions, all columns of cut-offs counted, and saves at least 3 % of the rows;
- the switch tells more than the family does: at the cut-off that is chosen it answers fewer questions at once whose
  full thought is right and whose direct answer is wrong than a switch would that answers as many at once, drawn at
  random from the family with the most of them.

How it is measured, stated with the aims:

- a seeded half of each family's questions fits: the switch, and by cross-fitted scores the cut-off that saves the most
  rows among those of the ladder that cost at most 0.3 points; the other half measures;
- intervals are 95 % bootstrap intervals (2,000 draws of the measuring questions, each with its rows and answers with
  and without the switch);
- rows of an answer without thought are those that are decoded: the landing stands in the prompt.

`python -m benchmarks.levers.no_thought --thoughts models/reasoner/records/thoughts.jsonl.xz` takes the bundled model's
20,000 fresh thoughts, 4,000 of each family, and its answers to them without thought.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.reasoner.aims import COUNT
from benchmarks.reasoner.asking import asked_reasoner
from benchmarks.reasoner.evidence import read_thoughts
from benchmarks.support import report
from experiments.calibration.grid import Grid, grid
from experiments.calibration.no_thought import DirectAnswers, with_cut_off
from experiments.calibration.traces import ThoughtTrace
from models.profile.certificate import upper_bound
from models.profile.levers.ladder import certify_levels
from models.profile.levers.no_thought_tables import CUT_OFFS
from models.profile.levers.switch import learn_switch
from models.reasoner import bundled_model

DRAWS = 2_000
EPSILON, DELTA = 0.03, 0.05

Truths = npt.NDArray[np.bool_]
Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class NoThoughtAim:
    """What answering at once must do."""

    saved: float = 0.03  # least share of token rows
    lost: float = 0.003  # most accuracy lost, share of the questions


AIM = NoThoughtAim()


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """An estimate and its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AnsweredAtOnce:
    """What a cut-off does to some questions beside one threshold."""

    cut_off: float
    questions: int
    skipped: float  # share that is answered at once
    saved: Interval  # share of the rows
    lost: Interval  # accuracy, share of the questions
    harmed: int  # answered at once, the full thought right and the direct answer wrong
    bound: float  # of its share: Clopper and Pearson's, one-sided at 95 %


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Half:
    """Some questions, with what they cost and gain."""

    families: tuple[str, ...]  # of each question
    traces: tuple[ThoughtTrace, ...]
    plain: Grid
    direct: DirectAnswers

    @property
    def full(self) -> Truths:
        """Whether each full thought is right."""
        return self.plain.right[:, 0, 0]

    @property
    def harmful(self) -> Truths:
        """Whether the full thought is right and the answer without thought wrong."""
        return self.full & ~self.direct.right


def interval(value: float, draws: Array) -> Interval:
    """Returns an estimate with the interval that its draws give."""
    low, high = np.quantile(draws, (0.025, 0.975))
    return Interval(value=value, low=float(low), high=float(high))


def at_once(half: Half, scores: Array, cut_off: float, place: int, mine: Truths, seed: int) -> AnsweredAtOnce:
    """Returns what a cut-off does at the threshold at `place` to the questions `mine`."""
    skipped = scores >= cut_off
    found = with_cut_off(half.plain, half.direct, skipped)
    before, rows = (each.tokens[mine, place, 0].astype(np.float64) for each in (half.plain, found))
    lost = half.plain.right[mine, place, 0].astype(np.float64) - found.right[mine, place, 0]
    count, rng = int(mine.sum()), np.random.default_rng(seed)
    drawn = [rng.integers(count, size=count) for _ in range(DRAWS)]
    harmed = int((skipped & half.harmful)[mine].sum())
    return AnsweredAtOnce(
        cut_off=cut_off,
        questions=count,
        skipped=float(skipped[mine].mean()),
        saved=interval(
            1.0 - rows.mean() / before.mean(), np.array([1.0 - rows[d].sum() / before[d].sum() for d in drawn])
        ),
        lost=interval(float(lost.mean()), np.array([lost[d].mean() for d in drawn])),
        harmed=harmed,
        bound=upper_bound(harmed, count, 0.05),
    )


def halves(arguments: argparse.Namespace) -> tuple[Half, Half]:
    """Returns the half that fits and the half that measures, seeded, of each family."""
    asked = asked_reasoner(arguments.model or bundled_model(), COUNT)
    log = read_thoughts(asked, arguments.thoughts)
    by_family: dict[str, list[ThoughtTrace]] = {}
    for number, trace in sorted(log.traces.items()):
        by_family.setdefault(asked.questions[number].benchmark, []).append(trace)
    parts: tuple[list[tuple[str, ThoughtTrace]], list[tuple[str, ThoughtTrace]]] = ([], [])
    for name, mine in by_family.items():
        order = np.random.default_rng(arguments.seed).permutation(len(mine))
        for rank, place in enumerate(order.tolist()):
            parts[rank >= len(mine) // 2].append((name, mine[place]))
    landing = len(asked.chat.thinking.landing)
    first, second = (
        Half(
            families=tuple(name for name, _ in part),
            traces=tuple(trace for _, trace in part),
            plain=grid([trace for _, trace in part], log.closings, [arguments.threshold], [], asked.spec),
            direct=DirectAnswers.of([trace for _, trace in part], log.closings, landing),
        )
        for part in parts
    )
    return first, second


def chosen(fitted: Sequence[AnsweredAtOnce]) -> int:
    """Returns the cut-off that saves most among those that cost at most the aim; none: the strictest."""
    allowed = [place for place, one in enumerate(fitted) if one.lost.value <= AIM.lost]
    return max(allowed, key=lambda place: fitted[place].saved.value, default=0)


def certified(half: Half, scores: Array) -> tuple[int, list[float], list[bool]]:
    """Returns how many cut-offs are certified beside the full thought, all bounds, and which."""
    harmed = [half.plain.harmed[:, :1, :1].sum(axis=0)]
    harmed += [with_cut_off(half.plain, half.direct, scores >= cut).harmed[:, :1, :1].sum(axis=0) for cut in CUT_OFFS]
    bounds, safe = certify_levels(np.stack(harmed), len(scores), EPSILON, DELTA)
    return int(safe[1:].sum()), bounds[1:, 0, 0].tolist(), safe[1:, 0, 0].tolist()


def told(name: str, rows: Sequence[AnsweredAtOnce], picked: int) -> list[str]:
    """Returns figures as lines."""
    lines = [f"{name}:", f"  {'cut-off':<10}{'at once':>9}{'saved':>26}{'lost, points':>26}{'harmed':>8}{'bound':>8}"]
    for place, one in enumerate(rows):
        saved = f"{one.saved.value:.2%} ({one.saved.low:.2%}..{one.saved.high:.2%})"
        lost = f"{100 * one.lost.value:.2f} ({100 * one.lost.low:.2f}..{100 * one.lost.high:.2f})"
        cut = f"{one.cut_off:g}{' *' if place == picked else ''}"
        lines.append(f"  {cut:<10}{one.skipped:>9.1%}{saved:>26}{lost:>26}{one.harmed:>8}{100 * one.bound:>8.2f}")
    return lines


def verdict(name: str, met: bool, said: str) -> str:
    """Returns whether an aim is met, as a line."""
    return f"{'MET' if met else 'MISSED'}, {name}: {said}"


def main() -> None:
    """Fits the switch on half of the questions, measures it on the others, and tells whether the aims are met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="the model's directory; default: the bundled one")
    parser.add_argument("--thoughts", type=Path, nargs="+", required=True, help="files of a reasoner's fresh thoughts")
    parser.add_argument("--threshold", type=float, default=0.95, help="confidence; default: 0.95")
    parser.add_argument("--seed", type=int, default=0, help="draws the questions that fit; default: 0")
    parser.add_argument("--out", type=Path, help="write the figures to this file, JSON")
    arguments = parser.parse_args()
    ran = report.circumstances("benchmarks.levers.no_thought", arguments.seed)
    fitting, measuring = halves(arguments)
    learned = learn_switch([one.prompt for one in fitting.traces], (~fitting.harmful).tolist())
    scores = np.array([learned.switch.score(one.prompt) for one in measuring.traces])
    every, seed = np.ones(len(fitting.traces), dtype=np.bool_), arguments.seed
    fitted = {
        place: [at_once(fitting, learned.scores, cut, place, every, seed) for cut in CUT_OFFS] for place in (0, 1)
    }
    picked = chosen(fitted[1])
    every = np.ones(len(measuring.traces), dtype=np.bool_)
    names = np.array(measuring.families)
    pooled = {place: [at_once(measuring, scores, cut, place, every, seed) for cut in CUT_OFFS] for place in (0, 1)}
    families = {
        str(name): [at_once(measuring, scores, cut, 1, names == name, seed) for cut in CUT_OFFS]
        for name in dict.fromkeys(names.tolist())
    }
    print("\n".join(told(f"All families, at {arguments.threshold:g}", pooled[1], picked)))
    print("\n".join(told("All families, beside the full thought", pooled[0], chosen(fitted[0]))))
    for name, rows in families.items():
        print("\n".join(told(f"{name}, at {arguments.threshold:g}", rows, picked)))
    count, bounds, safe = certified(measuring, scores)
    one = pooled[1][picked]
    best = max((pooled[0][place].saved.value for place in range(len(CUT_OFFS)) if safe[place]), default=0.0)
    most = max(families, key=lambda name: families[name][picked].skipped)
    by_chance = one.skipped * len(names) * float(measuring.harmful[names == most].mean())
    lines = [
        verdict(
            "saved",
            one.saved.value >= AIM.saved and one.lost.value <= AIM.lost,
            f"{one.saved.value:.2%} of the rows (aim {AIM.saved:.0%}) for {100 * one.lost.value:.2f} points (aim "
            f"at most {100 * AIM.lost:.1f}), at a cut-off of {one.cut_off:g} on {one.questions:,} questions.",
        ),
        verdict(
            "certified",
            count > 0 and best >= AIM.saved,
            f"{count} of {len(CUT_OFFS)} cut-offs at a risk of {EPSILON:g}, which save up to {best:.2%} beside the "
            f"full thought; upper bounds {', '.join(f'{bound:.2%}' for bound in bounds)}.",
        ),
        verdict(
            "tells more than the family",
            one.harmed < by_chance,
            f"{one.harmed} harmed of {one.skipped * len(names):.0f} answered at once; as many drawn from {most}: "
            f"{by_chance:.0f}.",
        ),
    ]
    print("\n".join(lines))
    if arguments.out is not None:
        results = {
            "aim": asdict(AIM),
            "cut_off": one.cut_off,
            "pooled": [asdict(each) for each in pooled[1]],
            "beside_full": [asdict(each) for each in pooled[0]],
            "families": {name: [asdict(each) for each in rows] for name, rows in families.items()},
            "bounds": bounds,
            "certified": safe,
            "verdicts": lines,
        }
        report.write(arguments.out, ran, results)


if __name__ == "__main__":
    main()
