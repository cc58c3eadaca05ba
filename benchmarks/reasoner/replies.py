"""Samples replies with full thought to a reasoner's fresh questions."""

from __future__ import annotations

from pathlib import Path

from benchmarks.reasoner.aims import SAMPLES, SAMPLES_SEED, TEMPERATURE
from benchmarks.reasoner.asking import AskedReasoner, ReasonerPart
from controller.serving.request import ReasoningRequest
from experiments.calibration.races.sampled import ReplyDraws, record_samples
from experiments.progress import Reporter


def record_replies(asked: AskedReasoner, part: ReasonerPart, out: Path, reporter: Reporter) -> None:
    """Samples the replies to a part's questions that the file lacks. Raises RepliesError if the file is another's."""
    mine = [(asked.keys.keys[number], asked.questions[number]) for number in part.among(len(asked.questions))]
    record_samples(asked.loop, asked.chat, mine, draws(asked), out, replies_header(asked), reporter)


def draws(asked: AskedReasoner) -> ReplyDraws:
    """Returns how a reasoner's replies are sampled."""
    return ReplyDraws(temperature=TEMPERATURE, seed=SAMPLES_SEED, samples=SAMPLES, max_tokens=asked.max_tokens)


def request(asked: AskedReasoner, place: int) -> ReasoningRequest:
    """Returns the request for the reply at a place, counted over all questions' samples."""
    return draws(asked).request(asked.chat, asked.questions[place // SAMPLES], place % SAMPLES)


def replies_header(asked: AskedReasoner) -> dict[str, object]:
    """Returns what the first line of a log of a reasoner's replies says."""
    return draws(asked).header(asked.header)
