"""Samples replies with full thought at a temperature, and records their lengths, answers and outcomes.

The log is JSON Lines: a header that names the model, then a line for each reply. A run that was ended goes on from it.
"""

from __future__ import annotations

import lzma
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from controller.serving.loop import ServingLoop
from controller.serving.request import ReasoningRequest
from engine.base import Sampling
from experiments.evaluation.evaluation import EvaluationRecord, answering
from experiments.grading.exact import last_answer
from experiments.progress import Reporter
from experiments.question import Question
from models.chat_model import ChatModel
from models.errors import LaserError
from models.files.appended import append_line, drop_torn_line, json_line
from models.files.envelope import Head, StrictJson
from models.files.text import decode_json
from models.kinds.kind import AnswerForm, AnswerKind

HEAD = Head(format="laser-replies", version=1)
AT_ONCE = 2_000  # requests that wait in the loop, whose queue is worked out anew ten times a second


class RepliesError(LaserError, ValueError):
    """A log of replies cannot be used; the message names the file and the fault."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SampledReply:
    """A reply that was sampled with full thought."""

    question: str  # the question's key
    sample: int  # its place among those to the question
    tokens: int  # of the whole reply
    thought_tokens: int
    answer: str
    right: bool
    ended_by: str | None  # why the thought ended: natural, or budget at the cap; None: it never ended


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyDraws:
    """How replies are sampled."""

    temperature: float
    seed: int
    samples: int  # of each question
    max_tokens: int  # of a reply

    def header(self, model: Mapping[str, object]) -> dict[str, object]:
        """Returns what the first line of a log says; `model`: what its records must be of."""
        return {**asdict(HEAD), **model, "temperature": self.temperature, "seed": self.seed}

    def request(self, chat: ChatModel, question: Question, sample: int) -> ReasoningRequest:
        """Returns the request for a sample, whose draws depend on the question and the sample alone."""
        drawn = int(np.random.SeedSequence([self.seed, int(question.key[:16], 16), sample]).generate_state(1)[0])
        return ReasoningRequest(
            prompt=chat.question(question.text),
            max_tokens=self.max_tokens,
            sampling=Sampling(temperature=self.temperature, seed=drawn),
            answer=AnswerKind.SHORT,
            form=AnswerForm.BOX,
        )


def record_samples(
    loop: Callable[[], ServingLoop],
    chat: ChatModel,
    questions: Sequence[tuple[str, Question]],
    draws: ReplyDraws,
    out: Path,
    header: Mapping[str, object],
    reporter: Reporter,
    *,
    at_once: int = 1,
) -> None:
    """Samples the replies that the file lacks. Raises RepliesError if the file is another's.

    `questions`: each with its key. `loop` is called if there is something to sample. `at_once`: as for a stage.
    """
    drop_torn_line(out)
    known = {(one.question, one.sample) for one in read_replies(out, header)} if _begun(out) else set()
    asked = [(key, question, sample) for key, question in questions for sample in range(draws.samples)]
    missing = [one for one in asked if (one[0], one[2]) not in known]
    with out.open("a+b", buffering=0) as file:
        if not _begun(out):
            append_line(file, json_line(header))
        if not missing:
            return
        serving, rest = loop(), iter(missing)
        done = len(asked) - len(missing)
        with reporter.stage("Sampled replies", len(asked), done=done, at_once=at_once) as advance:
            while part := list(islice(rest, AT_ONCE)):
                requests = [(question, draws.request(chat, question, sample)) for _, question, sample in part]
                for number, record in answering(serving, chat, requests):
                    key, _, sample = part[number]
                    append_line(file, json_line(asdict(sampled(record, key, sample))))
                    advance(1)


def sampled(record: EvaluationRecord, question: str, sample: int) -> SampledReply:
    """Returns what is kept of a reply."""
    return SampledReply(
        question=question,
        sample=sample,
        tokens=record.tokens,
        thought_tokens=record.thought_tokens,
        answer=last_answer(record.reply),
        right=record.right,
        ended_by=record.exit_reason,
    )


def read_replies(path: Path, header: Mapping[str, object] | None = None) -> list[SampledReply]:
    """Returns the replies of a log, plain or packed (.xz); an unfinished last line is skipped.

    `header`: that it must have; None: any of this format.
    Raises RepliesError if it is no such log.
    """
    return _read(path, header)[1]


def read_drawn(path: Path, header: Mapping[str, object]) -> tuple[float, list[SampledReply]]:
    """Returns the temperature and the replies of a log. Raises as `read_replies` does."""
    said, found = _read(path, header)
    temperature = said.get("temperature")
    if not isinstance(temperature, int | float):
        raise RepliesError(f"{path}: no replies can be read: temperature is {temperature!r}, must be a number")
    return float(temperature), found


def _read(path: Path, header: Mapping[str, object] | None) -> tuple[Mapping[str, object], list[SampledReply]]:
    try:
        found = path.read_bytes()
        whole = (lzma.decompress(found) if path.suffix == ".xz" else found).rpartition(b"\n")[0]
        head, *lines = whole.split(b"\n")
        said = decode_json(head)
        if not HEAD.opens(said):
            raise ValueError(f"format and version are not {HEAD.format} and {HEAD.version}")
        wrong = [name for name, value in (header or {}).items() if said.get(name) != value]
        if header is not None and wrong:
            raise ValueError(f"was begun with another {wrong[0]}: {said.get(wrong[0])!r}, not {header[wrong[0]]!r}")
        decode = StrictJson(SampledReply, "line")
        return said, [decode(line) for line in lines]
    except (ValueError, OSError, lzma.LZMAError) as error:
        raise RepliesError(f"{path}: no replies can be read: {error}") from error


def log_lines(header: Mapping[str, object], replies: Iterable[SampledReply]) -> Iterator[bytes]:
    """Yields the lines of a log of these replies."""
    yield json_line(header)
    for one in replies:
        yield json_line(asdict(one))


def _begun(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0
