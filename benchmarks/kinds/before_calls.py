"""Measures what probes say of thoughts that end in a tool call: how often a trial answer is sure there, and right.

The server does not probe thoughts beside tools, since a probe's suffix fits answers only. Here thoughts about sums,
beside a calculator, are probed as if they led to an answer, and never closed. Told are the thoughts that ended in a
call, and of these the ones that a threshold would have closed before it, with the trial answer for a reply.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.support import report
from controller.policy import Limits
from controller.serving.reply import Channel, Delta
from controller.serving.request import Checkpoint, Outcome, ReasoningRequest
from engine.registry import engine_options, open_engine
from experiments.evaluation.evaluation import evaluation_loop
from experiments.statistics import interval
from models.chat_model import ChatModel, load_chat_model
from models.reasoner import bundled_model
from models.reasoner.forms import ABOUT, ASKED_SUMS, TOOLS
from models.tools.form import marks_of
from models.tools.offer import OfferedTool
from models.tools.pieces import CallPiece
from models.tools.reader import reader_of

THRESHOLDS = (0.80, 0.95)
LONGEST = 512  # tokens of a reply


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedSum:
    """A sum that is asked beside a calculator."""

    question: str
    tool: OfferedTool
    value: str


@dataclass(slots=True)
class SumReply:
    """A sum, and what has come of it."""

    asked: AskedSum
    text: str = ""  # of the answer
    thought: int = 0  # tokens
    probes: list[Checkpoint] = field(default_factory=list)

    def take(self, item: Delta | Outcome) -> None:
        """Collects the answer's text."""
        if isinstance(item, Outcome):
            self.thought = item.thought.tokens
        elif item.channel is Channel.CONTENT:
            self.text += item.text

    def first_sure(self, threshold: float) -> Checkpoint | None:
        """Returns the trial answer that would have become the reply; None: none is sure."""
        return next((probe for probe in self.probes if probe.confidence >= threshold), None)

    def right(self, probe: Checkpoint) -> bool:
        """Whether a trial answer is the sum's value."""
        return probe.answer.strip() == self.asked.value


@dataclass(frozen=True, slots=True, kw_only=True)
class SureBefore:
    """What a threshold would have made of the thoughts that ended in a call."""

    threshold: float
    thoughts: int  # that ended in a call
    closed: int  # of them, before it, by a sure trial answer
    right: int  # of these trial answers
    probes: int  # in all thoughts
    sure: int  # of the probes
    sure_right: int  # of the sure ones


def sums(count: int, seed: int) -> Iterator[AskedSum]:
    """Yields so many sums."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        left, right = (int(number) for number in rng.integers(2, 1000, size=2))
        sign = str(rng.choice(list("+-*")))
        sum_ = f"{left} {sign} {right}"
        expression: dict[str, Any] = {"type": "object", "properties": {"expression": {"type": "string"}}}
        tool = OfferedTool(
            name=str(rng.choice(TOOLS)),
            description=str(rng.choice(ABOUT)),
            parameters={**expression, "required": ["expression"]},
        )
        value = {"+": left + right, "-": left - right, "*": left * right}[sign]
        yield AskedSum(question=str(rng.choice(ASKED_SUMS)).format(sum=sum_), tool=tool, value=str(value))


def answered(directory: Path, asked: Sequence[AskedSum], every: int | None) -> list[SumReply]:
    """Returns the model's greedy replies to sums, whose thoughts are probed every so many tokens and never closed.

    `every` None: they are probed where serving would do it. Raises EngineError or TokenizerError if the model cannot be
    loaded.
    """
    model = load_chat_model(directory)
    opened = open_engine(directory, engine_options("auto", {}))
    loop = evaluation_loop(opened.engine, model, Limits(threshold=math.inf, every=every))
    replies = [SumReply(one) for one in asked]
    form = model.call_form
    for reply in replies:
        messages = [{"role": "user", "content": reply.asked.question}]
        prompt = model.begin(messages, tools=[reply.asked.tool])
        request = ReasoningRequest(
            prompt=prompt.tokens,
            max_tokens=LONGEST,
            thinking=prompt.thinking,
            calls=None if form is None else marks_of(form),
        )
        loop.submit(request, reply.take, reply.probes.append)
    while loop.busy:
        loop.tick()
    return replies


def called(model: ChatModel, reply: SumReply) -> bool:
    """Whether a reply calls its tool."""
    if model.call_form is None:
        return False
    reader = reader_of(model.call_form, {reply.asked.tool.name: reply.asked.tool.parameters}, eager=False)
    pieces = [*reader.push(reply.text), *reader.rest()]
    return any(isinstance(piece, CallPiece) and piece.name == reply.asked.tool.name for piece in pieces)


def counted(replies: Sequence[SumReply], threshold: float) -> SureBefore:
    """Counts what a threshold would have made of replies, all of which call."""
    firsts = [(reply, probe) for reply in replies if (probe := reply.first_sure(threshold)) is not None]
    sure = [(reply, probe) for reply in replies for probe in reply.probes if probe.confidence >= threshold]
    return SureBefore(
        threshold=threshold,
        thoughts=len(replies),
        closed=len(firsts),
        right=sum(reply.right(probe) for reply, probe in firsts),
        probes=sum(len(reply.probes) for reply in replies),
        sure=len(sure),
        sure_right=sum(reply.right(probe) for reply, probe in sure),
    )


def show(name: str, replies: Sequence[SumReply], found: Sequence[SureBefore]) -> None:
    """Prints a table of what the thresholds would have made of one group of replies."""
    click.echo(f"{name}: {len(replies)}, {sum(reply.thought for reply in replies) / max(1, len(replies)):.1f} tokens")
    if not any(one.probes for one in found):
        click.echo("  none was probed")
        return
    click.echo(f"{'threshold':>11}{'closed':>15}{'95 % interval':>18}{'right':>8}{'sure probes':>14}{'right':>8}")
    for one in found:
        low, high = interval(one.closed, one.thoughts)
        click.echo(
            f"{one.threshold:>11.2f}{one.closed:>15}{f'{low:.1%} … {high:.1%}':>18}{one.right:>8}"
            f"{f'{one.sure} of {one.probes}':>14}{one.sure_right:>8}"
        )


def main() -> None:
    """Command line: decode, probe, print, and write the JSON file if one is named."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kinds.before_calls", description=__doc__)
    parser.add_argument("--model", type=Path, help="model directory (default: the bundled model)")
    parser.add_argument("-n", "--requests", type=int, default=200)
    parser.add_argument("--every", type=int, default=4, help="tokens between probes; 0: where serving probes")
    parser.add_argument("--thresholds", type=float, nargs="+", default=THRESHOLDS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="JSON file for the results")
    options = parser.parse_args()
    ran = report.circumstances("benchmarks.kinds.before_calls", options.seed)
    directory = options.model or bundled_model()
    replies = answered(directory, list(sums(options.requests, options.seed)), options.every or None)
    model = load_chat_model(directory)
    calls = [called(model, reply) for reply in replies]
    results: dict[str, Any] = {"requests": len(replies), "calls": sum(calls)}
    for name, wanted in (("thoughts that ended in a call", True), ("thoughts without a call", False)):
        group = [reply for reply, call in zip(replies, calls, strict=True) if call is wanted]
        found = [counted(group, threshold) for threshold in options.thresholds]
        show(name, group, found)
        results[name] = [asdict(one) for one in found]
    if options.out is not None:
        report.write(options.out, ran, results)


if __name__ == "__main__":
    main()
