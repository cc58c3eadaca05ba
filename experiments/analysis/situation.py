"""The input of an analysis: a model on its machine, the objective, and the load."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from controller.load import Load
from controller.planning.objective import Objective
from controller.policies.restricted import best_corner
from models.files.checks import outside
from models.profile import profile
from models.profile.plant import Plant
from models.profile.tables import OperatingPoint, OperatingTables, prune_hull

Array = npt.NDArray[np.float64]

TYPICAL = (0.5, 0.8, 1.1)  # default rates, as shares of the rate that the plant can serve with full thought


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Situation:
    """All inputs of an analysis."""

    measured: profile.Profile
    tables: OperatingTables  # of the points that a controller has in use; the first is the full thought
    plant: Plant
    objective: Objective
    mix: Array  # share of each class in the requests
    rates: tuple[float, ...]  # requests/s that are analysed in detail, rising
    certified_only: bool = True  # whether the points in use are the certified ones
    cells: int | None = None  # tokens of KV cache that requests take as they grow; None: memory is not looked at

    def load(self, rate: float) -> Load:
        """Returns the load of this mix at a rate, with requests as long as profiled."""
        return Load(rate=rate, mix=self.mix, work_ratio=np.ones(len(self.mix)))

    @property
    def full_tokens(self) -> float:
        """The mean tokens of a request with full thought."""
        return float(self.mix @ self.tables.tokens[:, 0])

    @property
    def bound(self) -> float:
        """The bound on demand, ρ_max·D_max, tokens/s."""
        return self.objective.max_load * self.plant.capacity

    @property
    def constants(self) -> OperatingTables:
        """The tables of the points that may serve every request at any load: of all certified ones, or of all.

        A request meets one of them alone, so they need not lie within one corner.
        """
        return self.measured.tables(certified_only=self.certified_only)

    def hull(self, d: int) -> tuple[Array, Array]:
        """Returns tokens and accuracy of a class's hull points, cheapest first."""
        points = prune_hull(self.tables.tokens[d], self.tables.accuracy[d])
        return self.tables.tokens[d, points], self.tables.accuracy[d, points]


def any_point(point: OperatingPoint) -> bool:
    """Keeps every point."""
    return True


def tables_of(
    measured: profile.Profile, *, certified_only: bool, kept: Callable[[OperatingPoint], bool] = any_point
) -> OperatingTables:
    """Returns the tables of the points in use that are `kept`: those that a controller serves, or all."""
    tables = measured.tables(certified_only=certified_only)
    tables = tables.at([k for k, point in enumerate(tables.points) if kept(point)])
    if not certified_only or measured.certificate.mean is not None:
        return tables
    corner = best_corner(tables.alone(), measured.counts)
    return tables.at(np.flatnonzero(tables.inside()[corner]).tolist())


def situation(
    measured: profile.Profile,
    objective: Objective,
    *,
    mix: Sequence[float] | None = None,
    rates: Sequence[float] | None = None,
    certified_only: bool = True,
    cells: int | None = None,
) -> Situation:
    """Builds the situation of a profile and an objective.

    `mix` None: that of the calibration's questions; `rates` None: TYPICAL. Raises ValueError if floors, mix or rates
    do not fit.
    """
    floors = objective.accuracy_floors
    if floors and len(floors) != len(measured.classes):
        raise ValueError(f"accuracy_floors has {len(floors)} entries, must have {len(measured.classes)} or none")
    shares = np.array(measured.counts if mix is None else mix, dtype=np.float64)
    if len(shares) != len(measured.classes) or shares.min() < 0.0 or not 0.0 < shares.sum() < np.inf:
        raise ValueError(f"mix is {shares.tolist()}, must be one number of at least 0 for each class, and not all 0")
    shares /= shares.sum()
    tables, plant = tables_of(measured, certified_only=certified_only), measured.plant_model()
    if rates is None:
        keeps_up = plant.capacity / float(shares @ tables.tokens[:, 0])
        rates = [float(f"{share * keeps_up:.2g}") for share in TYPICAL]
    if not rates:
        raise ValueError("rates is empty, must have at least one")
    for rate in rates:
        if (limit := outside(rate)) is not None:
            raise ValueError(f"rates has {rate} requests/s, must be {limit}")
    return Situation(
        measured=measured,
        tables=tables,
        plant=plant,
        objective=objective,
        mix=shares,
        rates=tuple(sorted(set(rates))),
        certified_only=certified_only,
        cells=cells,
    )
