"""What giving hopeless thoughts up saves and costs, replayed on any calibration's records. Nothing is decoded.

The aim, stated before anything was measured (2026-11-30): on the hardest family, giving up saves at least 10 % of the
token rows, probes counted, and throws away at most 0.3 points of correctness; with 4,000 measured questions or more
the upper bound of what it throws away is at most 0.6 points.

How it is measured, stated with the aim:

- the hardest family is the one whose full thoughts are least often right;
- a seeded sample of each family's questions fits. Those of all families together tell difficulty classes and their
  median thoughts, which place the curve in tokens, as a profile does; those of the hardest family choose the curve: of
  the ladder the one that saves most among those that throw away at most 0.3 points on them (none: the lowest). The
  other questions measure;
- rows are compared at one threshold (`--threshold`, by default 0.95, no budget), with the curve and without it;
- thrown away is a question whose full thought is right, that the curve closes, and that is then answered wrongly;
- the bound is Clopper and Pearson's, one-sided at 95 %.

`python -m benchmarks.levers.give_up` takes the bundled model's records; `--model DIR` (and `--questions FILE`) those of
another calibration, whose questions tell the families; `--records FILE` alone any log, as one family, with probes
as long as the bundled model's. `--thoughts models/reasoner/records/thoughts.jsonl.xz` takes the bundled model's 20,000
fresh thoughts, 4,000 of each family, which `python -m benchmarks.reasoner thoughts` records.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.reasoner.aims import COUNT
from benchmarks.reasoner.asking import asked_reasoner
from benchmarks.reasoner.evidence import read_thoughts
from benchmarks.support import report
from controller.serving.trials import probe_spec
from engine.base import ProbeSpec
from experiments.calibration.grid import Grid, grid
from experiments.calibration.replayed_probe import closed_hopeless
from experiments.calibration.traces import ThoughtTrace, read_records, run_questions
from experiments.simulation.recording import read_calibration
from models.chat_model import load_chat_model
from models.profile.certificate import upper_bound
from models.profile.difficulty import CLASSES, Difficulty, learn
from models.profile.give_up import LADDER, GiveUpCurve, GiveUpLimit
from models.profile.profile import profile_of
from models.reasoner import bundled_model
from models.score import Score


@dataclass(frozen=True, slots=True, kw_only=True)
class GiveUpAim:
    """What giving up must do on the hardest family."""

    saved: float = 0.10  # least share of token rows
    lost: float = 0.003  # most correctness thrown away, share of the questions
    bound: float = 0.006  # most at the upper bound
    questions: int = 4000  # from which on the bound counts


AIM = GiveUpAim()


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenUp:
    """What a curve does to some questions at one threshold."""

    curve: GiveUpCurve
    questions: int
    closed: float  # share of thoughts that the curve closes
    rows: float  # mean token rows of a request without the curve
    saved: float  # share of them that the curve saves
    thrown_away: int  # questions with the full thought right, given up, and wrong
    lost: float  # share of the questions thrown away
    bound: float  # its upper bound
    change: float  # of accuracy against the same threshold without the curve, right answers that wrong ones became too


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """A family's questions, and what giving up does there."""

    name: str
    questions: int
    right: float  # share of full thoughts that are right
    ended: float  # share of full thoughts that end by themselves
    tokens: float  # mean of a full thought's reply
    fitted: tuple[GivenUp, ...]  # every curve of the ladder, on the fitting questions
    measured: tuple[GivenUp, ...]  # the same on the others
    chosen: int  # of the ladder, by the fitting questions


def traces_by_family(arguments: argparse.Namespace) -> tuple[dict[str, list[ThoughtTrace]], ProbeSpec]:
    """Returns the recorded full thoughts by family, and the probe that they were tried with."""
    directory = arguments.model or bundled_model()
    chat = load_chat_model(directory)
    spec = probe_spec(chat.thinking, chat.stop_tokens)
    if arguments.thoughts:
        return fresh_traces(directory, arguments.thoughts), spec
    if arguments.records is not None and not arguments.questions and arguments.model is None:
        return {"all": [*read_records(arguments.records).traces.values()]}, spec
    file = arguments.profile or profile_of(directory)
    known = read_calibration(chat, directory, file, records=arguments.records, files=arguments.questions)
    traces = known.log.of(run_questions(known.questions, arguments.questions)).traces
    found: dict[str, list[ThoughtTrace]] = {}
    for number, question in enumerate(known.questions):
        found.setdefault(question.benchmark, []).append(traces[number])
    return found, replace(spec, score=Score(known.profile.score))


