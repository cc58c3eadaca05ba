"""Grades answers: exactly where that is enough, else by math-verify, once for each pair."""

from __future__ import annotations

from collections import OrderedDict

from experiments.grading.exact import answers, compared, mathematics
from experiments.grading.grade import Grade, GradedBy
from experiments.grading.mathematician import Mathematician

LIMIT_S = 2.0  # s of CPU time an answer
REMEMBERED = 20_000  # pairs


class Grader:
    """Grades answers, from any thread; it starts no process before an answer needs one."""

    def __init__(self, limit_s: float = LIMIT_S) -> None:
        self.limit_s = limit_s
        self.mathematician = Mathematician(limit_s)
        self._known: OrderedDict[tuple[str, str], Grade] = OrderedDict()

    def __reduce__(self) -> tuple[type[Grader], tuple[float]]:
        return Grader, (self.limit_s,)  # a copy, in another process too, asks a process of its own

    def close(self) -> None:
        """Ends the process, if there is one; it also ends with the grader."""
        self.mathematician.close()

    def right(self, reply: str, gold: str) -> Grade:
        """Grades a whole reply. Raises GradingError if math-verify is needed and does not run."""
        answer = answers(reply, gold)
        return Grade(False) if answer is None else self.same(answer, gold)

    def same(self, answer: str, gold: str) -> Grade:
        """Grades an answer, as a box holds it. Raises GradingError if math-verify is needed and does not run."""
        plainly = compared(answer, gold)
        if plainly is not None:
            return Grade(plainly)
        pair = mathematics(answer, gold)
        known = self._known.get(pair)
        if known is None:
            verdict = self.mathematician.same(*pair)
            known = Grade(bool(verdict), GradedBy.UNDECIDED if verdict is None else GradedBy.MATH_VERIFY)
            self._known[pair] = known
            if len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
        return known
