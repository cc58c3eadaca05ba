"""The aims of a bundled reasoner, as numbers with bars, and what they are measured with: set before any measurement.

Families are called by what is measured of them: the hardest one has the fewest full thoughts right, the easiest one
the most. A full thought is greedy and ends by itself or at CAP tokens, where the landing asks for the answer. Tokens
are net: all token rows decoded for a reply, those of probes included. The worst-exit risk of a threshold is the share
of questions with the full thought right and the trial answer of some probe of at least that confidence wrong.
"""

from __future__ import annotations

from dataclasses import dataclass

QUESTIONS_SEED = 2611  # draws the questions; an evaluation draws by 1, a calibration by 2
SAMPLES_SEED = 2612  # draws the sampled replies
COUNT = 4_000  # questions of each family
SAMPLED = 1_000  # of them with sampled replies
SAMPLES = 5  # replies to each of these
TEMPERATURE = 0.7  # of these
RACE = 4  # of these, the first of which to finish counts

THRESHOLDS = (
    0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.825, 0.85, 0.875, 0.9, 0.92, 0.94, 0.95,
    0.96, 0.97, 0.98, 0.99, 0.995,
)  # fmt: skip
LAX, STRICT = 0.5, 0.95  # the thresholds that have aims of their own
STEEP = 0.1  # gain of accuracy at each of two doublings of length in a row that counts as steep
RISKS = (0.10, 0.03)  # observed worst-exit risks within which thresholds are of use
MILLION = 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class ReasonerAim:
    """What is to be measured of a reasoner, and between which bars it must lie."""

    name: str
    says: str  # what is measured
    low: float | None = None  # least value that meets the aim; None: any
    high: float | None = None  # largest value that meets the aim; None: any
    unit: str = "share"  # share, points (of a hundred questions), times, count, MB, or another word

    def met(self, value: float) -> bool:
        """Whether a value lies between the bars, both included."""
        return (self.low is None or value >= self.low) and (self.high is None or value <= self.high)


AIMS = (
    # 1. families differ as real sets do
    ReasonerAim(name="solved at once", says="right without thinking, the family with the most", low=0.9),
    ReasonerAim(
        name="steep families",
        says="families but the hardest to which two doublings of length in a row add 10 points or more each",
        low=2,
        unit="count",
    ),
    ReasonerAim(name="heavy tail", says="90th by 10th percentile of thoughts, hardest family", low=5, unit="times"),
    ReasonerAim(
        name="beyond reach", says="neither greedy nor any sampled reply right, hardest family", low=0.05, high=0.5
    ),
    ReasonerAim(
        name="told by words",
        says="R² of log thought tokens: family, prompt length and numbers, held out",
        low=0.4,
        high=0.7,
        unit="R²",
    ),
    ReasonerAim(
        name="told by tokens",
        says="R² of log thought tokens: the profile's predictor, held out",
        low=0.4,
        high=0.7,
        unit="R²",
    ),
    # 2. held-out full thought and what exits cost
    ReasonerAim(name="fresh questions", says="questions of the family with the fewest", low=COUNT, unit="count"),
    ReasonerAim(name="right", says="full thoughts right, pooled", low=0.75, high=0.9),
    ReasonerAim(name="hardest right", says="full thoughts right, hardest family", low=0.45, high=0.65),
    ReasonerAim(name="worth of thought", says="lost without thinking, pooled", low=25, unit="points"),
    ReasonerAim(name="at the cap", says="thoughts that hit the cap, hardest family", low=0.15, high=0.35),
    ReasonerAim(name="right at the cap", says="of these, right", high=0.2),
    ReasonerAim(name="spread of lengths", says="mean thought, hardest by easiest family", low=4, unit="times"),
    ReasonerAim(name="lax threshold", says=f"lost at threshold {LAX:g}, pooled", low=8, unit="points"),
    ReasonerAim(name="strict threshold", says=f"lost at threshold {STRICT:g}, pooled", high=1.5, unit="points"),
    ReasonerAim(name="tabulated", says="thresholds in the table", low=20, unit="count"),
    ReasonerAim(
        name="span at .10", says="lost at the laxest threshold of a risk of at most .10, pooled", low=6, unit="points"
    ),
    ReasonerAim(name="saving at .10", says="net tokens, full thought by that threshold, pooled", low=2, unit="times"),
    ReasonerAim(
        name="span at .03", says="lost at the laxest threshold of a risk of at most .03, pooled", low=1.5, unit="points"
    ),
    ReasonerAim(name="saving at .03", says="net tokens, full thought by that threshold, pooled", low=1.4, unit="times"),
    # 3. sampling pays
    ReasonerAim(name="vote", says=f"gained by the majority of {SAMPLES} over greedy, pooled", low=2, unit="points"),
    ReasonerAim(
        name="race", says=f"gained by the first to finish of {RACE} over greedy, hardest family", low=1, unit="points"
    ),
    # 4. small
    ReasonerAim(name="parameters", says="parameters", high=4 * MILLION, unit="count"),
    ReasonerAim(name="weights", says="files of the model without profile and records", high=12, unit="MB"),
    ReasonerAim(name="head", says="head_dim", low=64, high=64, unit="count"),
)

RECORDS_MB = 15  # the most that all records may take that ship
