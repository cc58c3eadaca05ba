"""Shuffled assignments with one value asked for: the solver must first find which variable depends on which."""

import numpy as np

from models.reasoner.families.draft import Draft, pick
from models.reasoner.steps import LARGEST, Calculation, Operand, Result, right_result

_NAMES = "abcdefghkmnpqrstuvwxyz"
_TWO_NAMES = 0.3  # share of the later steps that combine two earlier values
_DISTRACTED = 0.5  # share of problems of three and more operations with a line that is not needed


def draw(rng: np.random.Generator, operations: int) -> Draft:
    """Draw a problem in which the value asked for takes `operations` operations."""
    names = [_NAMES[int(place)] for place in rng.permutation(len(_NAMES))[: operations + 2]]
    values = [int(rng.integers(3, 80))]
    lines = [f"{names[0]} = {values[0]}"]
    steps: list[Calculation] = []
    while len(steps) < operations:
        here = len(steps)
        two = here >= 2 and rng.random() < _TWO_NAMES
        left: Operand = Result(step=here - 1) if here else values[0]
        right: Operand
        if two:
            other = int(rng.integers(1, here))  # an earlier value, on which the last step depends too
            sign, right, said, number = pick(rng, "+-"), Result(step=other - 1), names[other], values[other]
            given = f"{names[here]} is {{left}} and {said} is {{right}}"
        else:
            sign = pick(rng, "++--*")
            right = number = int(rng.integers(2, 6 if sign == "*" else 60))
            said, given = str(number), f"{names[here]} is {{left}}"
        quote = f"{names[here + 1]} = {names[here]} {sign} {said}"
        step = Calculation(quote=quote, given=given, left=left, sign=sign, right=right)
        result = right_result(step, (values[here], number))
        assert isinstance(result, int)
        if 2 <= result <= LARGEST:
            steps.append(step)
            lines.append(quote)
            values.append(result)
    asked = names[operations]
    if operations >= 3 and rng.random() < _DISTRACTED:
        lines.append(f"{names[-1]} = {pick(rng, names[:operations])} {pick(rng, '+-')} {int(rng.integers(2, 60))}")
    shuffled = [lines[int(place)] for place in rng.permutation(len(lines))]
    listed = ", ".join(shuffled)
    question = pick(
        rng,
        (
            f"Let {listed}. What is {asked}?",
            f"If {listed}, what is the value of {asked}?",
            "\n".join([*shuffled, f"Find {asked}."]),
            f"Find the value of {asked}, given that {listed}.",
        ),
    )
    chain = ", ".join(f"{names[i]} needs {names[i - 1]}" for i in range(operations, 0, -1))
    return Draft(question=question, opening=f"{chain}, and {lines[0]}.", steps=tuple(steps))
