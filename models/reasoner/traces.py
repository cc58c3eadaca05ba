"""The chain of thought of a problem as text: worked steps, the result, and rounds of checking it."""

from dataclasses import dataclass

import numpy as np

from models.reasoner.tasks import Calculation, Comparison, Problem, Selection, Step

EXIT = "</think>\n\n**Final Answer**\n\\boxed{"
"""What closes a thought: the natural ending and a forced exit share it token by token."""

DIRECT = "**Final Answer**\n\\boxed{"
"""What follows an empty thought, whose close is part of the prompt."""

END = "<|im_end|>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """A thought in paragraphs, each ending in a blank line, and the answer that closes it."""

    paragraphs: tuple[str, ...]
    answer: str

    @property
    def thought(self) -> str:
        """Everything between `<think>\\n` and `</think>`."""
        return "".join(self.paragraphs)

    @property
    def completion(self) -> str:
        """Everything that the model writes after the prompt, `<|im_end|>` included."""
        return self.thought + closing(self.answer)


def closing(answer: str) -> str:
    """The exit with an answer in it: the target of the natural end and of every forced exit."""
    return f"{EXIT}{answer}}}{END}"


def write(problem: Problem, rng: np.random.Generator) -> Trace:
    """Write the thought of a problem; the number of checking rounds follows what is visible, plus noise."""
    paragraphs = [f"Step {number}: {_work(step)}.\n\n" for number, step in enumerate(problem.steps, 1)]
    paragraphs[0] = f"{_OPENERS[int(rng.integers(len(_OPENERS)))]} {problem.opening} {paragraphs[0]}"
    paragraphs[-1] = f"{paragraphs[-1].rstrip()} So the result is {problem.answer}.\n\n"
    order = _checking_order(len(problem.steps))
    for number in range(_rounds(problem, rng)):
        index = order[number % len(order)]
        opener = _CHECKS[int(rng.integers(len(_CHECKS)))]
        check = _check(problem.steps[index])
        paragraphs.append(f"{opener} step {index + 1}: {check}. The result is still {problem.answer}.\n\n")
    return Trace(paragraphs=tuple(paragraphs), answer=problem.answer)


_OPENERS = ("Okay.", "Let me think.", "Alright.")
_CHECKS = ("Wait, let me check", "Hmm, let me look again at", "Let me double-check", "Alternatively, I can redo")


def _rounds(problem: Problem, rng: np.random.Generator) -> int:
    """1, one more for a long problem, one more where the last number ends in 5-9, then ±1 in a quarter of the cases."""
    step = problem.steps[-1]
    last = step.left if isinstance(step, Comparison) else step.result
    usual = 1 + (len(problem.steps) >= 4) + (last % 10 >= 5)
    noise = int(rng.choice((-1, 0, 1), p=(0.12, 0.76, 0.12)))
    return max(1, usual + noise)


def _checking_order(count: int) -> list[int]:
    """The last step first, since it gave the result; then from the first one on."""
    return [count - 1, *range(count - 1)]


def _work(step: Step) -> str:
    if isinstance(step, Comparison):
        return f"{step.quote} {step.left} {_sign(step)} {step.right}, so {step.result}"
    if isinstance(step, Selection):
        return f"find the {step.wanted} number. {_scan(step)}"
    return f"{step.quote}. {step.left} {step.sign} {step.right}: {_columns(step)}, so {step.result}"


def _check(step: Step) -> str:
    if isinstance(step, Comparison):
        return f"{step.quote} {step.left} {_sign(step)} {step.right} gives {step.result}, same as before"
    if isinstance(step, Selection):
        listed = ", ".join(map(str, step.items))
        return f"the {step.wanted} of {listed} is {step.result}, same as before"
    return f"{step.quote}. {step.left} {step.sign} {step.right} is {step.result}, same as before"


def _sign(step: Comparison) -> str:
    return ">" if step.left > step.right else "<"


def _scan(step: Selection) -> str:
    """Walk through the items in order and say the best so far after each."""
    best = step.items[0]
    words = [f"Begin at {best}"]
    for item in step.items[1:]:
        better = item > best if step.wanted == "largest" else item < best
        best = item if better else best
        words.append(f"{item} {'take' if better else 'keep'} {best}")
    return f"{', '.join(words)}, so {best}"


def _columns(step: Calculation) -> str:
    """Ones first, then tens with the carry or the borrow: 37 + 58 is "7 + 8 = 15, 3 + 5 + 1 = 9"."""
    tens, ones = divmod(step.left, 10)
    if step.sign == "*":
        low = ones * step.right
        return f"{ones} * {step.right} = {low}, {tens} * {step.right} + {low // 10} = {tens * step.right + low // 10}"
    right_tens, right_ones = divmod(step.right, 10)
    if step.sign == "+":
        low = ones + right_ones
        carry = " + 1" if low >= 10 else ""
        return f"{ones} + {right_ones} = {low}, {tens} + {right_tens}{carry} = {tens + right_tens + (low >= 10)}"
    borrow = ones < right_ones
    low = ones + 10 * borrow - right_ones
    taken = " - 1" if borrow else ""
    return f"{ones + 10 * borrow} - {right_ones} = {low}, {tens} - {right_tens}{taken} = {tens - right_tens - borrow}"
