"""What a worked problem consists of: steps that build on each other, and what they come to, slips included."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

LARGEST = 99  # every number of a problem lies within 1 and this


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """Stands for what an earlier step, counted from 0, came to."""

    step: int


Operand = int | Result


@dataclass(frozen=True, slots=True, kw_only=True)
class Calculation:
    """`left sign right`, modulo `modulus` if there is one.

    `quote` is the part of the question that asks for it; `given` says what is known before, with {left} and {right}.
    """

    quote: str
    given: str
    left: Operand
    sign: str
    right: Operand
    modulus: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """The `wanted` ("largest" or "smallest") of `items` without what earlier steps have taken."""

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
    greater: str  # the answer if it is
    otherwise: str


Step = Calculation | Selection | Comparison


@dataclass(frozen=True, slots=True, kw_only=True)
class Worked:
    """A step with its numbers: (left, right), or the items that are left; and what it is said to come to."""

    step: Step
    numbers: tuple[int, ...]
    result: int | str


class OutOfRange(ValueError):
    """A wrong result leads on to numbers that no problem has."""


def work(steps: Sequence[Step], slips: Mapping[int, int] | None = None) -> list[Worked]:
    """Work steps one after the other; `slips` gives wrong results by step, which later steps then build on.

    Raises OutOfRange where a number leaves 1 to 99.
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
    """What a step really comes to, given its numbers."""
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
    assert isinstance(value, int)  # only the last step of a problem comes to a word
    return value
