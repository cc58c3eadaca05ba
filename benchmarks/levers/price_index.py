"""What closing thoughts by a price saves against class thresholds at the same accuracy, replayed on fresh questions.

The aim, stated before anything was measured on the fresh questions (2026-11-30; a script that is not kept had tried
forms of the index on halves of the calibration's 5,000 questions, where they saved 4 to 6 %): pooled, at accuracies
0.3, 1 and 2 points below the full thought's, the price index saves at least 3 % of the token rows of class thresholds,
with the lower end of the interval above 0; at 5 points below it costs at most 1 %; and at 1 point below it costs at
most 3 % in any family that thresholds bring there.

How it is measured, stated with the aim:

- the calibration's 5,000 questions fit: the index, with its prior chosen by cross-validation, and the class thresholds:
  at each price of the ladder the threshold of each class that gains most there, right answers less what rows cost;
- the 20,000 fresh thoughts measure, 4,000 of each family, which neither arm has seen; classes are as the profile's
  classifier tells them from prompts;
- rows are token rows of a request as served, probes that give up early among them; nothing is closed by a budget;
- at an accuracy each arm has the rows of its best mixture of points (the concave hull) on the fresh questions; a
  family's hull is its own, of the same points;
- intervals are bootstrap percentiles at 95 %, questions drawn with replacement, both arms and the full thought's
  accuracy anew on each draw (`--seed`).

Besides: what a certificate at 3 % allows on the fresh questions, any exit at the price or a lower one counted, by
fixed-sequence testing at 95 %, against the laxest threshold that it allows.

    python -m benchmarks.levers.price_index
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.levers.give_up import fresh_traces
from benchmarks.support import report
from controller.serving.trials import probe_spec
from engine.base import ProbeSpec
from experiments.calibration.pricing.index import PRICES, FittedIndex, fit
from experiments.calibration.replayed_probe import ReplayedProbe
from experiments.calibration.traces import ThoughtTrace, run_questions
from experiments.evaluation.sweeps import ENDING, THRESHOLDS, score_of
from experiments.simulation.recording import read_calibration
from models.chat_model import load_chat_model
from models.profile.certificate import upper_bound
from models.profile.difficulty import learn
from models.profile.profile import Profile, profile_of
from models.profile.tables import prune_hull
from models.reasoner import bundled_model
from models.score import Score

Array = npt.NDArray[np.float64]
Bar = Callable[[int], float | None]  # confidence that closes a thought of so many tokens; None: none does

LOSSES = (0.003, 0.01, 0.02, 0.05)  # of the full thought's accuracy
LADDER = tuple(float(price) for price in np.geomspace(0.004, 2.4, 16))  # of a row, right answers a median thought
RISK, DELTA = 0.03, 0.05
THOUGHTS = Path("models/reasoner/records/thoughts.jsonl.xz")


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceIndexAim:
    """What closing by a price must do."""

    saved: float = 0.03  # least share of rows, pooled, at the first three losses
    lax: float = -0.01  # at the last loss
    family: float = -0.03  # in any family, at the second loss


AIM = PriceIndexAim()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Replies:
    """What some questions' replies are at each point of an arm, [question, point]."""

    right: Array
    rows: Array
    harmed: Array  # the full thought is right, and some exit at the point or a stricter one is wrong


@dataclass(frozen=True, slots=True, kw_only=True)
class RowsSaved:
    """Rows at one accuracy. None: out of reach of an arm."""

    loss: float  # of the full thought's accuracy
    thresholds: float | None  # mean rows
    index: float | None
    saved: float | None  # share of the thresholds' rows
    low: float | None  # of its interval
    high: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AllowedPoint:
    """The laxest certified point of an arm."""

    place: int  # 0: nothing is certified
    harmed: int
    bound: float
    accuracy: float
    rows: float


class ReplayedArm:
    """Replays thoughts at bars, as served: probes give up once they cannot clear the bar."""

    def __init__(self, spec: ProbeSpec) -> None:
        self._spec = spec
        self._at: dict[float, ProbeSpec] = {}

    def reply(self, one: ThoughtTrace, bar: Bar | None) -> tuple[bool, int, bool]:
        """Returns whether the reply is right, its token rows, and whether any exit under the bar spoils it.

        `bar` None: the thought is not probed.
        """
        if bar is None:
            return one.right, one.tokens, False
        found: tuple[bool, int] | None = None
        spent, wrong = 0, False
        for seen in one.probes:
            least = bar(seen.thought_tokens)
            closes = least is not None and score_of(seen, self._spec.score) >= least
            wrong |= closes and not seen.right
            if found is not None:
                continue
            given_up = None if closes else self._below(1.0 if least is None else least).gives_up(seen.log_probs)
            rows = seen.rows if given_up is None else len(self._spec.suffix) + given_up - 1
            if closes:
                beyond = ReplayedProbe(seen=seen, rows=rows, closes=True, stands=seen).beyond
                found = seen.right, seen.thought_tokens + beyond + ENDING + rows + spent
            spent += rows
        if found is None:
            found = one.right, one.rows - sum(probe.rows for probe in one.probes) + spent
        return *found, wrong and one.right

    def _below(self, confidence: float) -> ProbeSpec:
        if confidence not in self._at:
            self._at[confidence] = replace(self._spec, give_up_below=confidence)
        return self._at[confidence]


