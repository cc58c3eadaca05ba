"""Slips, the wrong results of steps done in the head: invented ones, and those that the model itself made."""

import re

import numpy as np

from models.reasoner.steps import LARGEST, Selection, work
from models.reasoner.tasks import Problem

_NEAR = (1, 2, 9, 10, 11, 20)  # a wrong ones digit, a forgotten carry, both
_STEP = re.compile(r"Step (\d+): [^\n]* is (\d+)\.")


def invented(problem: Problem, rng: np.random.Generator) -> dict[int, int]:
    """A likely wrong result for one step of the problem, by step index; empty if the draw gives no usable one."""
    index = int(rng.integers(len(problem.steps)))
    worked = work(problem.steps)[index]
    if not isinstance(worked.result, int):
        return {}
    if isinstance(worked.step, Selection):
        wrong = int(rng.choice(worked.numbers))
    else:
        wrong = worked.result + int(rng.choice(_NEAR)) * int(rng.choice((-1, 1)))
    return {index: wrong} if wrong != worked.result and 1 <= wrong <= LARGEST else {}


def made(problem: Problem, thought: str) -> dict[int, int]:
    """The first wrong result of a step done in the head in the model's thought, by step index; empty: none usable."""
    for number, result in _STEP.findall(thought):
        index, wrong = int(number) - 1, int(result)
        if not 0 <= index < len(problem.steps):
            return {}
        right = work(problem.steps)[index].result
        if wrong != right:
            return {index: wrong} if isinstance(right, int) and 1 <= wrong <= LARGEST else {}
    return {}
