"""Samples replies with full thought at a temperature, and records their lengths, answers and outcomes.

The log is JSON Lines: a header that names the model, then a line for each reply. A run that was ended goes on from it.
"""

from __future__ import annotations

import lzma
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from benchmarks.reasoner.aims import SAMPLES, SAMPLES_SEED, TEMPERATURE
from benchmarks.reasoner.asking import AskedReasoner, ReasonerPart, slices
from controller.serving.request import ReasoningRequest
from engine.base import Sampling
from experiments.evaluation.evaluation import EvaluationRecord, answering
from experiments.grading.exact import last_answer
from experiments.progress import Reporter
from models.errors import LaserError
from models.files.appended import append_line, drop_torn_line, json_line
from models.files.envelope import Head, StrictJson
from models.files.text import decode_json
from models.kinds.kind import AnswerForm, AnswerKind

HEAD = Head(format="laser-replies", version=1)


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


def record_replies(asked: AskedReasoner, part: ReasonerPart, out: Path, reporter: Reporter) -> None:
    """Samples the replies to a part's questions that the file lacks. Raises RepliesError if the file is another's."""
    mine = [n * SAMPLES + sample for n in part.among(len(asked.questions)) for sample in range(SAMPLES)]
    header = replies_header(asked)
    drop_torn_line(out)
    known = {(one.question, one.sample) for one in read_replies(out, header)} if _begun(out) else set()
    missing = [place for place in mine if (asked.keys.keys[place // SAMPLES], place % SAMPLES) not in known]
    with out.open("a+b", buffering=0) as file:
        if not _begun(out):
            append_line(file, json_line(header))
        if not missing:
            return
        loop = asked.loop()
        with reporter.stage("Sampled replies", len(mine), done=len(mine) - len(missing)) as advance:
            for places in slices(missing):
                requests = [(asked.questions[place // SAMPLES], request(asked, place)) for place in places]
                for number, record in answering(loop, asked.chat, requests):
                    place = places[number]
                    reply = sampled(record, asked.keys.keys[place // SAMPLES], place % SAMPLES)
                    append_line(file, json_line(asdict(reply)))
                    advance(1)


def request(asked: AskedReasoner, place: int) -> ReasoningRequest:
    """Returns the request for the reply at a place, counted over all questions' samples.

    Its draws depend on the question and the sample alone.
    """
    question, sample = asked.questions[place // SAMPLES], place % SAMPLES
    drawn = int(np.random.SeedSequence([SAMPLES_SEED, int(question.key[:16], 16), sample]).generate_state(1)[0])
    return ReasoningRequest(
        prompt=asked.chat.question(question.text),
        max_tokens=asked.max_tokens,
        sampling=Sampling(temperature=TEMPERATURE, seed=drawn),
        answer=AnswerKind.SHORT,
        form=AnswerForm.BOX,
    )


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
        return [decode(line) for line in lines]
    except (ValueError, OSError, lzma.LZMAError) as error:
        raise RepliesError(f"{path}: no replies can be read: {error}") from error


def replies_header(asked: AskedReasoner) -> dict[str, object]:
    """Returns what the first line of a log of a reasoner's replies says."""
    return {**asdict(HEAD), **asked.header, "temperature": TEMPERATURE, "seed": SAMPLES_SEED}


def log_lines(header: Mapping[str, object], replies: Iterable[SampledReply]) -> Iterator[bytes]:
    """Yields the lines of a log of these replies."""
    yield json_line(header)
    for one in replies:
        yield json_line(asdict(one))


def _begun(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0