def replies(traces: Sequence[ThoughtTrace], bars: Sequence[Sequence[Bar | None]], spec: ProbeSpec) -> Replies:
    """Returns the replies at each trace's bars, strictest first."""
    arm = ReplayedArm(spec)
    found = np.array(
        [[arm.reply(one, bar) for bar in mine] for one, mine in zip(traces, bars, strict=True)], dtype=np.float64
    )
    harmed = np.maximum.accumulate(found[:, :, 2], axis=1)
    return Replies(right=found[:, :, 0], rows=found[:, :, 1], harmed=harmed)


def constants() -> list[Bar | None]:
    """Returns no probing, then the bars of the thresholds, strictest first."""

    def bar(threshold: float) -> Bar:
        return lambda _: threshold

    return [None, *map(bar, sorted(THRESHOLDS, reverse=True))]


def class_thresholds(tried: Replies, member: npt.NDArray[np.bool_], prices: Sequence[float]) -> npt.NDArray[np.intp]:
    """Returns [price, class]: the threshold that gains most on these replies, which are at every threshold."""
    means = [(tried.right[mine].mean(axis=0), tried.rows[mine].mean(axis=0)) for mine in member]
    return np.array([[int((right - price * rows).argmax()) for right, rows in means] for price in prices])


def rows_at(accuracy: Array, rows: Array, wanted: float) -> float | None:
    """Returns the fewest rows of a mixture of points with this accuracy; None: no point reaches it."""
    hull = prune_hull(rows, accuracy)
    if not len(hull) or accuracy[hull[-1]] < wanted:
        return None
    return float(np.interp(wanted, accuracy[hull], rows[hull]))


def saved(
    full: Array, thresholds: Replies, index: Replies, rng: np.random.Generator, draws: int
) -> tuple[RowsSaved, ...]:
    """Compares two arms on some questions at each loss; `full`: whether their full thoughts are right."""
    tables = (full, thresholds.right, thresholds.rows, index.right, index.rows)

    def compared(weights: Array) -> list[tuple[float | None, float | None]]:
        right, *points = (weights @ table for table in tables)
        reached = float(right)
        return [
            (rows_at(points[0], points[1], reached - loss), rows_at(points[2], points[3], reached - loss))
            for loss in LOSSES
        ]

    count = len(full)
    measured = compared(np.full(count, 1.0 / count))
    drawn = [compared(rng.multinomial(count, np.full(count, 1.0 / count)) / count) for _ in range(draws)]
    found = []
    for k, (loss, (usual, priced)) in enumerate(zip(LOSSES, measured, strict=True)):
        shares = [1.0 - b / a for a, b in (each[k] for each in drawn) if a is not None and b is not None]
        whole = usual is not None and priced is not None and len(shares) >= 0.9 * draws
        low, high = (float(np.percentile(shares, at)) if whole else None for at in (2.5, 97.5))
        share = None if usual is None or priced is None else 1.0 - priced / usual
        found.append(RowsSaved(loss=loss, thresholds=usual, index=priced, saved=share, low=low, high=high))
    return tuple(found)


def allowed(arm: Replies) -> AllowedPoint:
    """Returns the laxest point that fixed-sequence testing certifies; its first point is the full thought."""
    place = 0
    for k in range(1, arm.right.shape[1]):
        if upper_bound(int(arm.harmed[:, k].sum()), len(arm.harmed), DELTA) > RISK:
            break
        place = k
    harmed = int(arm.harmed[:, place].sum())
    return AllowedPoint(
        place=place,
        harmed=harmed,
        bound=upper_bound(harmed, len(arm.harmed), DELTA) if place else 0.0,
        accuracy=float(arm.right[:, place].mean()),
        rows=float(arm.rows[:, place].mean()),
    )


def fitted(arguments: argparse.Namespace) -> tuple[Profile, FittedIndex, npt.NDArray[np.intp], ProbeSpec]:
    """Returns profile, index, class thresholds [price, class] as places in `constants`, and the probe."""
    directory = bundled_model()
    chat = load_chat_model(directory)
    known = read_calibration(chat, directory, arguments.profile or profile_of(directory))
    log = known.log.of(run_questions(known.questions))
    traces = [log.traces[number] for number in sorted(log.traces)]
    spec = probe_spec(chat.thinking, chat.stop_tokens, Score(known.profile.score))
    told = learn([one.prompt for one in traces], [max(1, len(one.thought)) for one in traces]).observed
    member = np.array([[name == each for each in told] for name in known.profile.classes])
    found = fit(traces, member, set(log.traces), known.profile.classes, spec)
    tried = replies(traces, [constants()] * len(traces), spec)
    return known.profile, found, class_thresholds(tried, member, ladder(found)), spec


def ladder(found: FittedIndex) -> list[float]:
    """Returns the benchmark's prices of a row, rising: LADDER in the unit that the fit's prices are in."""
    return [price * found.prices[0] / PRICES[0] for price in LADDER]


