"""A decision as the decision log holds it: what was decided, and everything that it followed from.

A record is one JSON object; its keys are the names of the fields. Tuples are by class, in the profile's order.
Thresholds and budgets are the tables' numbers: NEVER stands for no probing, the longest thought for no budget.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import numpy as np

from controller.load import Load
from controller.planning.decision import CellPrice, Prices
from controller.planning.objective import Objective
from controller.planning.plan import SolveRequest
from controller.risk.account import Allowance
from controller.selection import Held
from controller.status import ControllerStatus, DecisionSource, LookUp
from models.profile.plant import Plant, StepTime
from models.profile.tables import OperatingTables, PointId

PLANNED = (DecisionSource.POLICY_MAP, DecisionSource.JOINT_PROGRAM)  # the sources that stand in for no other


@dataclass(frozen=True, slots=True, kw_only=True)
class ShadowPrices:
    """What the constraints cost, see `Prices`."""

    token: float  # per token, correct answers
    latency: float  # the part of `token` for waiting
    capacity: float  # the part of `token` for the bound on demand
    floor: tuple[float, ...]  # per unit of each class's accuracy floor
    threshold: tuple[float, ...]  # per unit of each class's threshold, where the rate limit binds
    cell: float = 0.0  # per cell of KV cache and decode step, beyond a sequence's room; 0: memory does not bind
    sequence: float = 0.0  # per request, for memory of one sequence more; 0: memory does not bind

    @classmethod
    def of(cls, prices: Prices) -> ShadowPrices:
        """Returns the prices of a planned decision."""
        return cls(
            token=prices.token,
            latency=prices.latency,
            capacity=prices.capacity,
            floor=tuple(prices.floor.tolist()),
            threshold=tuple(prices.threshold.tolist()),
            cell=prices.cell,
            sequence=prices.sequence,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SolvedFor:
    """The inputs of the policy map that a decision looked up: the same inputs give the same map."""

    rate: float  # requests/s
    mix: tuple[float, ...]  # share of each class
    work_ratio: tuple[float, ...]  # κ of each class: actual over predicted tokens
    step_time: StepTime  # of the engine
    max_batch: int  # sequences decoded at once
    context: float  # mean cached tokens of a sequence
    cv2: float  # squared coefficient of variation of a request's tokens
    rows: int  # of the policy map
    objective: Objective  # weights and constraints in force
    allowance: Allowance | None = None  # of an account of risk; None: there is no account

    @classmethod
    def of(cls, request: SolveRequest) -> SolvedFor:
        """Returns the inputs in a solve request."""
        return cls(
            rate=request.load.rate,
            mix=tuple(request.load.mix.tolist()),
            work_ratio=tuple(request.load.work_ratio.tolist()),
            step_time=request.plant.step_time,
            max_batch=request.plant.max_batch,
            context=request.plant.context,
            cv2=request.plant.cv2,
            rows=request.rows,
            objective=request.objective,
            allowance=request.allowance,
        )

    @property
    def load(self) -> Load:
        return Load(rate=self.rate, mix=np.array(self.mix), work_ratio=np.array(self.work_ratio))

    @property
    def plant(self) -> Plant:
        return Plant(step_time=self.step_time, max_batch=self.max_batch, context=self.context, cv2=self.cv2)


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionRecord:
    """One decision of the controller. Raises ValueError if a figure is not finite or impossible."""

    time_s: float  # on the controller's own clock, which starts anew with each server
    rate: float  # requests/s, estimated
    rate_sigma: float  # standard deviation of the rate, requests/s
    mix: tuple[float, ...]  # share of each class, estimated
    work_ratio: tuple[float, ...]  # κ, estimated
    step_time: StepTime  # time of a decode step, estimated
    n: int  # requests in the system
    rung: DecisionSource  # what decided
    failed: bool  # whether the controller reported a problem or used a source that stands in
    price: float | None  # of a token, correct answers; None: safe point
    floors: bool  # whether the accuracy floors applied
    slo_steps: tuple[float, ...] | None  # decode steps that each class's SLO leaves; None: no SLO
    elapsed_s: float  # since the look-up before
    before: Held | None  # what was in force; None: this is the first look-up
    held: Held  # what is in force now
    threshold: tuple[float, ...]  # thresholds in force, as numbers; 1.01: no probing
    budget: tuple[float, ...]  # in force, thinking tokens
    accuracy: tuple[float, ...]  # expected of the requests served
    shed: tuple[float, ...]  # share turned away, as planned
    demand: float  # tokens/s, expected
    in_system: float  # requests, expected
    solve: int | None  # number of the solve behind the decision, which many decisions may share; None: there was none
    solve_s: float  # wall-clock time of the last solve
    objective: Objective  # weights and constraints in force
    problems: tuple[str, ...]  # what is wrong, in words; empty: nothing is
    shadow_prices: ShadowPrices | None = None  # what the constraints cost; None: nothing was planned
    situation: SolvedFor | None = None  # inputs of the policy map that was looked up; None: none was
    risk_price: float = 0.0  # correct answers that a unit of risk costs; 0: there is no account of risk
    cells: CellPrice | None = None  # what KV cells cost; None: nothing, memory does not bind now

    def __post_init__(self) -> None:
        for name in ("time_s", "rate", "demand", "in_system", "solve_s"):
            if not math.isfinite(getattr(self, name)):
                raise ValueError(f"{name} is {getattr(self, name)}, must be finite")
        for name in ("rate", "demand", "in_system", "solve_s"):
            if getattr(self, name) < 0.0:
                raise ValueError(f"{name} is {getattr(self, name)}, must be at least 0")
        if (self.price is None) != (self.rung is DecisionSource.SAFE_POINT):
            raise ValueError(f"price is {self.price} and rung {self.rung}, must be null at the safe point alone")
        if (self.situation is None) == (self.rung is DecisionSource.POLICY_MAP):
            given = "missing" if self.situation is None else "given"
            raise ValueError(f"situation is {given} and rung {self.rung}, must be there with the policy map alone")

    @classmethod
    def of(cls, look: LookUp, status: ControllerStatus, tables: OperatingTables) -> DecisionRecord:
        """Returns the record of a look-up and of the status that it led to."""
        estimate, points, planned = look.estimate, list(look.held.points), look.basis.planned
        classes, request = np.arange(len(points)), look.basis.request
        numbers = [tables.numbers(tables.points[k]) for k in points]
        return cls(
            time_s=status.time_s,
            rate=estimate.rate,
            rate_sigma=estimate.rate_sigma,
            mix=tuple(estimate.mix.tolist()),
            work_ratio=tuple(estimate.work_ratio.tolist()),
            step_time=estimate.step_time,
            n=look.in_system,
            rung=look.basis.source,
            failed=bool(status.problems) or look.basis.source not in PLANNED,
            price=look.basis.price,
            floors=look.basis.floors,
            slo_steps=look.slo_steps,
            elapsed_s=look.elapsed_s,
            before=look.before,
            held=look.held,
            threshold=tuple(threshold for threshold, _ in numbers),
            budget=tuple(budget for _, budget in numbers),
            accuracy=tuple(tables.accuracy[classes, points].tolist()),
            shed=(0.0,) * len(points) if planned is None else tuple(planned.shed.tolist()),
            demand=float(estimate.load.rates * estimate.work_ratio @ tables.tokens[classes, points]),
            in_system=float(look.in_system if planned is None else planned.in_system),
            solve=None if request is None else status.solves.solved,
            solve_s=status.solves.solve_s or 0.0,
            objective=look.objective,
            problems=status.problems,
            shadow_prices=None if planned is None else ShadowPrices.of(planned.prices),
            situation=None if request is None else SolvedFor.of(request),
            risk_price=look.basis.risk_price,
            cells=look.basis.cells,
        )

    def to_json(self) -> dict[str, Any]:
        """Returns the record as a JSON object. Prices and the situation are left out where there are none."""
        absent = {name for name in ("shadow_prices", "situation", "cells") if getattr(self, name) is None}
        absent |= set() if self.risk_price else {"risk_price"}
        said = {name: value for name, value in _plain(self).items() if name not in absent}
        if self.situation is not None and self.situation.allowance is None:
            del said["situation"]["allowance"]
        for name in ("cell", "sequence"):
            if self.shadow_prices is not None and not getattr(self.shadow_prices, name):
                del said["shadow_prices"][name]
        return said

    @classmethod
    def from_json(cls, value: object, classes: int) -> DecisionRecord:
        """Returns the record in a JSON object, with `classes` entries in each tuple by class.

        Keys of later versions are ignored. Raises ValueError, naming the key, if the object is no record.
        """
        said = _Object(value, classes)
        return cls(
            time_s=said.number("time_s"),
            rate=said.number("rate"),
            rate_sigma=said.number("rate_sigma"),
            mix=said.numbers("mix"),
            work_ratio=said.numbers("work_ratio"),
            step_time=said.step_time(),
            n=said.whole("n"),
            rung=said.source("rung"),
            failed=said.flag("failed"),
            price=None if said.null("price") else said.number("price"),
            floors=said.flag("floors"),
            slo_steps=None if said.null("slo_steps", older=True) else said.numbers("slo_steps"),
            elapsed_s=said.number("elapsed_s"),
            before=None if said.null("before") else said.held("before"),
            held=said.held("held"),
            threshold=said.numbers("threshold"),
            budget=said.numbers("budget"),
            accuracy=said.numbers("accuracy"),
            shed=said.numbers("shed"),
            demand=said.number("demand"),
            in_system=said.number("in_system"),
            solve=None if said.null("solve") else said.whole("solve"),
            solve_s=said.number("solve_s"),
            objective=said.objective(),
            problems=tuple(map(str, said.list("problems"))),
            shadow_prices=None if said.null("shadow_prices", older=True) else _prices(said.part("shadow_prices")),
            situation=None if said.null("situation", older=True) else _solved_for(said.part("situation")),
            risk_price=0.0 if said.null("risk_price", older=True) else said.number("risk_price"),
            cells=None if said.null("cells", older=True) else _cells(said.part("cells")),
        )


def _prices(said: _Object) -> ShadowPrices:
    return ShadowPrices(
        token=said.number("token"),
        latency=said.number("latency"),
        capacity=said.number("capacity"),
        floor=said.numbers("floor"),
        threshold=said.numbers("threshold"),
        cell=0.0 if said.null("cell", older=True) else said.number("cell"),
        sequence=0.0 if said.null("sequence", older=True) else said.number("sequence"),
    )


def _cells(said: _Object) -> CellPrice:
    return CellPrice(price=said.number("price"), room=said.number("room"))


def _solved_for(said: _Object) -> SolvedFor:
    return SolvedFor(
        rate=said.number("rate"),
        mix=said.numbers("mix"),
        work_ratio=said.numbers("work_ratio"),
        step_time=said.step_time(),
        max_batch=said.whole("max_batch"),
        context=said.number("context"),
        cv2=said.number("cv2"),
        rows=said.whole("rows"),
        objective=said.objective(),
        allowance=None if said.null("allowance", older=True) else _allowance(said.part("allowance")),
    )


def _allowance(said: _Object) -> Allowance:
    return Allowance(charge=said.number("charge"), worth=said.number("worth"))


def _plain(value: Any) -> Any:
    match value:
        case StepTime():
            return [value.a, value.c, value.g]
        case Held():
            return {"target": [*value.target], "pace": [*value.threshold_now], "points": [*value.points]}
        case DecisionSource():
            return str(value)
        case tuple():
            return [_plain(item) for item in value]
        case _ if is_dataclass(value):
            return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
        case _:
            return value


class _Object:
    """A JSON object whose entries are read by name and type; raises ValueError if an entry does not fit."""

    def __init__(self, said: object, classes: int) -> None:
        if not isinstance(said, dict):
            raise ValueError(f"is {json.dumps(said)[:40]}, must be an object")
        self._said: Mapping[str, Any] = said
        self._classes = classes

    def null(self, name: str, *, older: bool = False) -> bool:
        """Whether the entry is null, or missing if `older` versions did not write it."""
        return (older and name not in self._said) or self._entry(name) is None

    def number(self, name: str) -> float:
        return _number(name, self._entry(name))

    def whole(self, name: str) -> int:
        if type(value := self._entry(name)) is not int:
            raise ValueError(f"{name} is {repr(value)[:40]}, must be a whole number")
        return value

    def flag(self, name: str) -> bool:
        if type(value := self._entry(name)) is not bool:
            raise ValueError(f"{name} is {repr(value)[:40]}, must be true or false")
        return value

    def source(self, name: str) -> DecisionSource:
        if (value := self._entry(name)) not in list(DecisionSource):
            raise ValueError(f"{name} is {repr(value)[:40]}, must be one of {', '.join(DecisionSource)}")
        return DecisionSource(value)

    def list(self, name: str) -> Sequence[Any]:
        if not isinstance(value := self._entry(name), list):
            raise ValueError(f"{name} is {repr(value)[:40]}, must be a list")
        return value

    def numbers(self, name: str, *, count: int | None = None) -> tuple[float, ...]:
        """Returns a list of `count` numbers; None: one for each class."""
        values, count = self.list(name), self._classes if count is None else count
        if len(values) != count:
            raise ValueError(f"{name} has {len(values)} entries, must have {count}")
        return tuple(_number(name, value) for value in values)

    def step_time(self) -> StepTime:
        a, c, g = self.numbers("step_time", count=3)
        return StepTime(a=a, c=c, g=g)

    def held(self, name: str) -> Held:
        said = self.part(name)
        return Held(target=said._points("target"), threshold_now=said.numbers("pace"), points=said._points("points"))

    def objective(self) -> Objective:
        """Returns the objective; settings that an older version did not write are at their defaults."""
        said = self.part("objective")._said
        unknown = sorted(said.keys() - {field.name for field in fields(Objective)})
        if unknown:
            raise ValueError(f"objective has {unknown[0]!r}, which is no setting of it")
        settings: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in said.items()
        }
        return Objective(**settings)

    def part(self, name: str) -> _Object:
        try:
            return _Object(self._entry(name), self._classes)
        except ValueError as error:
            raise ValueError(f"{name} {error}" if str(error).startswith("is ") else str(error)) from None

    def _points(self, name: str) -> tuple[PointId, ...]:
        return tuple(PointId(int(value)) for value in self.numbers(name))

    def _entry(self, name: str) -> Any:
        if name not in self._said:
            raise ValueError(f"{name} is missing")
        return self._said[name]


def _number(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{name} is {repr(value)[:40]}, must be a number")
    return value
