"""The response of GET /laser/controller."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pydantic import BaseModel

from controller.policy import Limits
from controller.serving.ordering.turns import OrderName
from controller.status import ControllerStatus, DecisionSource
from laser.server.policy_choice import ChosenPolicy
from models.profile.certificate import Certificate
from models.profile.corners import outermost
from models.profile.give_up import GiveUpLimit
from models.profile.levers.index import IndexLimit
from models.profile.tables import OperatingPoint


class Estimated(BaseModel):
    """A belief, and its standard deviation."""

    value: float  # the estimate
    sigma: float  # its standard deviation


class LoadReport(BaseModel):
    """What is believed of the load."""

    rate: Estimated  # requests/s
    in_system: int  # requests queued or running, exact
    mix: dict[str, float]  # share of each class
    work_ratio: dict[str, Estimated]  # actual over predicted tokens
    step_a_s: Estimated  # a decode step takes a + (c + g·context)·batch; a of it
    step_c_s: Estimated  # c of a decode step, s per sequence
    step_g_s: Estimated  # g of a decode step, s per sequence and cached token


class GiveUpReport(BaseModel):
    """A lower threshold: height · (1 − exp(−(t/median − 1/3) / rise)) after t tokens of thought, 0 before a third."""

    height: float  # confidence that it rises to
    rise: float  # medians in which it comes to 63 % of its height
    median: float  # tokens of the class's median full thought


class IndexReport(BaseModel):
    """A price that closes thoughts by their index: a confidence for each band of a thought's age."""

    price: float  # right answers that a token row must win
    median: float  # tokens of the class's median full thought, in which ages count
    ages: list[float]  # medians, between bands
    bars: list[float | None]  # by band: confidence at which a thought is closed; null: it goes on


class LimitsReport(BaseModel):
    """What bounds a thought; null: no probing, no budget."""

    threshold: float | None  # confidence at which a thought is closed; null: off
    budget: int | None  # thinking tokens at which a thought is closed; null: off
    agree: int | None = None  # probes in a row with the same answer that also close it; null: off
    margin: float | None = None  # of log p, to the closing marker, that closes it; null: off
    exits: dict[str, float] = {}  # levels of other exit signals, by name
    every: int | None = None  # tokens from one probe to the next; null: at transition points
    give_up: GiveUpReport | None = None  # lower threshold, below which a thought is given up; null: off
    index: IndexReport | None = None  # price at which a thought is closed by its index; null: off
    skip: float | None = None  # chance of needing no thought from which a prompt is answered at once; null: off
    width: int = 1  # thoughts of a prompt with which a request begins, where places are idle
    vote: bool = False  # whether the answer that most of them give is served; else the one that ends first


class CornerReport(BaseModel):
    """A corner of the certified range: certified is every exit at its threshold or above and at its budget or more."""

    threshold: float | None  # lowest threshold of the corner; null: no early exit
    budget: int | None  # smallest budget of the corner, thinking tokens; null: none


class CertifiedReport(BaseModel):
    """The range of certified exits that the policy keeps to; of a policy without a profile's points, all of them."""

    # upper bound on P(the full thought is right and an exit within the range wrong); with an account of risk, of any
    # one request
    risk: float
    mean_risk: float | None = None  # what an account of risk keeps on average; null: there is no account
    confidence: float  # with which that bound holds
    corners: list[CornerReport]  # of the range, longest budget first; empty: the full thought alone is certified
    lowest_threshold: float | None  # lowest certified threshold; with a budget it may be higher; null: none is
    smallest_budget: int | None  # smallest certified budget, tokens; with a low threshold it may be longer; null: none


class PricesReport(BaseModel):
    """Shadow prices: what the constraints cost, in correct answers."""

    token_now: float | None  # per token, at the current number in the system; null: at the safe point
    token: float  # per token, on average
    latency: float  # the part of `token` for waiting
    capacity: float  # the part of `token` for the bound on demand
    floor: dict[str, float]  # per unit of a class's accuracy floor
    threshold: dict[str, float]  # per unit of threshold, where the rate limit binds
    # per cell of KV cache and decode step, beyond what a sequence has room for; null: cells are not planned
    cell: float | None = None
    sequence: float | None = None  # per request, for memory of one more request at once; null: cells are not planned


