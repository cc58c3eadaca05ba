"""Questions of the bundled benchmarks."""

from __future__ import annotations

from functools import partial

import numpy as np

from experiments.question import Question
from models.profile.profile import Profile, ProfileError
from models.reasoner.tasks import FAMILIES, Problem, generate, grade


def bundled_questions(count: int, seed: int) -> list[Question]:
    """Returns `count` distinct questions of each bundled benchmark, from the part held out from training."""
    return [_question(problem) for family in FAMILIES for problem in _distinct(family, count, seed)]


def calibrated_questions(profile: Profile) -> tuple[int, int]:
    """Returns the number of questions per benchmark that a profile's calibration asked, and the seed that drew them.

    Raises ProfileError if the profile's provenance lacks either number.
    """
    options = profile.provenance.get("options", {})
    for name in ("count", "seed"):
        if not isinstance(options.get(name), int):
            raise ProfileError(
                f"the profile's provenance.options.{name} is {options.get(name)!r}, must be a whole number"
            )
    return options["count"], options["seed"]


def _distinct(family: str, count: int, seed: int) -> list[Problem]:
    rng = np.random.default_rng([seed, FAMILIES.index(family)])
    found: dict[str, Problem] = {}
    while len(found) < count:
        problem = generate(family, rng, from_held_out=True)
        found.setdefault(problem.question, problem)
    return list(found.values())


def _question(problem: Problem) -> Question:
    return Question(
        text=problem.question,
        benchmark=problem.family,
        split=problem.split,
        grade=partial(grade, problem=problem),
        grade_boxed=partial(_grade_boxed, problem=problem),
    )


def _grade_boxed(answer: str, *, problem: Problem) -> bool:
    return grade(f"\\boxed{{{answer}}}", problem)
