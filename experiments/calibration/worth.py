"""What a certificate is worth, in words: what it saves, what load-aware serving does with it, what more would take."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from controller.policies.fixed import FixedThreshold
from experiments.calibration.looks import looks_of
from experiments.calibration.summary import allowed
from experiments.sentences import between, percent
from experiments.table import Table, lines_of, texts
from models.profile.certificate import Certificate, upper_bound
from models.profile.contest import CONSTANT, FULL, LOAD_AWARE, LoadContest, PlayedPolicy, PolicyContest, constant_words
from models.profile.profile import Profile

USEFUL = 0.02  # of the full thought's tokens: what a further threshold or budget must save to be worth telling
USUAL = FixedThreshold().threshold  # serves a model without a profile
FAR = 100  # times the questions of a certificate: what takes more is out of reach


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """A corner of the table that is not certified, and what certifying it would take and give."""

    threshold: float | None
    budget: int | None
    saved: float  # share of the full thought's tokens
    more: int | None  # questions; None: at the observed rate no number is enough


def more_questions(certificate: Certificate, threshold: int, budget: int) -> int | None:
    """Returns about how many more questions would certify a corner, by its places in the table.

    Estimated: the share of harmed questions stays as observed. None: at that share the bound never falls to the risk,
    or only beyond FAR times the questions.
    """
    count, risk = certificate.count, certificate.epsilon
    share, delta = certificate.harmed[threshold][budget] / count, certificate.delta / len(certificate.harmed[0])

    def enough(questions: int) -> bool:
        return upper_bound(round(share * questions), questions, delta) <= risk

    if share >= risk or not enough(FAR * count):
        return None
    low, high = count, FAR * count
    while high - low > max(1, low // 200):
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return max(1, high - count)


def saved(profile: Profile) -> npt.NDArray[np.float64]:
    """Returns the share of full thoughts' tokens that each corner saves in the mix measured: [threshold, budget]."""
    tokens = np.average(np.array(profile.tokens), axis=0, weights=profile.counts)
    return np.asarray(1.0 - tokens / tokens[0, 0])


def reaches(profile: Profile) -> Iterator[Reach]:
    """Yields the next useful threshold without a budget, USUAL, and the next useful budget without a threshold."""
    thresholds = [(i, 0) for i in range(len(profile.thresholds))]
    budgets = [(0, j) for j in range(len(profile.budgets))]
    further = _further(profile, thresholds)
    usual = [corner for corner in further if profile.thresholds[corner[0]] == USUAL]
    for i, j in sorted({*further[:1], *usual}) + _further(profile, budgets)[:1]:
        yield Reach(
            threshold=profile.thresholds[i],
            budget=profile.budgets[j],
            saved=float(saved(profile)[i, j]),
            more=more_questions(profile.certificate, i, j),
        )


def _further(profile: Profile, corners: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Returns those of the corners that are not certified, and save USEFUL more than any that is."""
    table, saves = np.array(profile.certificate.certified), saved(profile)
    now = float(saves[table].max())
    return [corner for corner in corners if not table[corner] and saves[corner] >= now + USEFUL]


def worth(profile: Profile, *, alone: bool = False) -> str:
    """Returns what the profile's certificate is worth, as text; `alone`: the profile's summary does not stand above.

    The summary tells what certified exits save, so this tells it only if it stands alone.
    """
    if profile.refused is not None:
        return "What this is worth: nothing yet. `laser serve` gives full thoughts."
    told = [*([allowed(profile)] if alone else []), *_serves(profile.contest), *_looks(profile), *_more(profile)]
    return "\n".join(["What this is worth", *lines_of(told)])


def _serves(contest: PolicyContest | None) -> Iterator[str]:
    if contest is None:
        yield "How policies would serve is not simulated yet; `laser calibrate --from-records` does it."
        return
    server = CONSTANT if contest.worse else LOAD_AWARE
    for one in contest.loads:
        if (told := _at(one, server)) is not None:
            yield told


def _at(one: LoadContest, server: str) -> str | None:
    """Returns what the policy that `laser serve` takes saves at a load; `server`: its name in the contest."""
    full, aware = one.of(FULL), one.of(server)
    if full is None or aware is None:
        return None
    change, points = aware.latency_s / full.latency_s - 1.0, 100.0 * (aware.accuracy - full.accuracy)
    return (
        f"At {one.rate:.3g} requests/s, {percent(one.load, 0)} of what full thoughts allow, {server} replies take "
        f"{aware.latency_s:.2f} s instead of {full.latency_s:.2f} s ({100 * change:+.0f} %), accuracy {points:+.1f} "
        "points (estimated, simulated)."
    )


def _looks(profile: Profile) -> Iterator[str]:
    deltas = looks_of(profile).values()
    if len(deltas) > 1:
        yield (
            f"{len(deltas)} certificates of this model were looked at, of other questions, budgets, levels or scores. "
            "Whoever goes on until one allows enough has that many chances: the chance that one of them is wrong is at "
            f"most {min(1.0, math.fsum(deltas)):.2g}, the sum of their --delta."
        )


def _more(profile: Profile) -> Iterator[str]:
    for one in reaches(profile):
        words = constant_words(one.threshold, one.budget)
        if one.more is None:
            yield (
                f"{words.capitalize()} would save {percent(one.saved, 0)}, but harms too often: at the share observed, "
                f"more questions would hardly allow it at a risk of {profile.certificate.epsilon:g} (estimated)."
            )
        else:
            count = f"{rounded(one.more):,} more question{'s' * (one.more > 1)}"
            yield (
                f"About {count} would allow {words}, which saves {percent(one.saved, 0)} (estimated, if exits harm as "
                "often as here)."
            )


def rounded(count: int) -> int:
    """Returns a count to two digits, rounded up: more would pretend to know."""
    digit = int(10 ** max(0, len(str(count)) - 2))
    return -(-count // digit) * digit


def contest_table(contest: PolicyContest) -> str:
    """Returns the contest as text: how each policy served each load, and which of the two is taken."""
    table = Table(
        title=f"Policies, simulated on the profile's records: {contest.requests} requests at each load, seed "
        f"{contest.seed}; the safe constant is {contest.constant}",
        header=("policy", "of capacity", "requests/s", "latency s", "p95", "accuracy", "tokens", "gain, points"),
        rows=tuple(_row(load, one) for load in contest.loads for one in load.played),
        note=f"Waiting: a second costs {contest.latency_weight:.2g} right answers",
    )
    return "\n".join([*texts([table]), *lines_of([f"`laser serve` takes {contest.verdict}"])])


def _row(load: LoadContest, one: PlayedPolicy) -> tuple[str, ...]:
    gain = f"{100 * load.gain:+.2f} {between(100 * load.low, 100 * load.high, 2)}"
    return (
        one.name if one.certified else f"{one.name}, not certified",
        f"{load.load:.0%}",
        f"{load.rate:.3g}",
        f"{one.latency_s:.2f}",
        f"{one.p95_s:.2f}",
        f"{one.accuracy:.1%}",
        f"{one.tokens:.0f}",
        gain if one.name == LOAD_AWARE else "-",
    )
