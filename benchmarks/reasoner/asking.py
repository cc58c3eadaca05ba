"""The questions that are asked of a reasoner, and the serving loop that asks them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path

import torch

from benchmarks.reasoner.aims import QUESTIONS_SEED
from controller.policy import UNLIMITED, Limits
from controller.serving.loop import ServingLoop
from controller.serving.trials import probe_spec
from engine.base import ProbeSpec
from engine.registry import AutoOptions, open_engine
from experiments.calibration.run import CalibrationSettings, records_header
from experiments.calibration.traces import RunQuestions, run_questions
from experiments.evaluation.evaluation import evaluation_loop
from experiments.evaluation.examination import Examination
from experiments.evaluation.questions import bundled_questions
from experiments.question import Question
from models.chat_model import ChatModel
from models.profile.identity import identify
from models.reasoner.traces import CAP

BATCH = 128  # sequences decoded at once
CELLS = 2 * BATCH * CAP  # tokens of the KV cache: prompts and landings need some beside the thoughts
AT_ONCE = 2_000  # requests that wait in the loop, whose queue is worked out anew ten times a second
KNOWN = (Examination().seed, CalibrationSettings().seed)  # seeds whose questions others have asked
OTHERS = 1_000  # of these, of each family


@dataclass(frozen=True, slots=True, kw_only=True)
class ReasonerPart:
    """A part of the questions, which a process of its own asks: every `of`-th, from the `number`-th on."""

    number: int = 1
    of: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.of:
            raise ValueError(f"the part is {self.number}/{self.of}, must be 1/{self.of} to {self.of}/{self.of}")

    def among(self, count: int) -> range:
        """Returns the numbers of its questions among `count`."""
        return range(self.number - 1, count, self.of)


def part(said: str) -> ReasonerPart:
    """Returns the part that "1/2" names. Raises ValueError for anything else."""
    number, _, of = said.partition("/")
    return ReasonerPart(number=int(number), of=int(of))


@cache
def asked_by_others() -> frozenset[str]:
    """Returns the keys of the first OTHERS questions of each family that an evaluation or a calibration draws."""
    return frozenset(one.key for known in KNOWN for one in bundled_questions(OTHERS, known))


def fresh_questions(count: int, seed: int = QUESTIONS_SEED) -> list[Question]:
    """Returns `count` held-out questions of each family, in their families' order; training has seen none of them.

    Left out are those of `asked_by_others`. A smaller `count` gives the first questions of each family of a larger one.
    """
    others = asked_by_others()
    drawn, fewest = count, 0
    while fewest < count:
        kept: dict[str, list[Question]] = {}
        for one in bundled_questions(drawn, seed):
            mine = kept.setdefault(one.benchmark, [])
            if one.key not in others:
                mine.append(one)
        fewest = min(map(len, kept.values()))
        drawn += count - fewest
    return [one for mine in kept.values() for one in mine[:count]]


def longest_reply(chat: ChatModel, cap: int) -> int:
    """Returns the max_tokens of a reply that leave `cap` tokens to the thought."""
    spec = probe_spec(chat.thinking, chat.stop_tokens)
    return cap + max(len(chat.thinking.landing), spec.room) + chat.thinking.format.answer_reserve


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedReasoner:
    """A model, and what its records must be of."""

    directory: Path
    chat: ChatModel
    questions: tuple[Question, ...]
    keys: RunQuestions
    header: dict[str, object]
    max_tokens: int  # of a reply

    @property
    def spec(self) -> ProbeSpec:
        """How its thoughts are probed."""
        return probe_spec(self.chat.thinking, self.chat.stop_tokens)

    def loop(self, limits: Limits = UNLIMITED) -> ServingLoop:
        """Loads the weights and returns a serving loop with these limits; `max_tokens` cap every thought."""
        torch.set_num_threads(1)
        engine = open_engine(self.directory, AutoOptions(max_batch=BATCH, cells=CELLS, threads=1)).engine
        return evaluation_loop(engine, self.chat, limits)


def asked_reasoner(directory: Path, count: int, *, cap: int = CAP) -> AskedReasoner:
    """Reads a model without its weights, and draws `count` questions of each family. `cap`: tokens of a thought.

    Raises a LaserError if the model or its thinking format cannot be used.
    """
    settings = Examination(model=directory, count=count, seed=QUESTIONS_SEED)
    chat = settings.chat()
    questions = tuple(fresh_questions(count))
    limit = longest_reply(chat, cap)
    header = {**records_header(settings, identify(directory, chat.thinking.format)), "max_tokens": limit}
    return AskedReasoner(
        directory=directory,
        chat=chat,
        questions=questions,
        keys=run_questions(questions),
        header=header,
        max_tokens=limit,
    )


def slices(numbers: Sequence[int]) -> Iterator[list[int]]:
    """Yields the numbers in their order, at most AT_ONCE at a time."""
    rest = iter(numbers)
    while found := list(islice(rest, AT_ONCE)):
        yield found
