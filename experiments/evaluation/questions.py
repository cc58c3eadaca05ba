"""Questions of the bundled benchmarks."""

from __future__ import annotations

from functools import partial

import numpy as np

from experiments.grading.exact import last_boxed
from experiments.grading.grade import Grade
from experiments.grading.grader import Grader
from experiments.question import Question
from models.profile.profile import Profile, ProfileError
from models.reasoner.tasks import FAMILIES, Problem, generate, grade


def bundled_questions(count: int, seed: int) -> list[Question]:
    """Returns `count` distinct questions of each bundled benchmark, from the part held out from training."""
    grader = Grader()
    return [_question(problem, grader) for family in FAMILIES for problem in _distinct(family, count, seed)]


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


def calibrated_files(profile: Profile) -> list[str] | None:
    """Returns the names of the files whose questions a profile's calibration asked; [] if they were the bundled ones.

    None: the profile's provenance does not tell.
    """
    files = profile.provenance.get("options", {}).get("files")
    return [str(name) for name in files] if isinstance(files, list | tuple) else None


def _distinct(family: str, count: int, seed: int) -> list[Problem]:
    rng = np.random.default_rng([seed, FAMILIES.index(family)])
    found: dict[str, Problem] = {}
    while len(found) < count:
        problem = generate(family, rng, from_held_out=True)
        found.setdefault(problem.question, problem)
    return list(found.values())


def _question(problem: Problem, grader: Grader) -> Question:
    return Question(
        text=problem.question,
        benchmark=problem.family,
        split=problem.split,
        grade=partial(_grade, problem=problem, grader=grader),
        grade_boxed=partial(_grade_boxed, problem=problem, grader=grader),
        same=grader.same,
        gold=problem.answer,
    )


def _grade(reply: str, *, problem: Problem, grader: Grader) -> Grade:
    """Grades by the benchmark's own rule first; other spellings of the answer are other models'."""
    if grade(reply, problem):
        return Grade(True)
    boxed = last_boxed(reply)
    return Grade(False) if boxed is None else grader.same(boxed, problem.answer)


def _grade_boxed(answer: str, *, problem: Problem, grader: Grader) -> Grade:
    return _grade(f"\\boxed{{{answer}}}", problem=problem, grader=grader)
