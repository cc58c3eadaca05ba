"""The index of a running thought: what going on is expected to win a token row, from its last trial answer on.

Of a thought whose trial has confidence c after t tokens, in a class whose median full thought has m, the index is

    max over stopping times τ of (P(right at τ) − P(right now)) / E[rows until τ]

as Gittins and Weitzman define it: the price of a row at which going on and closing at once are worth the same. It is a
table over classes, ages t/m and confidences, and never rises with confidence. A thought is closed by the first trial
whose index is at or below the price. At a price that is a confidence for each age, the bar, and with a higher price no
bar is higher. So exits nest: at a higher price every thought is closed by the same trial or an earlier one.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TypeAlias

from models.files.checks import positive
from models.profile.certificate import Certificate, Counts, certify

AGES = (0.25, 0.5, 0.75, 1.0, 1.5)  # medians of the class's full thoughts, between bands of age
CONFIDENCES = (0.2, 0.5, 0.65, 0.75, 0.8, 0.85, 0.9, 0.93, 0.95, 0.97, 0.99)  # between bands of confidence

PricedTable: TypeAlias = tuple[tuple[tuple[float, ...], ...], ...]  # [class, price, budget]


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexLimit:
    """An index at one price, in the tokens of one class's thoughts."""

    price: float  # right answers that a token row must win
    median: float  # tokens of the class's median full thought
    ages: tuple[float, ...]  # medians, between bands
    bars: tuple[float | None, ...]  # by band of age: confidence that closes a thought; None: none does

    def __post_init__(self) -> None:
        positive(self, "price", "median")
        if len(self.bars) != len(self.ages) + 1:
            raise ValueError(f"bars has {len(self.bars)} entries, must have {len(self.ages) + 1}: one a band of age")

    def bar(self, tokens: int) -> float | None:
        """Returns the confidence at which a thought of `tokens` tokens is closed; None: it goes on, however sure."""
        return self.bars[bisect_right(self.ages, tokens / self.median)]

    def worth_below(self, tokens: int) -> float:
        """Returns the confidence below which a probe after `tokens` tokens may give up, since it closes nothing."""
        bar = self.bar(tokens)
        return 1.0 if bar is None else bar

    def closes(self, tokens: int, confidence: float) -> bool:
        """Whether a trial answer of this confidence after `tokens` tokens closes the thought."""
        bar = self.bar(tokens)
        return bar is not None and confidence >= bar


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceIndex:
    """The index of every class."""

    medians: tuple[float, ...]  # by class: tokens of the median full thought, in which ages count
    ages: tuple[float, ...]  # medians, between bands, rising
    confidences: tuple[float, ...]  # between bands, rising
    # [class, age, confidence]: right answers that a token row wins; never rises with confidence
    values: PricedTable

    def __post_init__(self) -> None:
        for name in ("ages", "confidences"):
            if any(b <= a for a, b in pairwise(getattr(self, name))):
                raise ValueError(f"{name} are {getattr(self, name)}, must rise")
        shape = (len(self.medians), len(self.ages) + 1, len(self.confidences) + 1)
        if len(self.values) != shape[0] or any(
            len(table) != shape[1] or any(len(row) != shape[2] for row in table) for table in self.values
        ):
            raise ValueError(f"values must have shape {shape}: classes, ages and confidences")
        if any(b > a for table in self.values for row in table for a, b in pairwise(row)):
            raise ValueError("values rise with confidence, must never")

    def at(self, place: int, tokens: float, confidence: float) -> float:
        """Returns the index of a thought of the class at `place`, by its last trial."""
        band = bisect_right(self.ages, tokens / self.medians[place])
        return self.values[place][band][bisect_right(self.confidences, confidence)]

    def limit(self, place: int, price: float) -> IndexLimit:
        """Returns the bars of the class at `place` at a price: a trial clears one if its index is at most the price."""
        edges = (0.0, *self.confidences)
        bars = (
            next((edge for edge, value in zip(edges, row, strict=True) if value <= price), None)
            for row in self.values[place]
        )
        return IndexLimit(price=price, median=self.medians[place], ages=self.ages, bars=tuple(bars))


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceIndexTables:
    """What closing thoughts by their index costs, gains and harms at a ladder of prices, in place of thresholds.

    Tables begin with no price: thoughts that are never probed. They are of the questions that certify, which are none
    that the index was fitted on. The risk of a corner (price, budget) is P(the full thought is right, and some exit
    within the corner is wrong): limits move while thoughts run, so every trial whose index is at most the price counts,
    and every budget as long or longer. Corners are tested as those of thresholds are, from low to high prices.
    """

    index: PriceIndex
    prices: tuple[float, ...]  # right answers a token row, rising
    fitted: int  # questions that the index was fitted on
    pseudo: float  # probes that a cell's prior counts for, as cross-validation chose
    tokens: PricedTable  # mean token rows of a request
    accuracy: PricedTable  # share of right answers
    p95_steps: PricedTable  # 95th percentile of a request's decode steps
    harmed: tuple[tuple[int, ...], ...]  # [price, budget]: questions with the full thought right and some exit wrong
    count: int  # questions that certify
    certificate: Certificate | None  # [price, budget]; None: refused
    unfit: str | None = None  # why the index is of too few questions; None: it is of enough
    refused: str | None = None  # why no point is certified, whatever the bounds; None: the bounds decide

    def __post_init__(self) -> None:
        positive(self, "count", "pseudo")
        if not self.prices or self.prices[0] <= 0.0 or any(b <= a for a, b in pairwise(self.prices)):
            raise ValueError(f"prices are {self.prices}, must be above 0 and rise")
        if len(self.harmed) != 1 + len(self.prices):
            raise ValueError(f"harmed has {len(self.harmed)} rows, must have {1 + len(self.prices)}: prices, and 1")
        if (self.certificate is None) != (self.refused is not None):
            raise ValueError("certificate and refused are both given or both missing, must be one of them")
        shape = (len(self.index.medians), len(self.harmed), len(self.harmed[0]))
        for name in ("tokens", "accuracy", "p95_steps"):
            table = getattr(self, name)
            if (found := (len(table), len(table[0]), len(table[0][0]))) != shape:
                raise ValueError(f"{name} has shape {found}, must be {shape}: classes, prices and budgets")

    def certified_at(self, epsilon: float, delta: float) -> PriceIndexTables:
        """Returns the tables certified at a risk, on the same questions; refused if they are too few."""
        if self.unfit is not None:
            return replace(self, certificate=None, refused=self.unfit)
        try:
            found = certify(self.harmed, self.count, epsilon=epsilon, delta=delta)
        except ValueError as error:
            return replace(self, certificate=None, refused=str(error))
        return replace(self, certificate=found, refused=None)

    def points(self, *, certified_only: bool = True) -> list[tuple[int, int]]:
        """Returns the points as places of price and budget; the full thought, (0, 0), comes first."""
        if not certified_only:
            return [(i, j) for i, row in enumerate(self.harmed) for j in range(len(row))]
        if self.certificate is None:
            return [(0, 0)]
        return [(i, j) for i, row in enumerate(self.certificate.certified) for j, safe in enumerate(row) if safe]


def price_index_tables(
    *,
    index: PriceIndex,
    prices: Sequence[float],
    fitted: int,
    pseudo: float,
    tokens: PricedTable,
    accuracy: PricedTable,
    p95_steps: PricedTable,
    harmed: Counts,
    count: int,
    epsilon: float,
    delta: float,
    unfit: str | None = None,
) -> PriceIndexTables:
    """Returns the tables, certified on `count` questions; `unfit`: why the index is none; None: it is one."""
    made = PriceIndexTables(
        index=index,
        prices=tuple(prices),
        fitted=fitted,
        pseudo=pseudo,
        tokens=tokens,
        accuracy=accuracy,
        p95_steps=p95_steps,
        harmed=tuple(tuple(row) for row in harmed.tolist()),
        count=count,
        certificate=None,
        unfit=unfit,
        refused="it is not tested yet",
    )
    return made.certified_at(epsilon, delta)
