"""What an evaluation and a calibration have in common: a model, an engine, and the questions that are asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from engine.options import EngineOptions, default_threads
from engine.registry import AutoOptions
from experiments.evaluation.question_files import file_questions
from experiments.evaluation.questions import bundled_questions
from experiments.question import Question
from models.chat_model import ChatModel, load_chat_model
from models.reasoner import bundled_model
from models.score import Score


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """Which model answers which questions on which engine. Raises ValueError for a number out of range."""

    model: Path | None = None  # a model's directory; None: the bundled one
    thinking: Path | None = None  # thinking format; None: the model's own
    files: tuple[Path, ...] = ()  # of questions; (): the bundled benchmarks
    count: int = 200  # questions per benchmark
    seed: int = 1  # draws the questions
    max_tokens: int = 768  # of a reply
    engine: EngineOptions = field(default_factory=AutoOptions)
    threads: int = default_threads()  # of the engine's arithmetic
    chat_template: Path | None = None  # Jinja; None: the model's own
    trust_markers: bool = False  # markers that questions spell become control tokens
    score: Score | None = None  # how confidence is told; None: the thinking format's

    def __post_init__(self) -> None:
        for name, value, least in (
            ("count", self.count, 1),
            ("seed", self.seed, 0),
            ("max_tokens", self.max_tokens, 1),
            ("threads", self.threads, 1),
        ):
            if value < least:
                raise ValueError(f"{name} is {value}, must be at least {least}")

    @property
    def directory(self) -> Path:
        """The model's directory. Raises FileNotFoundError if it is the bundled model and there is none."""
        return self.model or bundled_model()

    def chat(self) -> ChatModel:
        """Returns the model without its weights. Raises TokenizerError or ConfigError that names the file at fault."""
        return load_chat_model(
            self.directory, self.thinking, trust_markers=self.trust_markers, chat_template=self.chat_template
        )

    def questions(self) -> list[Question]:
        """Returns the questions. Raises QuestionError if a file cannot be used."""
        return chosen_questions(self.files, self.count, self.seed)


def chosen_questions(files: Sequence[Path], count: int, seed: int) -> list[Question]:
    """Returns at most `count` questions of each benchmark, drawn by `seed`; no files: of the bundled benchmarks.

    Raises QuestionError if a file cannot be used.
    """
    return file_questions(files, count, seed) if files else bundled_questions(count, seed)
