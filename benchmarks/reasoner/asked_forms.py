"""Measures how often a reasoner answers in the form that is asked for: a chat's second question, JSON in words.

No grammar holds the answers. A thought that reaches the reply's limit is closed there, and what follows counts. A
calculator's calls are measured by `benchmarks.kinds.before_calls`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from controller.policy import Limits
from controller.serving.loop import ServingLoop
from controller.serving.reply import Channel, Delta
from controller.serving.request import Outcome, ReasoningRequest
from engine.registry import engine_options, open_engine
from experiments.evaluation.evaluation import evaluation_loop
from experiments.statistics import interval
from models.chat_model import ChatModel, load_chat_model
from models.reasoner.families.draft import pick
from models.reasoner.forms import IN_JSON
from models.reasoner.tasks import Problem, generate, grade
from models.reasoner.traces import DIRECT

FAMILIES = ("recall", "words")
SPLIT = "easy"
FORMED = 200  # questions of each family in each form
LONGEST = 900  # tokens of a reply
SEED = 2613  # draws the questions

Messages = list[dict[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class FormCount:
    """How many replies to questions of one family came in the form asked for, and how many were right."""

    form: str
    family: str
    asked: int
    in_form: int
    right: int


def alone(problem: Problem, rng: np.random.Generator) -> Messages:
    """Returns the question as the only message."""
    return [{"role": "user", "content": problem.question}]


def second(problem: Problem, rng: np.random.Generator) -> Messages:
    """Returns the question behind another one that has been answered."""
    first = generate(pick(rng, FAMILIES), rng, split=SPLIT, from_held_out=True)
    said = {"role": "assistant", "content": f"{DIRECT}{first.answer}}}"}
    return [{"role": "user", "content": first.question}, said, *alone(problem, rng)]


def in_json(problem: Problem, rng: np.random.Generator) -> Messages:
    """Returns the question with a system line that wants JSON."""
    return [{"role": "system", "content": pick(rng, IN_JSON)}, *alone(problem, rng)]


def boxed(reply: str, problem: Problem) -> tuple[bool, bool]:
    """Returns whether a reply has a box, and whether it is right."""
    return "\\boxed{" in reply, grade(reply, problem)


def as_json(reply: str, problem: Problem) -> tuple[bool, bool]:
    """Returns whether a reply is a JSON object with an answer, and whether it is right."""
    try:
        said = json.loads(reply)
    except ValueError:
        return False, False
    valid = isinstance(said, dict) and list(said) == ["answer"]
    return valid, valid and str(said["answer"]) == problem.answer


FORMS = {"alone": (alone, boxed), "second of a chat": (second, boxed), "JSON": (in_json, as_json)}


def count_forms(directory: Path, count: int) -> Iterator[FormCount]:
    """Yields what comes of `count` easy held-out questions of each family in each form.

    Raises EngineError or TokenizerError if the model cannot be loaded.
    """
    model = load_chat_model(directory)
    loop = evaluation_loop(open_engine(directory, engine_options("auto", {})).engine, model, Limits(threshold=math.inf))
    for form, (ask, judge) in FORMS.items():
        for family in FAMILIES:
            rng = np.random.default_rng(SEED)
            problems = [generate(family, rng, split=SPLIT, from_held_out=True) for _ in range(count)]
            replies = answers(loop, model, [ask(problem, rng) for problem in problems])
            judged = [judge(reply, problem) for reply, problem in zip(replies, problems, strict=True)]
            in_form, right = (sum(each) for each in zip(*judged, strict=True))
            yield FormCount(form=form, family=family, asked=count, in_form=in_form, right=right)


def answers(loop: ServingLoop, model: ChatModel, chats: Sequence[Messages]) -> list[str]:
    """Returns the greedy answers to chats; a thought without an end in LONGEST tokens is closed there."""
    pieces: list[list[str]] = [[] for _ in chats]
    for chat, mine in zip(chats, pieces, strict=True):
        prompt = model.begin(chat)
        request = ReasoningRequest(prompt=prompt.tokens, max_tokens=LONGEST, thinking=prompt.thinking)
        loop.submit(request, partial(_take, mine))
    while loop.busy:
        loop.tick()
    return ["".join(mine) for mine in pieces]


def _take(pieces: list[str], item: Delta | Outcome) -> None:
    if isinstance(item, Delta) and item.channel is Channel.CONTENT:
        pieces.append(item.text)


def form_line(found: FormCount) -> str:
    """Returns one line of what was counted."""
    low, high = interval(found.in_form, found.asked)
    return (
        f"{found.form:<18}{found.family:<8}{found.in_form:>5} of {found.asked} in form ({low:.1%} … {high:.1%}), "
        f"{found.right} right"
    )
