"""The policy map's program under an account of risk, by policy iteration at a price of risk.

Requests arrive once per unit of time; with n of them in the system they end at rate R_n/(λ·W_k) at level k, and one
more than the last row is turned away. At a price ρ of risk a level is worth q_k − ρ·r_k. The mean charge falls as ρ
grows, so bisection finds the least price of risk at which it is within the allowance. By duality the value of the
program with that constraint is the least, over ρ, of the chain's value plus (ρ − μ) times the allowance.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from controller.planning.ladder import ChargedLadders, Ladder, RacingLadders
from controller.planning.races import RowsOfRaces
from controller.risk.account import Allowance

Array = npt.NDArray[np.float64]
Places = npt.NDArray[np.intp]

ROUNDS = 100  # of policy iteration, at most; a few are usual
EXACT = 1e-4  # of the price of risk, relative
DEAREST = 1e4  # price of risk beyond which no level is charged less


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ChainRows:
    """What the number of requests in the system decides; entries are for 1, 2, … requests."""

    decoded: Array  # tokens per arrival, R_n/λ
    waiting: Array  # what a row costs per arrival, w·n/λ
    turned_away: float  # what turning one request away costs
    raced: RowsOfRaces  # what levels cost and win in each row


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Chain:
    """The best level of each row at a price of risk, and what follows from it."""

    levels: Ladder
    level: Places  # by row
    value: float  # per request, what charges cost included
    price: Array  # of a token, by row
    shares: Array  # of time with 1, 2, … requests
    charge: float  # mean of a request
    risk_price: float


FREE = Allowance(charge=math.inf, worth=0.0)  # where there is no account


def affordable(ladders: ChargedLadders | RacingLadders, rows: ChainRows, allowance: Allowance) -> Chain:
    """Returns the chain at the least price of risk from the worth of kept risk on that keeps to the allowance.

    If none does, the one with the least charge found.
    """
    low, found = allowance.worth, chain(ladders, rows, allowance.worth)
    if found.charge <= allowance.charge:
        return found
    step = max(low, 0.1)
    while found.charge > allowance.charge and low + step < DEAREST:
        before, found = found, chain(ladders, rows, low + step)
        if found.charge > allowance.charge:
            low, step = low + step, 2.0 * step
    high = found.risk_price
    while high - low > EXACT * high and found.charge <= allowance.charge:
        middle = (low + high) / 2.0
        tried = chain(ladders, rows, middle)
        if tried.charge <= allowance.charge:
            high, found = middle, tried
        else:
            low, before = middle, tried
        if np.array_equal(before.level, found.level) and before.levels is found.levels:
            break
    return found


def chain(ladders: ChargedLadders | RacingLadders, rows: ChainRows, risk_price: float) -> Chain:
    """Returns the best levels at a price of risk."""
    levels = ladders.at(risk_price)
    assert levels.charge is not None
    every = np.arange(len(rows.decoded))
    tokens, accuracy = rows.raced.of(levels.points)
    tokens = np.broadcast_to(tokens, (len(every), tokens.shape[1]))
    worth = np.broadcast_to(accuracy - risk_price * levels.charge, tokens.shape)
    level = np.zeros(len(every), dtype=np.intp)
    for _ in range(ROUNDS):
        service, gains = rows.decoded / tokens[every, level], worth[every, level]
        value, shares = _gain(service, gains, rows)
        fewer = _fewer(service, gains, rows, value, usual=int(shares.argmax()))
        rates = (worth + fewer[:, None]) / tokens
        now = rates[every, level]
        price = rates.max(axis=1)
        better = price > now + 1e-12 * np.abs(now)
        if not better.any():
            break
        level = np.where(better, rates.argmax(axis=1), level)
    ends = shares * rows.decoded / tokens[every, level]
    return Chain(
        levels=levels,
        level=level,
        value=value,
        price=price,
        shares=shares,
        charge=float(ends @ levels.charge[level]),
        risk_price=risk_price,
    )


def _gain(service: Array, gains: Array, rows: ChainRows) -> tuple[float, Array]:
    """Returns the value per arrival, and the share of time with 1, 2, … requests.

    `service`: requests that end per arrival, `gains`: what each is worth, both by row.
    """
    log = -np.cumsum(np.log(service))  # of the share of each row, over that of an empty system
    most = max(0.0, float(log.max()))
    shares = np.exp(log - most)
    shares /= shares.sum() + np.exp(-most)
    reward = service * gains - rows.waiting
    return float(shares @ reward - shares[-1] * rows.turned_away), shares


def _fewer(service: Array, gains: Array, rows: ChainRows, value: float, *, usual: int) -> Array:
    """Returns what having one request fewer is worth, by row; the recursion runs from both ends, as errors fade so."""
    ended, won, waiting = service.tolist(), gains.tolist(), rows.waiting.tolist()
    found = [0.0] * len(ended)
    found[0] = -value
    for row in range(usual):
        found[row + 1] = ended[row] * (won[row] + found[row]) - value - waiting[row]
    later = rows.turned_away
    for row in range(len(ended) - 1, usual, -1):
        found[row] = later = (value + waiting[row] + later) / ended[row] - won[row]
    return np.array(found)
