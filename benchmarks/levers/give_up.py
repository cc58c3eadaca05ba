"""What giving hopeless thoughts up saves and costs, replayed on any calibration's records. Nothing is decoded.

The aim, stated before anything was measured (2026-11-30): on the hardest family, giving up saves at least 10 % of the
token rows, probes counted, and throws away at most 0.3 points of correctness; with 4,000 measured questions or more
the upper bound of what it throws away is at most 0.6 points.

How it is measured, stated with the aim:

- the hardest family is the one whose full thoughts are least often right;
- a seeded sample of its questions fits: their median thoughts, by difficulty class, place the curve in tokens, and of
  the ladder of curves the one is taken that saves most among those that throw away at most 0.3 points on these very
  questions (none: the lowest). The other questions measure;
- rows are compared at one threshold (`--threshold`, by default 0.95, no budget), with the curve and without it;
- thrown away is a question whose full thought is right, that the curve closes, and that is then answered wrongly;
- the bound is Clopper and Pearson's, one-sided at 95 %.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class GiveUpAim:
    """What giving up must do on the hardest family."""

    saved: float = 0.10  # least share of token rows
    lost: float = 0.003  # most correctness thrown away, share of the questions
    bound: float = 0.006  # most at the upper bound
    questions: int = 4000  # from which on the bound counts


AIM = GiveUpAim()
