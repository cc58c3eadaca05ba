"""Arithmetic problems: a chain of operations modulo 100."""

from collections.abc import Sequence

import numpy as np

from models.reasoner.families.draft import COMPARED, Draft, bound, comparable, pick
from models.reasoner.steps import Calculation, Comparison, Operand, Result, Step, right_result

MODULUS = 100
_QUOTE = {"+": "add", "-": "subtract", "*": "multiply by"}
_HAVE = "I have {left}"


def draw(rng: np.random.Generator, operations: int) -> Draft:
    """Draw a problem of `operations` operations; the last may be a comparison."""
    start = value = int(rng.integers(5, MODULUS))
    compared = rng.random() < COMPARED
    chain: list[Calculation] = []
    while len(chain) < operations - compared:
        sign = pick(rng, "+-*")
        right = int(rng.integers(2, 10 if sign == "*" else MODULUS))
        left: Operand = Result(step=len(chain) - 1) if chain else start
        step = Calculation(
            quote=f"{_QUOTE[sign]} {right}", given=_HAVE, left=left, sign=sign, right=right, modulus=MODULUS
        )
        result = right_result(step, (value, right))
        assert isinstance(result, int)
        ends = len(chain) + 1 == operations - compared
        if result > 0 and (comparable(result) or not (compared and ends)):
            chain.append(step)
            value = result
    question = _question(rng, start, chain)
    steps: list[Step] = list(chain)
    if compared:
        limit = bound(rng, value)
        question = f"{question} Is it greater than {limit}, yes or no?"
        steps.append(
            Comparison(
                quote=f"is it greater than {limit}",
                given=_HAVE,
                left=Result(step=len(chain) - 1),
                right=limit,
                greater="yes",
                otherwise="no",
            )
        )
    return Draft(question=question, opening=f"Start with {start}.", steps=tuple(steps))


def _question(rng: np.random.Generator, start: int, chain: Sequence[Calculation]) -> str:
    wording = int(rng.integers(4))
    if wording == 0:
        expression = str(start)
        for done, step in enumerate(chain):
            inner = f"({expression})" if done else expression
            expression = f"{inner} {step.sign} {step.right}"
        return f"Compute {expression} and keep only the last two digits after every step."
    quotes = [step.quote for step in chain]
    if wording == 1:
        listed = ", then ".join(quotes)
        return f"Start with {start}. Then {listed}. After each step keep only the last two digits. What is the result?"
    if wording == 2:
        lines = "\n".join(f"{number}. {quote}" for number, quote in enumerate(quotes, 1))
        return f"Take {start} and do these steps modulo 100:\n{lines}\nWhat do you get?"
    listed = ", ".join(quotes)
    return f"Working modulo 100, begin with {start}: {listed}. Give the final number."