def fresh_traces(directory: Path, files: Sequence[Path]) -> dict[str, list[ThoughtTrace]]:
    """Returns the full thoughts of a reasoner's fresh questions by family. Raises TraceError for another's files."""
    asked = asked_reasoner(directory, COUNT)
    found: dict[str, list[ThoughtTrace]] = {}
    for number, trace in sorted(read_thoughts(asked, files).traces.items()):
        found.setdefault(asked.questions[number].benchmark, []).append(trace)
    return found


def given_up(
    traces: Sequence[ThoughtTrace], limits: Sequence[GiveUpLimit], threshold: float, spec: ProbeSpec, without: Grid
) -> GivenUp:
    """Returns what a curve does; `limits`: each trace's, of the same curve; `without`: the grid without one."""
    found = grid(traces, {}, [threshold], [], spec, limits)
    served = replace(spec, give_up_below=threshold)
    closed = np.array([closed_hopeless(one.probes, served, limit) for one, limit in zip(traces, limits, strict=True)])
    full = np.array([one.right for one in traces])
    right, rows, before = found.right[:, 1, 0], found.tokens[:, 1, 0], without.tokens[:, 1, 0]
    thrown, count = int((full & closed & ~right).sum()), len(traces)
    return GivenUp(
        curve=limits[0].curve,
        questions=count,
        closed=float(closed.mean()),
        rows=float(before.mean()),
        saved=1.0 - float(rows.mean() / before.mean()),
        thrown_away=thrown,
        lost=thrown / count,
        bound=upper_bound(thrown, count, 0.05),
        change=float(right.mean() - without.right[:, 1, 0].mean()),
    )


def ladder(
    traces: Sequence[ThoughtTrace], classes: Sequence[str], medians: Mapping[str, float], threshold: float,
    spec: ProbeSpec,
) -> tuple[GivenUp, ...]:  # fmt: skip
    """Returns what every curve of the ladder does to these thoughts, whose classes are told."""
    without = grid(traces, {}, [threshold], [], spec)
    return tuple(
        given_up(traces, [GiveUpLimit(curve=curve, median=medians[name]) for name in classes], threshold, spec, without)
        for curve in LADDER
    )


