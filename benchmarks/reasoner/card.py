"""The measured part of a reasoner's card, written from the figures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks.reasoner.aims import QUESTIONS_SEED, SAMPLED, SAMPLES, SAMPLES_SEED, TEMPERATURE
from benchmarks.reasoner.report import (
    AIM_HEADER,
    ALL,
    FAMILY_HEADER,
    THRESHOLD_HEADER,
    ReasonerReport,
    aim_row,
    family_rows,
    threshold_rows,
)
from experiments.sentences import counted
from models.errors import LaserError
from models.reasoner.traces import CAP

BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"

MEASURED = """\
`python -m benchmarks.reasoner` recorded and computed what follows, {date}:
{questions} questions of each family from the test side (seed {seed}), which no calibration and no evaluation asks by
default. Full thoughts are greedy, probed at every transition point through the engine, and closed at {cap} tokens.
Sampled are {samples} replies to each of {sampled} questions a family, temperature {temperature} (seed {samples_seed}).
Intervals are 95 %.

{families}

Thoughts in tokens; *two doublings*: the points of accuracy that each of two doublings of length in a row adds.

What a threshold does, told from the same thoughts. *Net tokens* are all token rows of a reply, its probes' included;
*worst-exit risk* is the share of questions with the full thought right and the trial answer of some probe of at least
that confidence wrong.

{thresholds}

{met} of {aims} aims are met; the bars were set before anything was measured (`benchmarks/reasoner/aims.py`).

{held}
"""


class CardError(LaserError, ValueError):
    """A card has no place for what was measured; the message names the file."""


def measured_part(told: ReasonerReport, *, date: str) -> str:
    """Returns the measured part of the card, in Markdown; `date`: of the measurement."""
    return MEASURED.format(
        date=date,
        questions=f"{min(one.questions for one in told.families.values()):,}",
        seed=QUESTIONS_SEED,
        cap=CAP,
        temperature=TEMPERATURE,
        samples=SAMPLES,
        sampled=f"{SAMPLED:,}",
        samples_seed=SAMPLES_SEED,
        families=markdown(FAMILY_HEADER, family_rows(told)),
        thresholds=markdown(THRESHOLD_HEADER, threshold_rows(told.thresholds[ALL])),
        met=sum(bool(one.met) for one in told.held),
        aims=len(told.held),
        held=markdown(AIM_HEADER, map(aim_row, told.held)),
    )


def filled(card: Path, part: str) -> str:
    """Returns a card's text with `part` between its two markers.

    Raises CardError if the card is missing or has not each marker once, in order.
    """
    if not card.is_file():
        raise CardError(f"{card}: there is no card; write one with a line {BEGIN} and a line {END}")
    text = card.read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        found = f"{counted(text.count(BEGIN), 'line')} {BEGIN} and {text.count(END)} {END}"
        raise CardError(f"{card}: has {found}, must have one of each, in this order")
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}\n{part}{END}{rest.split(END)[1]}"


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Returns a table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
