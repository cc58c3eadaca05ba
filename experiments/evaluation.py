"""How well a model answers, and what closing its thoughts early would have cost and saved, measured in one pass.

Every question is answered once with its full thought, probed at every transition point without ever being closed. The
record of those probes then tells, for any threshold, where the thought would have ended, with which answer, and at
what price: decoding is deterministic, so what came before that point would have been the same.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from controller.loop import ServingLoop
from controller.policies import FixedPolicy, Limits
from controller.reply import Channel, Delta
from controller.request import Checkpoint, Outcome, ReasoningRequest
from engine.base import Engine, FinishReason
from models.chat_model import ChatModel


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A question and how to tell whether a text answers it."""

    text: str
    family: str
    split: str
    grade: Callable[[str], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A probe of a thought, graded."""

    thought_tokens: int
    beyond: int  # tokens that the thought decoded beside the probe
    confidence: float
    right: bool
    rows: int  # of the probe: its suffix and trial answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One question's full thought and all the probes of it."""

    question: Question
    right: bool
    tokens: int  # of the whole reply
    rows: int  # token rows decoded for it in all: reply, withdrawn tokens, probes
    ended: bool  # by itself, not by the token limit
    probes: tuple[Asked, ...]


def evaluation_loop(engine: Engine, model: ChatModel, threshold: float = math.inf) -> ServingLoop:
    """A loop that probes thoughts at every transition point; by default it closes none."""
    return ServingLoop(
        engine=engine,
        tokenizer=model.tokenizer,
        thinking=model.thinking,
        policy=FixedPolicy(Limits(threshold=threshold)),
        stop_tokens=model.stop_tokens,
        clock=time.monotonic,
    )


def record(
    loop: ServingLoop,
    model: ChatModel,
    questions: Sequence[Question],
    *,
    max_tokens: int,
    on_answer: Callable[[], None] = lambda: None,
) -> list[Record]:
    """Answer all questions through the engine, batched, greedily; records in the questions' order."""
    recorders = [_Recorder(question, on_answer) for question in questions]
    for recorder in recorders:
        prompt = model.prompt([{"role": "user", "content": recorder.question.text}])
        loop.submit(ReasoningRequest(prompt=prompt, max_tokens=max_tokens), recorder.take, recorder.observe)
    while loop.busy:
        loop.tick()
    return [recorder.record for recorder in recorders if recorder.record is not None]


@dataclass(slots=True)
class _Recorder:
    """Listens to one question's reply and grades it and its probes."""

    question: Question
    on_answer: Callable[[], None]
    text: str = ""
    probes: list[Asked] = field(default_factory=list)
    record: Record | None = None

    def take(self, item: Delta | Outcome) -> None:
        if isinstance(item, Delta):
            self.text += item.text if item.channel is Channel.CONTENT else ""
            return
        thought = item.thought
        self.record = Record(
            question=self.question,
            right=self.question.grade(self.text),
            tokens=item.completion_tokens,
            rows=item.completion_tokens + (thought.withdrawn_tokens + thought.probe_rows if thought else 0),
            ended=item.finish_reason is FinishReason.STOP,
            probes=tuple(self.probes),
        )
        self.on_answer()

    def observe(self, seen: Checkpoint) -> None:
        self.probes.append(
            Asked(
                thought_tokens=seen.thought_tokens,
                beyond=seen.beyond,
                confidence=seen.confidence,
                right=self.question.grade(f"\\boxed{{{seen.answer}}}"),
                rows=seen.rows,
            )
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ExitPoint:
    """What a fixed threshold would have done on a set of records."""

    threshold: float
    accuracy: float
    tokens: float  # mean, probes included
    saved: float  # share of the full thought's tokens, probes deducted
    exits: float  # share of thoughts closed early


def at_threshold(records: Sequence[Record], threshold: float) -> ExitPoint:
    """Accuracy and cost of closing each thought at its first probe of at least this confidence.

    The cost of an exit: the thought up to there, what it decoded beside that probe, all probes so far, and two tokens
    that end the answer. A live probe gives up early and so costs less than the recorded one.
    """
    right = tokens = exits = 0
    for one in records:
        spent = 0
        for probe in one.probes:
            spent += probe.rows
            if probe.confidence >= threshold:
                right += probe.right
                tokens += probe.thought_tokens + probe.beyond + spent + 2
                exits += 1
                break
        else:
            right += one.right
            tokens += one.tokens + spent
    full = sum(one.tokens for one in records)
    count = len(records)
    return ExitPoint(
        threshold=threshold,
        accuracy=right / count,
        tokens=tokens / count,
        saved=1.0 - tokens / full,
        exits=exits / count,
    )


def auroc(probes: Iterable[Asked]) -> float:
    """The chance that a right probe's confidence exceeds a wrong one's (ties count half); nan without both kinds."""
    found = list(probes)
    confidence = np.array([probe.confidence for probe in found])
    right = np.array([probe.right for probe in found], dtype=bool)
    if right.all() or not right.any():
        return math.nan
    _, inverse, counts = np.unique(confidence, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]  # mean rank of each tie
    wins = ranks[right].sum() - right.sum() * (right.sum() + 1) / 2  # Mann-Whitney U
    return float(wins / (right.sum() * (~right).sum()))


def interval(right: int, count: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a proportion."""
    z, share = 1.959964, right / count
    centre = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return centre - half, centre + half
