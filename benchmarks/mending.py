"""Measures whether the bundled model's checks notice a wrong result that is put into a thought, a slip.

Each held-out problem is begun twice, up to a result that is computed without written steps: once wrong, once right. The
model writes the rest greedily, through the engine. A slip counts as flagged if a check calls its step "different"; a
check that calls a right step different is a false alarm.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import numpy as np
import torch

from benchmarks.support import report
from controller.serving.reply import Channel, Delta
from controller.serving.request import Outcome, ReasoningRequest
from engine.torch.engine import TorchEngine
from engine.torch.load import load_model
from experiments.evaluation.evaluation import evaluation_loop
from models.chat_model import load_chat_model
from models.reasoner import bundled_model
from models.reasoner.slips import invented
from models.reasoner.steps import OutOfRange, work
from models.reasoner.tasks import FAMILIES, Problem, generate, grade
from models.reasoner.traces import write

LONGEST = 768  # tokens of a reply
_VERDICT = re.compile(r"step (\d+)\. .*: (same|different)")


@dataclass(slots=True)
class StoppedThought:
    """A thought that stops right after the result of a step; the model writes the rest."""

    problem: Problem
    step: int
    prefix: str
    rest: str = ""
    answer: str = ""

    def take(self, item: Delta | Outcome) -> None:
        """Collects the reply's text."""
        if isinstance(item, Delta) and item.channel is Channel.CONTENT:
            self.answer += item.text
        elif isinstance(item, Delta):
            self.rest += item.text

    @property
    def right(self) -> bool:
        """Whether the final answer is right."""
        return grade(self.answer, self.problem)

    @property
    def verdicts(self) -> list[str]:
        """What the checks of the step say: "same" or "different"."""
        return [verdict for number, verdict in _VERDICT.findall(self.rest) if int(number) == self.step + 1]

    @property
    def flagged(self) -> bool:
        """Whether a check calls the step wrong."""
        return "different" in self.verdicts


def begin(family: str, count: int, rng: np.random.Generator) -> list[tuple[StoppedThought, StoppedThought]]:
    """Returns `count` held-out problems, each begun with a wrong result and with the right one."""
    pairs: list[tuple[StoppedThought, StoppedThought]] = []
    while len(pairs) < count:
        problem = generate(family, rng, from_held_out=True)
        for step, wrong in invented(problem, rng).items():
            try:
                trace = write(problem, rng, {step: wrong})
            except OutOfRange:
                continue
            here = next(i for i, text in enumerate(trace.texts) if f"Step {step + 1}: " in text)
            before = "".join(trace.texts[:here]) + trace.paragraphs[here][0][0]
            right = work(problem.steps)[step].result
            slipped, clean = (
                StoppedThought(problem=problem, step=step, prefix=f"{before} {result}") for result in (wrong, right)
            )
            pairs.append((slipped, clean))
    return pairs


def finish(thoughts: Sequence[StoppedThought]) -> None:
    """Has the model write the rest of every thought."""
    chat = load_chat_model(bundled_model())
    loop = evaluation_loop(TorchEngine(load_model(bundled_model())), chat)
    for thought in thoughts:
        prompt = chat.prompt([{"role": "user", "content": thought.problem.question}])
        tokens = (*prompt, *chat.tokenizer.encode(thought.prefix))
        loop.submit(ReasoningRequest(prompt=tokens, max_tokens=LONGEST, early_exit=False), thought.take)
    while loop.busy:
        loop.tick()


@dataclass(frozen=True, slots=True, kw_only=True)
class Mending:
    """Results of the slips in one family of problems, and of the same thoughts without slips."""

    family: str
    slips: int
    flagged: int
    mended: int  # final answers right despite the slip
    clean_checks: int  # thoughts without the slip that check the step
    false_alarms: int
    clean_right: int  # final answers right without the slip


def measure(family: str, pairs: Sequence[tuple[StoppedThought, StoppedThought]]) -> Mending:
    """Counts over finished pairs."""
    slipped, clean = zip(*pairs, strict=True)
    return Mending(
        family=family,
        slips=len(slipped),
        flagged=sum(one.flagged for one in slipped),
        mended=sum(one.right for one in slipped),
        clean_checks=sum(bool(one.verdicts) for one in clean),
        false_alarms=sum(one.flagged for one in clean),
        clean_right=sum(one.right for one in clean),
    )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mending", description=__doc__)
    parser.add_argument("-n", "--slips", type=int, default=250, help="slips per family")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="write the results as JSON")
    arguments = parser.parse_args()
    ran = report.circumstances("benchmarks.mending", arguments.seed)
    torch.set_num_threads(1)
    results = []
    for number, family in enumerate(FAMILIES):
        pairs = begin(family, arguments.slips, np.random.default_rng([arguments.seed, number]))
        finish([thought for pair in pairs for thought in pair])
        one = measure(family, pairs)
        results.append(one)
        click.echo(
            f"{family}: {one.flagged / one.slips:.1%} of {one.slips} slips flagged, "
            f"{one.mended / one.slips:.1%} mended; "
            f"without them: {one.false_alarms} false alarms in {one.clean_checks} checks, "
            f"{one.clean_right / one.slips:.1%} right"
        )
    slips, checks = sum(one.slips for one in results), sum(one.clean_checks for one in results)
    flagged, alarms = sum(one.flagged for one in results), sum(one.false_alarms for one in results)
    click.echo(f"all: flagged {flagged / slips:.1%} of {slips} slips, {alarms / max(checks, 1):.2%} false alarms")
    if arguments.out is not None:
        report.write(arguments.out, ran, [asdict(one) for one in results])


if __name__ == "__main__":
    main()
