"""A calibration's records, made ready to be served in simulation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from experiments.calibration.traces import CalibrationLog, ClosedReply, ThoughtTrace, TraceError, questions_sha256
from experiments.question import Question
from experiments.simulation.recorded_model import RecordedModel
from models.chat_model import ChatModel
from models.profile.profile import Profile
from models.score import Score
from models.thinking import ThinkingTokens
from models.tokenizer import Decoder, Vocabulary


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedQuestion:
    """A question that can be asked in simulation, and what a record says of it."""

    number: int  # among those that were recorded
    prompt: tuple[int, ...]
    benchmark: str
    split: str | None
    difficulty: str | None  # its class, as told from the prompt
    expected_tokens: float  # of its thought, as told from the prompt


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """A model whose thoughts are known, and all that a serving loop needs of it."""

    model: RecordedModel
    questions: tuple[RecordedQuestion, ...]
    thinking: ThinkingTokens
    decoder: Decoder
    stop_tokens: frozenset[int]
    score: Score
    max_tokens: int  # of a reply: as recorded, since it bounds thoughts


def recording(
    chat: ChatModel,
    profile: Profile,
    records: CalibrationLog,
    questions: Sequence[Question],
    files: Sequence[Path] = (),
) -> Recording:
    """Of these questions, asked as calibration has asked them; from `files`, if it had any.

    Raises TraceError where the records are of another model or of other questions.
    """
    for key, ours in (
        ("weights_sha256", profile.model.weights_sha256),
        ("thinking_sha256", profile.model.thinking_sha256),
        ("questions_sha256", questions_sha256(questions, files)),
        ("max_tokens", profile.max_tokens),
    ):
        if (theirs := records.header.get(key)) != ours:
            raise TraceError(f"{records.path}: has {key} {theirs!r}, must be {ours!r}, that of the profile")
    missing = [number for number in range(len(questions)) if number not in records.traces]
    if missing:
        raise TraceError(
            f"{records.path}: has {len(records.traces)} thoughts, must have {len(questions)}: question {missing[0]} is "
            "missing; run `laser calibrate` again"
        )
    if not chat.stop_tokens:
        raise TraceError(f"{records.path}: the model has no stop token, must have one: replies would never end")
    return assembled(
        chat.tokenizer,
        chat.thinking,
        chat.stop_tokens,
        profile,
        records.traces,
        records.closings,
        [(question.benchmark, question.split) for question in questions],
    )


class Spoken(Vocabulary, Decoder, Protocol):
    """Text in and out of tokens."""


def assembled(
    vocabulary: Spoken,
    thinking: ThinkingTokens,
    stop_tokens: frozenset[int],
    profile: Profile,
    traces: Mapping[int, ThoughtTrace],
    closings: Mapping[tuple[int, int], ClosedReply],
    labels: Sequence[tuple[str, str | None]],
) -> Recording:
    """Of traces that are known to be the profile's; `labels` are each question's benchmark and split."""
    return Recording(
        model=RecordedModel(
            traces,
            closings,
            thinking,
            encode=vocabulary.encode,
            stop=min(stop_tokens),
            vocabulary=len(vocabulary.texts),
        ),
        questions=tuple(
            RecordedQuestion(
                number=number,
                prompt=traces[number].prompt,
                benchmark=benchmark,
                split=split,
                difficulty=profile.difficulty.classify(traces[number].prompt),
                expected_tokens=profile.difficulty.expected_tokens(traces[number].prompt),
            )
            for number, (benchmark, split) in enumerate(labels)
        ),
        thinking=thinking,
        decoder=vocabulary,
        stop_tokens=stop_tokens,
        score=Score(profile.score),
        max_tokens=profile.max_tokens,
    )