def arms(
    profile: Profile, found: FittedIndex, thresholds: npt.NDArray[np.intp], traces: Sequence[ThoughtTrace],
    spec: ProbeSpec,
) -> dict[str, Replies]:  # fmt: skip
    """Returns both arms' replies at each price, the full thought first, and those at each threshold for everybody."""
    classes = {name: place for place, name in enumerate(profile.classes)}
    places = [classes[profile.difficulty.classify(one.prompt)] for one in traces]
    prices = ladder(found)
    by_price = [[None, *(found.index.limit(d, price).bar for price in prices)] for d in classes.values()]
    usual = replies(traces, [constants()] * len(traces), spec)
    chosen = np.array([[0, *thresholds[:, d]] for d in places])
    at = np.arange(len(traces))[:, None]
    return {
        "thresholds": Replies(right=usual.right[at, chosen], rows=usual.rows[at, chosen], harmed=usual.harmed),
        "index": replies(traces, [by_price[d] for d in places], spec),
        "constants": usual,
    }


def told(name: str, found: Sequence[RowsSaved]) -> list[str]:
    """Returns a table of savings as lines."""
    lines = [name, f"  {'points lost':<14}{'thresholds':>12}{'index':>10}{'saved':>9}   95 %"]
    for one in found:
        if one.thresholds is None or one.index is None or one.saved is None:
            lines.append(f"  {100 * one.loss:<14g}out of reach")
            continue
        interval = "" if one.low is None or one.high is None else f"   {one.low:+.1%} to {one.high:+.1%}"
        lines.append(f"  {100 * one.loss:<14g}{one.thresholds:>12.1f}{one.index:>10.1f}{one.saved:>+9.1%}{interval}")
    return lines


def verdict(pooled: Sequence[RowsSaved], families: Mapping[str, Sequence[RowsSaved]]) -> str:
    """Returns whether the aim is met, in a sentence."""
    strict = all(
        one.saved is not None and one.saved >= AIM.saved and one.low is not None and one.low > 0.0 for one in pooled[:3]
    )
    lax = pooled[3].saved is not None and pooled[3].saved >= AIM.lax
    worst = [name for name, found in families.items() if (found[1].saved or 0.0) < AIM.family]
    said = "MET" if strict and lax and not worst else "MISSED"
    return (
        f"{said}: pooled {'at least' if strict else 'not everywhere at least'} {AIM.saved:.0%} at the first three "
        f"losses with the interval above 0, {'within' if lax else 'beyond'} {AIM.lax:+.0%} at the last; families that "
        f"lose more than {-AIM.family:.0%} at {100 * LOSSES[1]:g} point: {', '.join(worst) or 'none'}"
    )


def main() -> None:
    """Measures both arms pooled and in each family, and tells whether the aim is met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", type=Path, help="the bundled model's profile; default: the one beside it")
    parser.add_argument("--thoughts", type=Path, nargs="+", default=[THOUGHTS], help="files of fresh thoughts")
    parser.add_argument("--draws", type=int, default=400, help="of the bootstrap; default: 400")
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap; default: 0")
    parser.add_argument("--out", type=Path, help="write the figures to this file, JSON")
    arguments = parser.parse_args()
    ran = report.circumstances("benchmarks.levers.price_index", arguments.seed)
    profile, found, thresholds, spec = fitted(arguments)
    by_family = fresh_traces(bundled_model(), arguments.thoughts)
    traces = [one for mine in by_family.values() for one in mine]
    names = np.array([name for name, mine in by_family.items() for _ in mine])
    replied = arms(profile, found, thresholds, traces, spec)
    full, rng = np.array([float(one.right) for one in traces]), np.random.default_rng(arguments.seed)

    def measured(mine: npt.NDArray[np.bool_]) -> tuple[RowsSaved, ...]:
        of = {
            name: Replies(right=a.right[mine], rows=a.rows[mine], harmed=a.harmed[mine]) for name, a in replied.items()
        }
        return saved(full[mine], of["thresholds"], of["index"], rng, arguments.draws)

    pooled = measured(np.ones(len(traces), dtype=np.bool_))
    families = {name: measured(names == name) for name in by_family}
    certified = {name: allowed(replied[name]) for name in ("constants", "index")}
    print(f"Fitted on {found.fitted:,} questions, prior of {found.pseudo:g} probes; measured on {len(traces):,}")
    for name, mine in {"pooled": pooled, **families}.items():
        print("\n".join(told(name, mine)))
    for name, one in certified.items():
        print(
            f"certified at {RISK:.0%}, {name}: point {one.place}, {one.harmed} harmed, at most {one.bound:.2%}; "
            f"accuracy {one.accuracy:.2%}, {one.rows:.1f} rows"
        )
    print(verdict(pooled, families))
    if arguments.out is not None:
        figures = {"pooled": pooled, **families}
        said = {name: [asdict(one) for one in mine] for name, mine in figures.items()}
        report.write(
            arguments.out,
            ran,
            {"aim": asdict(AIM), "saved": said, "certified": {n: asdict(c) for n, c in certified.items()}},
        )


if __name__ == "__main__":
    main()
