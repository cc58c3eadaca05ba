"""How often a certificate of a model was looked at: each look is one more chance that one of them is wrong."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

from experiments.calibration.profile import Levels
from models.profile.give_up import GiveUpCurve
from models.profile.profile import Profile
from models.profile.width import RaceRule
from models.score import Score

EARLIER = "earlier"  # stands for the look of a profile that names none


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateLook:
    """What a certificate was looked for with; another value of any of these is another chance to find one."""

    questions: tuple[str, ...]  # keys of those that certify
    budgets: tuple[int, ...]
    score: Score
    levels: Levels
    curves: tuple[GiveUpCurve, ...] = ()  # below which thoughts are given up
    prices: tuple[float, ...] = ()  # at which thoughts are closed by their index, and what else the index is told with
    cut_offs: tuple[float, ...] = ()  # scores from which prompts are answered at once
    races: tuple[RaceRule, ...] = ()  # by which thoughts of one prompt race

    @property
    def key(self) -> str:
        """What tells the look from others."""
        said = [
            sorted(self.questions),
            sorted(self.budgets),
            self.score.value,
            self.levels.epsilon,
            self.levels.delta,
            *([[curve.height, curve.rise] for curve in self.curves]),
            *self.prices,
            *([{"cut_offs": self.cut_offs}] if self.cut_offs else []),
            *([{"races": [asdict(rule) for rule in self.races]}] if self.races else []),
        ]
        return hashlib.sha256(json.dumps(said).encode()).hexdigest()[:16]

    def may_be_of(self, profile: Profile) -> bool:
        """Whether a profile that names no look agrees with this one, as far as it tells."""
        certificate = profile.certificate
        return (
            not self.curves
            and not self.prices
            and not self.cut_offs
            and not self.races
            and certificate.count == len(self.questions)
            and {budget for budget in profile.budgets if budget is not None} == set(self.budgets)
            and profile.score == self.score.value
            and (certificate.epsilon, certificate.delta) == (self.levels.epsilon, self.levels.delta)
        )


def looked(before: Profile | None, *looks: CertificateLook) -> dict[str, float]:
    """Returns the delta of each look so far, these included, by its key; `before`: the profile that is replaced.

    A look that was taken before is no new one.
    """
    now = {look.key: look.levels.delta for look in looks}
    if before is None:
        return now
    known = any(look.may_be_of(before) for look in looks)
    return {**(looks_of(before) or ({} if known else {EARLIER: before.certificate.delta})), **now}


def recounted(made: Profile, look: CertificateLook) -> Profile:
    """Returns a profile that also tells of this look at a certificate."""
    return replace(made, provenance={**made.provenance, "looked": looked(made, look)})


def recounted_races(made: Profile, look: CertificateLook) -> Profile:
    """Returns a profile that also tells of the look that its tables of races are; `look`: one without them."""
    assert made.width is not None
    return recounted(made, replace(look, races=made.width.rules))


def looks_of(profile: Profile) -> dict[str, float]:
    """Returns the delta of each look that a profile's provenance names, by its key; none in an earlier release's."""
    found = profile.provenance.get("looked")
    return dict(found) if isinstance(found, Mapping) else {}
