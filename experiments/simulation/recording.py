"""Prepares a calibration's records for serving in simulation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from experiments.calibration.races.racing import sampled_to
from experiments.calibration.races.sampled import SampledReply
from experiments.calibration.traces import (
    CalibrationLog,
    ClosedReply,
    ThoughtTrace,
    TraceError,
    read_records,
    records_of,
    run_questions,
)
from experiments.evaluation.examination import chosen_questions
from experiments.evaluation.questions import calibrated_files, calibrated_questions
from experiments.question import Question
from experiments.simulation.recorded_model import RecordedModel
from models.chat_model import ChatModel
from models.files.differing import told_apart
from models.profile.identity import identify
from models.profile.profile import Profile, ProfileError, read_profile
from models.score import Score
from models.thinking import ThinkingTokens
from models.tokenizer import Decoder, Vocabulary

SAMPLE_SEED = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedQuestion:
    """A question that can be asked in simulation."""

    number: int  # among the recorded questions
    prompt: tuple[int, ...]
    benchmark: str
    split: str | None  # None: the benchmark has no splits
    difficulty: str | None  # class predicted from the prompt; None: unknown
    expected_tokens: float  # thought length predicted from the prompt
    ease: float | None = None  # chance that no thought is needed, predicted from the prompt; None: unknown


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """A recorded model, its questions, and all that a serving loop needs to know of the model."""

    model: RecordedModel
    questions: tuple[RecordedQuestion, ...]
    thinking: ThinkingTokens
    decoder: Decoder
    stop_tokens: frozenset[int]
    score: Score
    max_tokens: int  # of a reply: the recorded limit, since it bounds the thoughts


def recording(
    chat: ChatModel,
    profile: Profile,
    records: CalibrationLog,
    questions: Sequence[Question],
    files: Sequence[Path] = (),
    most: int | None = None,
    samples: Sequence[Sequence[SampledReply]] | None = None,
) -> Recording:
    """Builds the recording of the questions that calibration asked; `files` are their source files, if any.

    `most`: where there are more questions, a seeded sample of that size stands for them. None: all. `samples`: replies
    that were sampled to each question, None: there are none.
    Raises TraceError if the records are of another model or of other questions or incomplete, or if the model has no
    stop token.
    """
    for key, ours in (
        ("weights_sha256", profile.model.weights_sha256),
        ("thinking_sha256", profile.model.thinking_sha256),
        ("max_tokens", profile.max_tokens),
    ):
        if (theirs := records.header.get(key)) != ours:
            difference = told_apart(key, theirs, ours, holder="the profile")
            raise TraceError(f"{records.path}: was recorded with {difference}")
    records = records.of(run_questions(questions, files))
    missing = [number for number in range(len(questions)) if number not in records.traces]
    if missing and not records.traces:
        raise TraceError(f"{records.path}: the records are of other questions: name their files with --questions")
    if missing:
        raise TraceError(
            f"{records.path}: has {len(records.traces)} thoughts, must have {len(questions)}: question {missing[0]} is "
            "missing; run `laser calibrate` again"
        )
    if not chat.stop_tokens:
        raise TraceError(f"{records.path}: the model has no stop token, must have one: replies would never end")
    if most is not None and most < len(questions):
        kept = sorted(np.random.default_rng(SAMPLE_SEED).permutation(len(questions))[:most].tolist())
        records = records.renumbered({number: place for place, number in enumerate(kept)})
        questions = [questions[number] for number in kept]
        samples = None if samples is None else [samples[number] for number in kept]
    return assembled(
        chat.tokenizer,
        chat.thinking,
        chat.stop_tokens,
        profile,
        records.traces,
        records.closings,
        [(question.benchmark, question.split) for question in questions],
        None if samples is None else dict(enumerate(samples)),
    )


def read_recording(
    chat: ChatModel,
    directory: Path,
    file: Path,
    *,
    records: Path | None = None,
    files: Sequence[Path] = (),
    most: int | None = None,
    sampled: bool = False,
) -> tuple[Profile, Recording]:
    """Reads the profile `file` of the model in a directory, and its recording, of `most` questions (None: of all).

    `sampled`: with the replies beside the profile that were sampled for its races, if it has races. The other arguments
    are those of `read_calibration`, whose errors and those of `sampled_to` and `recording` it raises.
    """
    found = read_calibration(chat, directory, file, records=records, files=files)
    samples, races = None, found.profile.width
    if sampled and races is not None:
        header = {name: value for name, value in found.log.header.items() if name not in ("format", "version")}
        keys = run_questions(found.questions, files).keys
        _, samples = sampled_to(keys, file, header, max(rule.width for rule in races.rules))
    return found.profile, recording(chat, found.profile, found.log, found.questions, files, most, samples)


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibratedRecords:
    """A profile, and what it was made of."""

    profile: Profile
    log: CalibrationLog  # the records
    questions: tuple[Question, ...]  # that were asked


def read_calibration(
    chat: ChatModel,
    directory: Path,
    file: Path,
    *,
    records: Path | None = None,
    files: Sequence[Path] = (),
    option: str = "--questions",
) -> CalibratedRecords:
    """Reads the profile `file` of the model in a directory, its records, and the questions that they are of.

    `records` None: those beside the profile; `files`: that the questions are from, if any; `option` names them to the
    user. Raises a LaserError if one of them is missing or is not of the profile.
    """
    if not file.exists():
        raise ProfileError(f"there is no profile {str(file)!r}; `laser calibrate` makes one")
    profile = read_profile(file, identify(directory, chat.thinking.format))
    named = calibrated_files(profile)
    if named is not None and len(named) != len(files):
        bundled = f"the bundled benchmarks: leave {option} out"
        theirs = f"{', '.join(named)}: name these files with {option}, in this order" if named else bundled
        raise TraceError(f"{file}: the profile, and so the records, are of the questions in {theirs}")
    questions = tuple(chosen_questions(files, *calibrated_questions(profile)))
    return CalibratedRecords(profile=profile, log=read_records(records or records_of(file)), questions=questions)


class Spoken(Vocabulary, Decoder, Protocol):
    """Encodes and decodes text."""


def assembled(
    vocabulary: Spoken,
    thinking: ThinkingTokens,
    stop_tokens: frozenset[int],
    profile: Profile,
    traces: Mapping[int, ThoughtTrace],
    closings: Mapping[tuple[int, int], ClosedReply],
    labels: Sequence[tuple[str, str | None]],
    samples: Mapping[int, Sequence[SampledReply]] | None = None,
) -> Recording:
    """Builds a recording of traces without checking that they are the profile's.

    `labels` are each question's benchmark and split (None: no splits); `samples`: replies that were sampled to each
    question, with which its thought may race, None: there are none.
    """
    return Recording(
        model=RecordedModel(
            traces,
            closings,
            thinking,
            encode=vocabulary.encode,
            stop=min(stop_tokens),
            vocabulary=len(vocabulary.texts),
            samples=samples,
        ),
        questions=tuple(
            RecordedQuestion(
                number=number,
                prompt=traces[number].prompt,
                benchmark=benchmark,
                split=split,
                difficulty=profile.difficulty.classify(traces[number].prompt),
                expected_tokens=profile.difficulty.expected_tokens(traces[number].prompt),
                ease=None if profile.no_thought is None else profile.no_thought.switch.score(traces[number].prompt),
            )
            for number, (benchmark, split) in enumerate(labels)
        ),
        thinking=thinking,
        decoder=vocabulary,
        stop_tokens=stop_tokens,
        score=Score(profile.score),
        max_tokens=profile.max_tokens,
    )
