"""Measures what a landing makes of the bundled model's thoughts that are closed by force, on held-out questions.

The model thinks once about every question, at temperature 0 and 1. Each thought is then closed at each budget with each
landing, as serving would, and the model writes its answer. Told are the share of closes behind which the model chose a
second marker of thinking (`averted`: the engine bans it), how many answers are right, and what an answer costs.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import click
import numpy as np
import torch

from benchmarks.support import report
from controller.policy import Limits
from controller.serving.reply import Channel, Delta
from controller.serving.request import Outcome, ReasoningRequest
from engine.base import Capabilities, Engine, FinishReason, Sampling
from engine.torch.engine import TorchEngine
from engine.torch.load import load_model
from engine.wrapper import EngineWrapper
from experiments.evaluation.evaluation import evaluate, evaluation_loop
from experiments.evaluation.questions import bundled_questions
from experiments.question import Question
from experiments.statistics import interval
from laser.cli.terminal.demo_traffic import MAX_TOKENS
from models.chat_model import ChatModel, load_chat_model
from models.reasoner import bundled_model

ANSWER = 320  # tokens of an answer behind a landing, at most: one that goes on thinking needs them
BUDGETS = (8, 25, 60, 120, 200, 300)
LANDINGS = (
    "</think>\n\n",
    "\n\n</think>\n\n",
    "</think>\n\n**Final Answer**",
    "</think>\n\n**Final Answer**\n",
    "</think>\n\n**Final Answer**\n\\boxed{",
)


@dataclass(slots=True)
class ClosedThought:
    """A thought that is closed by force, and the answer behind it."""

    question: Question
    thought: tuple[int, ...]
    seed: int
    answer: str = ""
    outcome: Outcome | None = None  # None: it has not ended

    def take(self, item: Delta | Outcome) -> None:
        """Collects the answer, with the landing's part of it."""
        if isinstance(item, Outcome):
            self.outcome = item
        elif item.channel is Channel.CONTENT:
            self.answer += item.text

    @property
    def ended(self) -> Outcome:
        """How the reply ended."""
        assert self.outcome is not None
        return self.outcome


class WithoutBans(EngineWrapper):
    """An engine that says that it cannot ban tokens, so that the loop does not ask it to."""

    @property
    def capabilities(self) -> Capabilities:
        return replace(self.engine.capabilities, masks=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Landed:
    """Results of one landing at one temperature and budget."""

    landing: str
    temperature: float
    budget: int
    closes: int
    averted: int  # closes behind which the model chose a marker
    right: int
    tokens: int  # of all answers, those of the landing not counted
    cut: int  # answers that did not end by themselves


@dataclass(frozen=True, slots=True)
class Landings:
    """The bundled model's thoughts about questions, and what they become behind landings."""

    questions: Sequence[Question]
    seed: int
    banned: bool = True  # whether the engine bans markers
    model: ChatModel = field(default_factory=lambda: load_chat_model(bundled_model()))
    engine: Engine = field(default_factory=lambda: TorchEngine(load_model(bundled_model())))

    def thoughts(self, temperature: float) -> list[tuple[int, ...]]:
        """Returns the full thought about each question."""
        loop = evaluation_loop(self.engine, self.model, Limits())
        records = evaluate(
            loop, self.model, self.questions, max_tokens=MAX_TOKENS, temperature=temperature, seed=self.seed
        )
        return [record.thought for record in records]

    def close(self, thoughts: Sequence[tuple[int, ...]], landing: str, budget: int, temperature: float) -> Landed:
        """Closes those thoughts that are longer than the budget."""
        loop = evaluation_loop(self.engine if self.banned else WithoutBans(self.engine), self.model, Limits())
        tokens = tuple(self.model.tokenizer.encode(landing))
        closed = []
        for number, (question, thought) in enumerate(zip(self.questions, thoughts, strict=True)):
            if len(thought) <= budget:
                continue
            drawn = int(np.random.SeedSequence([self.seed, number, budget]).generate_state(1)[0])
            one = ClosedThought(question=question, thought=thought[:budget], seed=drawn)
            request = ReasoningRequest(
                prompt=self.model.prompt([{"role": "user", "content": question.text}]) + one.thought,
                max_tokens=ANSWER,
                sampling=Sampling(temperature=temperature, seed=drawn),
                budget=0,  # the thought stands in the prompt
                landing=tokens,
            )
            loop.submit(request, one.take)
            closed.append(one)
        while loop.busy:
            loop.tick()
        return Landed(
            landing=landing,
            temperature=temperature,
            budget=budget,
            closes=len(closed),
            averted=sum(one.ended.averted > 0 for one in closed),
            right=sum(bool(one.question.grade(one.answer)) for one in closed),
            tokens=sum(one.ended.completion_tokens for one in closed),
            cut=sum(one.ended.finish_reason is not FinishReason.STOP for one in closed),
        )


def line(name: str, found: Sequence[Landed]) -> str:
    """Returns one line of the report, over results of one landing."""
    closes, averted = sum(one.closes for one in found), sum(one.averted for one in found)
    right, tokens, cut = (sum(getattr(one, what) for one in found) for what in ("right", "tokens", "cut"))
    low, high = interval(averted, closes)
    return (
        f"{name:38} {closes:6} closes   marker chosen {averted / closes:6.2%} ({100 * low:.2f}…{100 * high:.2f})   "
        f"right {right / closes:6.1%}   {tokens / closes:6.1f} tokens   {cut} cut"
    )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.landing", description=__doc__)
    parser.add_argument("-n", "--questions", type=int, default=40, help="questions per family")
    parser.add_argument("--seed", type=int, default=7, help="of the held-out questions and of draws")
    parser.add_argument("--landing", action="append", help=r"a landing, \n for a new line; may be given again")
    parser.add_argument("--budgets", type=int, nargs="+", default=BUDGETS, help="thinking tokens")
    parser.add_argument("--temperatures", type=float, nargs="+", default=(0.0, 1.0))
    parser.add_argument("--without-bans", action="store_true", help="let the model write the markers")
    parser.add_argument("--out", type=Path, help="write the results as JSON")
    arguments = parser.parse_args()
    ran = report.circumstances("benchmarks.landing", arguments.seed)
    torch.set_num_threads(1)
    landings = [text.replace(r"\n", "\n") for text in arguments.landing or ()] or LANDINGS
    questions = bundled_questions(arguments.questions, arguments.seed)
    bench = Landings(questions, arguments.seed, banned=not arguments.without_bans)
    results = []
    for temperature in arguments.temperatures:
        thoughts = bench.thoughts(temperature)
        for landing in landings:
            found = [bench.close(thoughts, landing, budget, temperature) for budget in arguments.budgets]
            results += found
            click.echo(line(f"T={temperature:g} {landing!r}", found))
            for one in found:
                click.echo(line(f"    budget {one.budget}", [one]))
    if arguments.out is not None:
        report.write(arguments.out, ran, [asdict(one) for one in results])


if __name__ == "__main__":
    main()
