"""The steps of a problem, which build on each other, and their results, slips included."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

LARGEST = 99  # every number of a problem lies in 1…LARGEST


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """Stands for the result of an earlier step, counted from 0."""

    step: int


Operand = int | Result


@dataclass(frozen=True, slots=True, kw_only=True)
class Calculation:
    """`left sign right`, modulo `modulus`; None: no modulus.

    `quote` is the part of the question that asks for it; `given` is a template, with {left} and {right}, that states
    the values known before it.
    """

    quote: str
    given: str
    left: Operand
    sign: str
    right: Operand
    modulus: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """The `wanted` ("largest" or "smallest") of `items`, leaving out the results of the steps in `without`."""

    wanted: str
    items: tuple[int, ...]
    without: tuple[Result, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The last step of a question with two possible answers: whether `left` is greater than `right`."""

    quote: str
    given: str
    left: Operand
    right: int
    greater: str  # the answer if it is greater
    otherwise: str


Step = Calculation | Selection | Comparison


@dataclass(frozen=True, slots=True, kw_only=True)
class Worked:
    """A step with its numbers, (left, right) or the remaining items, and its stated result, which may be a slip."""

    step: Step
    numbers: tuple[int, ...]
    result: int | str


class OutOfRange(ValueError):
    """A wrong result leads to a number outside 1…LARGEST."""


def work(steps: Sequence[Step], slips: Mapping[int, int] | None = None) -> list[Worked]:
    """Work steps one after the other; `slips` gives wrong results by step index, which later steps build on.

    `slips` None: no slips. Raises OutOfRange if a result lies outside 1…99.
    """
    worked: list[Worked] = []
    for index, step in enumerate(steps):
        numbers = _numbers(step, worked)
        result = slips[index] if slips and index in slips else right_result(step, numbers)
        if isinstance(result, int) and not 1 <= result <= LARGEST:
            raise OutOfRange(f"step {index + 1} comes to {result}, must be within 1 and {LARGEST}")
        worked.append(Worked(step=step, numbers=numbers, result=result))
    return worked


def right_result(step: Step, numbers: Sequence[int]) -> int | str:
    """The correct result of a step, given its numbers."""
    if isinstance(step, Selection):
        return max(numbers) if step.wanted == "largest" else min(numbers)
    left, right = numbers
    if isinstance(step, Comparison):
        return step.greater if left > right else step.otherwise
    exact = {"+": left + right, "-": left - right, "*": left * right}[step.sign]
    return exact if step.modulus is None or exact < 0 else exact % step.modulus


def _numbers(step: Step, before: Sequence[Worked]) -> tuple[int, ...]:
    if isinstance(step, Selection):
        taken = [_value(result, before) for result in step.without]
        return tuple(item for item in step.items if item not in taken)
    return (_value(step.left, before), _value(step.right, before))


def _value(operand: Operand, before: Sequence[Worked]) -> int:
    if isinstance(operand, int):
        return operand
    value = before[operand.step].result
    assert isinstance(value, int)  # only the last step of a problem has a word as result
    return value
