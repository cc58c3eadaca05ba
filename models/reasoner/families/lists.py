"""The k-th largest or smallest number of a list by selection; sums and differences of extremes."""

import numpy as np

from models.reasoner.families.draft import Draft, pick
from models.reasoner.steps import LARGEST, Calculation, Operand, Result, Selection, Step

_RANK = {2: "second ", 3: "third ", 4: "fourth "}
_COUNT = {2: "two", 3: "three"}


def draw(rng: np.random.Generator, operations: int) -> Draft:
    """Draw a list problem of `operations` operations; each selection, sum or difference counts as one."""
    kind = "rank"
    if operations in (3, 5):
        kind = pick(rng, ("rank", "sum", "difference")) if operations == 3 else "sum"
    wanted = pick(rng, ("largest", "smallest"))
    picks = {"rank": operations, "sum": (operations + 1) // 2, "difference": 2}[kind]
    length = int(rng.integers(max(picks + 1, 4), 7))
    highest = LARGEST // picks if kind == "sum" else LARGEST
    items = tuple(int(item) for item in rng.choice(np.arange(3, highest + 1), size=length, replace=False))

    steps: list[Step] = []
    for number in range(picks):
        which = wanted if kind != "difference" else ("largest", "smallest")[number]
        without = tuple(Result(step=earlier) for earlier in range(number))
        steps.append(Selection(wanted=which, items=items, without=without))
    if kind == "difference":
        steps.append(_combination("difference", Result(step=0), "-", Result(step=1)))
        what = "difference between the largest and the smallest number"
    elif kind == "sum":
        total: Operand = Result(step=0)
        for number in range(1, picks):
            steps.append(_combination("sum", total, "+", Result(step=number)))
            total = Result(step=len(steps) - 1)
        what = f"sum of the {_COUNT[picks]} {wanted} numbers"
    else:
        what = f"{_RANK.get(picks, '')}{wanted} number"
    listed = ", ".join(map(str, items))
    question = pick(
        rng,
        (
            f"What is the {what} in the list {listed}?",
            f"Here is a list: {listed}. Find the {what}.",
            f"Given {listed}, what is the {what}?",
        ),
    )
    return Draft(question=question, opening=f"The list has {length} numbers.", steps=tuple(steps))


def _combination(what: str, left: Operand, sign: str, right: Operand) -> Calculation:
    return Calculation(quote=f"take the {what}", given="I have {left} and {right}", left=left, sign=sign, right=right)