class RiskReport(BaseModel):
    """The account of risk. Charges are upper bounds of the probability that a request's right answer is spoilt."""

    risk: float  # mean charge that is kept
    peak: float  # of any one request's charge
    requests: (
        int  # that the policy may shorten at will and that have begun; those that left before any exit do not count
    )
    spent: float  # all charges so far
    charged: float  # mean charge so far
    left: float  # saved so far, to be spent
    most: float  # that may be saved: a quarter of the income of the last `window_s`
    refused: int  # requests that were held to stricter limits than load asked for, since the account was short
    topped_up: int  # running thoughts that were charged again, for laxer limits
    price: float  # of a unit of risk, correct answers
    planned: float | None = None  # mean charge that was planned for; null: nothing was planned


class ExpectedReport(BaseModel):
    """What was planned for, on average over all states."""

    accuracy: dict[str, float]  # share of right answers, by class
    load: float  # demand over capacity
    in_system: float  # requests
    cells: float | None = None  # KV cells of a running request; null: cells are not planned
    batch: int | None = None  # requests that there is memory for at once; null: as many as the engine decodes
    shed: dict[str, float]  # share of requests to turn away


class SolverReport(BaseModel):
    """How the solver does."""

    asked: int  # answers that were asked for
    solved: int  # answers that were plans
    failed: int  # answers that were failures
    waiting_s: float | None  # since an answer was asked for; null: none is due
    age_s: float | None  # of the last plan; null: there is none
    solve_s: float | None  # of the last plan; null: there is none
    error: str | None  # of the last answer; null: it was a plan, or there is none


class OrderReport(BaseModel):
    """In which order the waiting requests of one key and priority begin."""

    kind: OrderName  # how they are ordered
    # nobody is overtaken by who came more than so many seconds later; 0: first come; null: shortest first, unbounded
    head_start_s: float | None
    pauses: bool  # whether running thoughts pause for waiting requests before them
    note: str | None  # why this order serves, in words; null: it was named, or there is none to choose


class ControllerReport(BaseModel):
    """Who decides and what is certified, and all that the load-aware policy knows, which is null for other policies."""

    policy: str  # its kind; of a user's own, module:Name
    note: str | None  # why this policy serves, in words; null: it was named
    order: OrderReport | None = None  # of waiting requests; null: it is not told
    limits: dict[str, LimitsReport]  # by class; `any`: the same for all classes
    target: dict[str, LimitsReport] | None = None  # to which the rate limit lets thresholds move
    certified: CertifiedReport | None = None  # what the policy keeps to of what the profile certifies; null: no profile
    slo_s: dict[str, float] | None = None  # within which 95 % of each class's requests are to end; null: no SLO
    slo_steps: dict[str, float] | None = None  # decode steps that each class's SLO leaves a request now; null: no SLO
    rung: DecisionSource | None = (
        None  # source of the decision: policy map, joint program, price bisection or safe point
    )
    problems: list[str] = []  # what is wrong, in words; empty: nothing is
    load: LoadReport | None = None  # what is believed of the load
    prices: PricesReport | None = None  # what the constraints cost; null: nothing was planned
    expected: ExpectedReport | None = None  # what was planned for; null: nothing was planned
    risk: RiskReport | None = None  # the account of risk; null: there is none
    solver: SolverReport | None = None  # how the solver does
    rejected_measurements: int | None = None  # impossible measurements that were left out
    clock_jumps: int | None = None  # jumps of the clock
    uptime_s: float | None = None  # time that the controller has run


def report(chosen: ChosenPolicy) -> ControllerReport:
    """Returns the report on the policy that serves."""
    controller = chosen.controller
    if controller is None:
        limits = {"any": _limits(chosen.policy.limits(None))}
        profile = chosen.certifying
        points = chosen.points or (() if profile is None else profile.points())
        certified = None if profile is None else _certified(points, profile.certificate)
        return ControllerReport(
            policy=chosen.name, note=chosen.note, order=_order(chosen), limits=limits, certified=certified
        )
    state = controller.status
    return ControllerReport(
        policy=chosen.name,
        note=chosen.note,
        order=_order(chosen),
        limits=_by_class(state, state.limits),
        target=_by_class(state, state.target),
        certified=_certified(controller.certified, controller.certificate),
        slo_s=_floats(state, list(state.slo_s)) if state.slo_s else None,
        slo_steps=None if state.slo_steps is None else _floats(state, list(state.slo_steps)),
        rung=state.source,
        problems=list(state.problems),
        load=_load(state),
        prices=_prices(state),
        expected=_expected(state),
        risk=_risk(state),
        solver=SolverReport(
            asked=state.solves.asked,
            solved=state.solves.solved,
            failed=state.solves.failed,
            waiting_s=state.solves.waiting_s,
            age_s=state.solves.age_s,
            solve_s=state.solves.solve_s,
            error=state.solves.error,
        ),
        rejected_measurements=state.rejected,
        clock_jumps=state.jumps,
        uptime_s=state.time_s,
    )


