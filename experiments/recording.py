"""A calibration's records, made ready to be served in simulation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from experiments.evaluation import Question
from experiments.recorded_model import RecordedModel
from experiments.traces import Records, TraceError, questions_sha256
from models.chat_model import ChatModel
from models.profile import Profile
from models.score import Score
from models.thinking import ThinkingTokens
from models.tokenizer import Decoder


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
    chat: ChatModel, profile: Profile, records: Records, questions: Sequence[Question], files: Sequence[Path] = ()
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
    return Recording(
        model=RecordedModel(
            records.traces,
            records.closings,
            chat.thinking,
            encode=chat.tokenizer.encode,
            stop=min(chat.stop_tokens),
            vocabulary=len(chat.tokenizer.texts),
        ),
        questions=tuple(
            RecordedQuestion(
                number=number,
                prompt=records.traces[number].prompt,
                benchmark=question.benchmark,
                split=question.split,
                difficulty=profile.difficulty.classify(records.traces[number].prompt),
                expected_tokens=profile.difficulty.expected_tokens(records.traces[number].prompt),
            )
            for number, question in enumerate(questions)
        ),
        thinking=chat.thinking,
        decoder=chat.tokenizer,
        stop_tokens=chat.stop_tokens,
        score=Score(profile.score),
        max_tokens=profile.max_tokens,
    )