def drawn(traces: Sequence[ThoughtTrace], fit: int, seed: int) -> tuple[list[ThoughtTrace], list[ThoughtTrace]]:
    """Returns a seeded sample of `fit` thoughts, at most half, and the others."""
    mine = [traces[place] for place in np.random.default_rng(seed).permutation(len(traces))]
    count = min(fit, len(mine) // 2)
    return mine[:count], mine[count:]


def placed(fitting: Sequence[ThoughtTrace]) -> tuple[Difficulty, dict[str, float]]:
    """Returns a classifier learnt from these thoughts, and the classes' medians, tokens."""
    lengths = np.array([max(1, len(one.thought)) for one in fitting])
    learned = learn([one.prompt for one in fitting], lengths.tolist())
    mine = {name: np.array([one == name for one in learned.observed]) for name in CLASSES}
    return learned.difficulty, {
        name: float(np.median(lengths[member] if member.any() else lengths)) for name, member in mine.items()
    }


def family(
    name: str,
    fitting: Sequence[ThoughtTrace],
    measuring: Sequence[ThoughtTrace],
    spec: ProbeSpec,
    *,
    threshold: float,
    difficulty: Difficulty,
    medians: Mapping[str, float],
) -> Family:
    """Chooses a curve on some of a family's questions, and measures on the others."""
    mine = [*fitting, *measuring]
    told = [difficulty.classify(one.prompt) for one in mine]
    fitted = ladder(fitting, told[: len(fitting)], medians, threshold, spec)
    allowed = [place for place, one in enumerate(fitted) if one.lost <= AIM.lost]
    return Family(
        name=name,
        questions=len(mine),
        right=float(np.mean([one.right for one in mine])),
        ended=float(np.mean([one.ended for one in mine])),
        tokens=float(np.mean([one.tokens for one in mine])),
        fitted=fitted,
        measured=ladder(measuring, told[len(fitting) :], medians, threshold, spec),
        chosen=max(allowed, key=lambda place: fitted[place].saved, default=0),
    )


def verdict(hardest: Family) -> list[str]:
    """Returns whether the aim is met on the hardest family, in sentences."""
    one = hardest.measured[hardest.chosen]
    counts = one.questions >= AIM.questions
    met = one.saved >= AIM.saved and one.lost <= AIM.lost and (not counts or one.bound <= AIM.bound)
    bound = "" if counts else f"; the bound does not count below {AIM.questions:,} questions"
    return [
        f"The hardest family is {hardest.name}: full thoughts are right {hardest.right:.1%} of the time.",
        f"{'MET' if met else 'MISSED'}: {one.saved:+.1%} of the rows saved (aim {AIM.saved:.0%}), {100 * one.lost:.2f} "
        f"points thrown away (aim {100 * AIM.lost:.1f}), at most {100 * one.bound:.2f} by the upper bound (aim "
        f"{100 * AIM.bound:.1f}), on {one.questions:,} questions{bound}.",
    ]


def told(one: Family) -> list[str]:
    """Returns a family's figures as lines."""
    lines = [
        f"{one.name}: {one.questions} questions, full thought right {one.right:.1%}, ended {one.ended:.1%}, "
        f"{one.tokens:.0f} tokens",
        f"  {'curve':<14}{'closed':>8}{'rows':>8}{'saved':>8}{'lost':>8}{'bound':>8}{'change':>8}",
    ]
    for place, each in enumerate(one.measured):
        curve = f"{each.curve.height:g} / {each.curve.rise:g}{' *' if place == one.chosen else ''}"
        lines.append(
            f"  {curve:<14}{each.closed:>8.1%}{each.rows:>8.1f}{each.saved:>8.1%}{100 * each.lost:>8.2f}"
            f"{100 * each.bound:>8.2f}{100 * each.change:>+8.2f}"
        )
    return lines


def main() -> None:
    """Measures every family, and tells whether the hardest one meets the aim."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="the model's directory; default: the bundled one")
    parser.add_argument("--profile", type=Path, help="its profile; default: the one beside the model")
    parser.add_argument("--records", type=Path, help="the calibration's log; default: the one beside the profile")
    parser.add_argument("--questions", type=Path, action="append", default=[], help="files of the questions")
    parser.add_argument("--thoughts", type=Path, nargs="+", default=[], help="files of a reasoner's fresh thoughts")
    parser.add_argument("--threshold", type=float, default=0.95, help="confidence; default: 0.95")
    parser.add_argument(
        "--fit", type=int, default=400, help="a family's questions that fit, at most half; default: 400"
    )
    parser.add_argument("--seed", type=int, default=0, help="draws the questions that fit; default: 0")
    parser.add_argument("--out", type=Path, help="write the figures to this file, JSON")
    arguments = parser.parse_args()
    ran = report.circumstances("benchmarks.levers.give_up", arguments.seed)
    traces, spec = traces_by_family(arguments)
    parts = {name: drawn(mine, arguments.fit, arguments.seed) for name, mine in traces.items()}
    difficulty, medians = placed([one for fitting, _ in parts.values() for one in fitting])
    found = [
        family(name, *mine, spec, threshold=arguments.threshold, difficulty=difficulty, medians=medians)
        for name, mine in parts.items()
    ]
    hardest = min(found, key=lambda one: one.right)
    print("Median thoughts: " + ", ".join(f"{name} {tokens:.0f} tokens" for name, tokens in medians.items()))
    for one in found:
        print("\n".join(told(one)))
    print(
        "  curve: height / rise in medians, * chosen by the fitting questions; closed: thoughts given up; rows: of a\n"
        "  request without the curve; saved: of these; lost, bound: points thrown away, at most; change: of accuracy"
    )
    print("\n".join(verdict(hardest)))
    if arguments.out is not None:
        report.write(arguments.out, ran, {"aim": asdict(AIM), "families": [asdict(one) for one in found]})


if __name__ == "__main__":
    main()
