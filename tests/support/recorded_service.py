"""The bundled model's recorded thoughts on a few questions, served by torch in virtual time and simulated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from controller.policy import Limits, Policy
from controller.serving.loop import ServingLoop
from engine.base import Event
from engine.simulated.machine import Machine, VirtualClock
from engine.torch.engine import TorchEngine, TorchEngineConfig
from engine.wrapper import EngineWrapper
from experiments.calibration.answering import record_closings, record_thoughts
from experiments.calibration.traces import TraceLog, questions_sha256, read_records
from experiments.evaluation.evaluation import evaluation_loop
from experiments.evaluation.questions import bundled_questions
from experiments.question import Question
from experiments.request_record import RequestRecord
from experiments.simulation.recording import Recording, recording
from experiments.simulation.simulation import Letters, serve, simulate
from models.chat_model import ChatModel, load_chat_model
from models.profile.plant import StepTime
from models.reasoner import bundled_model
from models.score import Score
from tests.support.model_profile import PROFILE as MADE

PASS_S = 0.03
BUDGETS = (60, 120)
PER_BENCHMARK = 1
PROFILE = replace(MADE, score=Score.JOINT.value)
HEADER = {
    "weights_sha256": PROFILE.model.weights_sha256,
    "thinking_sha256": PROFILE.model.thinking_sha256,
    "questions_sha256": questions_sha256(bundled_questions(PER_BENCHMARK, 5)),
    "max_tokens": PROFILE.max_tokens,
}


class TimedTorch(EngineWrapper):
    """The torch engine in virtual time: each pass takes PASS_S."""

    def __init__(self, engine: TorchEngine, clock: VirtualClock) -> None:
        super().__init__(engine)
        self._clock = clock

    def step(self) -> list[Event]:
        self._clock.now += PASS_S
        return self.engine.step()


@dataclass(slots=True)
class Moving:
    """Limits that change with the tick after each request that ends: an observer that is a policy, without a clock."""

    ladder: tuple[Limits, ...]
    ended: int = 0
    rung: int = 0

    def limits(self, difficulty: str | None) -> Limits:
        return self.ladder[self.rung]

    def arrived(self, difficulty: str | None) -> None: ...

    def finished(self, difficulty: str | None, tokens: int) -> None:
        self.ended += 1

    def stepped(self, batch: int, context: float, seconds: float) -> None: ...

    def tick(self, now: float, in_system: int) -> None:
        self.rung = self.ended % len(self.ladder)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """The bundled model's thoughts on a few questions, and the engine that thought them."""

    recording: Recording
    engine: TorchEngine
    path: Path
    chat: ChatModel
    questions: list[Question]

    def with_closings(self, path: Path, budgets: Sequence[int]) -> Recorded:
        """With more closings recorded, in a copy of the file."""
        loop = evaluation_loop(self.engine, self.chat)
        with TraceLog(path, HEADER) as log:
            record_closings(loop, self.chat, self.questions, log, budgets, max_tokens=PROFILE.max_tokens)
        return replace(self, path=path, recording=recording(self.chat, PROFILE, read_records(path), self.questions))


def recorded_in(directory: Path) -> Recorded:
    """Records the bundled model's thoughts on a few questions into a directory."""
    from engine.torch.load import load_model

    chat = load_chat_model(bundled_model())
    questions = bundled_questions(PER_BENCHMARK, 5)
    engine = TorchEngine(load_model(bundled_model()), TorchEngineConfig(max_batch=3))
    path = directory / "records.jsonl"
    with TraceLog(path, HEADER) as log:
        record_thoughts(evaluation_loop(engine, chat), chat, questions, log, max_tokens=PROFILE.max_tokens)
    empty = Recorded(engine=engine, chat=chat, questions=questions, path=path, recording=None)
    return empty.with_closings(path, BUDGETS)


MACHINE = Machine(step_time=StepTime(a=PASS_S, c=0.0), max_batch=3)


def served(recorded: Recorded, arrivals: np.ndarray, questions: Sequence[int], policy: Policy) -> list[RequestRecord]:
    """By torch."""
    clock, said = VirtualClock(), recorded.recording
    loop = ServingLoop(
        engine=TimedTorch(recorded.engine, clock),
        tokenizer=Letters(said.decoder),
        thinking=said.thinking,
        policy=policy,
        stop_tokens=said.stop_tokens,
        clock=clock,
        score=said.score,
        observer=policy if isinstance(policy, Moving) else None,
    )
    return serve(said, arrivals, questions, loop=loop, clock=clock)


def simulated(
    recorded: Recorded, arrivals: np.ndarray, questions: Sequence[int], policy: Policy
) -> list[RequestRecord]:
    observer = policy if isinstance(policy, Moving) else None
    return simulate(
        recorded.recording,
        arrivals,
        questions,
        machine=MACHINE,
        clock=VirtualClock(),
        policy=policy,
        observer=observer,
    )


def assert_alike(ours: Sequence[RequestRecord], real: Sequence[RequestRecord]) -> None:
    """All is the same, and times to the microsecond."""
    for one, other in zip(ours, real, strict=True):
        times = {
            name: pytest.approx(getattr(other, name), abs=1e-6) for name in ("queue_s", "first_answer_s", "latency_s")
        }
        assert one == replace(other, **times)
