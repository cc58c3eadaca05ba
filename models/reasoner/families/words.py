"""Word problems: a short story in which a number of things changes."""

import numpy as np

from models.reasoner.families.draft import COMPARED, Draft, bound, comparable, pick
from models.reasoner.steps import LARGEST, Calculation, Comparison, Operand, Result, Step, right_result

_PEOPLE = (("Mia", "She"), ("Tom", "He"), ("Ana", "She"), ("Ben", "He"), ("Zoe", "She"), ("Leo", "He"))
_THINGS = ("apples", "pens", "coins", "books", "cards", "shells", "stamps", "eggs")
_EVENTS = {
    "+": ("{who} buys {n} more", "{who} finds {n} more", "{who} gets {n} from {other}", "{who} wins {n} more"),
    "-": ("{who} gives {n} to {other}", "{who} loses {n}", "{who} sells {n}", "{who} uses {n}"),
    "*": ("Then the number grows to {n} times as many", "After a week {who} has {n} times as many"),
}


def draw(rng: np.random.Generator, operations: int) -> Draft:
    """Draw a story of `operations` operations; the last may be the question who has more."""
    order = rng.permutation(len(_PEOPLE))
    (name, pronoun), (other, _), (rival, _) = (_PEOPLE[place] for place in order[:3])
    compared = rng.random() < COMPARED
    things = pick(rng, _THINGS)
    have = f"{name} has {{left}}"
    steps: list[Step] = []
    left: Operand
    if rng.random() < 0.3:
        boxes, each = int(rng.integers(2, 10)), int(rng.integers(2, 10))
        value, first, left = boxes * each, f"{name} has {boxes} boxes with {each} {things} each", Result(step=0)
        quote = f"{boxes} boxes with {each} each"
        steps.append(Calculation(quote=quote, given="There are {left} boxes", left=boxes, sign="*", right=each))
        opening = f"{name} has {boxes} boxes."
    else:
        value = left = int(rng.integers(5, 80))
        first, opening = f"{name} has {value} {things}", f"{name} has {value} {things}."
    events: list[str] = []
    while len(steps) < operations - compared:
        sign = pick(rng, "++---*")
        right = int(rng.integers(2, 5 if sign == "*" else 60))
        form = pick(rng, _EVENTS[sign])
        who = (pronoun if rng.random() < 0.7 and not compared else name) if form.startswith("{who}") else name
        event = form.format(who=who, n=right, other=other)
        step = Calculation(quote=event, given=have, left=left, sign=sign, right=right)
        result = right_result(step, (value, right))
        assert isinstance(result, int)
        ends = len(steps) + 1 == operations - compared
        if 2 <= result <= LARGEST and (comparable(result) or not (compared and ends)):
            left, value = Result(step=len(steps)), result
            steps.append(step)
            events.append(event)
    if compared:
        has = bound(rng, value)
        first = f"{rival} has {has} {things} and {first}"
        quote = f"{rival} has {has}, who has more"
        steps.append(Comparison(quote=quote, given=have, left=left, right=has, greater=name, otherwise=rival))
    asked = pick(
        rng,
        (f"Who has more {things} now, {name} or {rival}?", f"Who has more {things} in the end, {rival} or {name}?")
        if compared
        else (
            f"How many {things} does {name} have now?",
            f"How many {things} are left at the end?",
            f"What is the number of {things} {name} has in the end?",
        ),
    )
    return Draft(question=". ".join([first, *events, asked]), opening=opening, steps=tuple(steps))