def _order(chosen: ChosenPolicy) -> OrderReport:
    order = chosen.order
    head_start_s = order.order.head_start_s
    return OrderReport(
        kind=order.name,
        head_start_s=head_start_s if math.isfinite(head_start_s) else None,
        pauses=order.pauses,
        note=chosen.order_note,
    )


def _certified(points: Sequence[OperatingPoint], certificate: Certificate) -> CertifiedReport:
    return CertifiedReport(
        corners=[CornerReport(threshold=one.threshold, budget=one.budget) for one in outermost(points)],
        risk=certificate.epsilon,
        mean_risk=certificate.mean,
        confidence=1.0 - certificate.delta,
        lowest_threshold=min((point.threshold for point in points if point.threshold is not None), default=None),
        smallest_budget=min((point.budget for point in points if point.budget is not None), default=None),
    )


def _limits(limits: Limits) -> LimitsReport:
    return LimitsReport(
        threshold=limits.threshold,
        budget=limits.budget,
        agree=limits.agree,
        margin=limits.margin,
        exits=dict(limits.exits),
        every=limits.every,
        give_up=None if limits.give_up is None else _give_up(limits.give_up),
        index=None if limits.index is None else _index(limits.index),
        skip=limits.skip,
        width=limits.width,
        vote=limits.race is not None and limits.race.vote,
    )


def _index(limit: IndexLimit) -> IndexReport:
    return IndexReport(price=limit.price, median=limit.median, ages=list(limit.ages), bars=list(limit.bars))


def _give_up(limit: GiveUpLimit) -> GiveUpReport:
    return GiveUpReport(height=limit.curve.height, rise=limit.curve.rise, median=limit.median)


def _by_class(state: ControllerStatus, limits: tuple[Limits, ...]) -> dict[str, LimitsReport]:
    return {name: _limits(each) for name, each in zip(state.classes, limits, strict=True)}


def _load(state: ControllerStatus) -> LoadReport:
    estimate = state.estimate
    step, sigma = estimate.step_time, estimate.step_time_sigma
    return LoadReport(
        rate=_estimated(estimate.rate, estimate.rate_sigma),
        in_system=state.in_system,
        mix=_floats(state, estimate.mix.tolist()),
        work_ratio={
            name: _estimated(float(value), float(spread))
            for name, value, spread in zip(state.classes, estimate.work_ratio, estimate.work_ratio_sigma, strict=True)
        },
        step_a_s=_estimated(step.a, sigma[0]),
        step_c_s=_estimated(step.c, sigma[1]),
        step_g_s=_estimated(step.g, sigma[2]),
    )


def _prices(state: ControllerStatus) -> PricesReport | None:
    if state.decision is None:
        return None
    prices = state.decision.prices
    return PricesReport(
        token_now=state.price,
        token=prices.token,
        latency=prices.latency,
        capacity=prices.capacity,
        floor=_floats(state, prices.floor.tolist()),
        threshold=_floats(state, prices.threshold.tolist()),
        cell=None if state.decision.cells is None else prices.cell,
        sequence=None if state.decision.cells is None else prices.sequence,
    )


def _risk(state: ControllerStatus) -> RiskReport | None:
    account = state.risk
    if account is None:
        return None
    return RiskReport(
        risk=account.risk,
        peak=account.peak,
        requests=account.requests,
        spent=account.spent,
        charged=account.mean,
        left=account.left,
        most=account.most,
        refused=account.refused,
        topped_up=account.topped_up,
        price=account.price,
        planned=None if state.decision is None else state.decision.charge,
    )


def _expected(state: ControllerStatus) -> ExpectedReport | None:
    decision = state.decision
    if decision is None:
        return None
    return ExpectedReport(
        accuracy=_floats(state, decision.accuracy.tolist()),
        load=decision.load,
        in_system=decision.in_system,
        cells=decision.cells,
        batch=decision.batch,
        shed=_floats(state, decision.shed.tolist()),
    )


def _estimated(value: float, sigma: float) -> Estimated:
    assert math.isfinite(value), f"{value} is believed"
    return Estimated(value=value, sigma=sigma)


def _floats(state: ControllerStatus, values: list[float]) -> dict[str, float]:
    return dict(zip(state.classes, values, strict=True))
