"""The model of a simulated engine: its output is given, not computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from engine.base import ProbeSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """A sequence's next tokens if nothing is forced or adopted, up to a stop token or `max_new_tokens`."""

    tokens: tuple[int, ...]
    looks: tuple[int, ...] = ()  # ascending counts of `tokens` after which the engine looks at the sequence
    until_armed: bool = False  # arming the stops replaces this course by another


@dataclass(frozen=True, slots=True, kw_only=True)
class CourseRules:
    """What bounds a course."""

    stops: frozenset[int]
    armed: bool  # the course ends with the first of `stops`; False: it contains none of them
    banned: frozenset[int]  # it contains none of these
    most: int  # tokens of the course
    temperature: float = 0.0  # at which the sequence is sampled; 0: greedily
    seed: int = 0  # of its draws


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialAnswer:
    """A whole trial answer, as it is decoded if the probe does not give up."""

    answer: tuple[int, ...]
    log_probs: tuple[float, ...]  # of the answer's tokens
    terminator: int | None  # None: it ends without one
    readings: Mapping[str, float] = field(default_factory=dict)  # see `engine.base.Probed`


class SimulatedModel(Protocol):
    """A model whose output is known beforehand."""

    @property
    def max_tokens(self) -> int:
        """The longest sequence the model was made for, tokens."""

    @property
    def vocabulary(self) -> int:
        """The number of token ids."""

    def follow(self, prompt: tuple[int, ...], said: Sequence[int], rules: CourseRules) -> Course:
        """The course after a prompt and the new tokens `said`."""

    def answer(self, prompt: tuple[int, ...], said: Sequence[int], spec: ProbeSpec) -> TrialAnswer:
        """The trial answer of a probe after a prompt and the new tokens `said`."""
