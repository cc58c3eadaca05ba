"""A trial on a live server: `laser serve` in its own process, and a client that sends each request when it is due.

Requests are open loop: each is sent at its time, no matter how many still wait, and its latency counts from that time,
so that a slow client cannot flatter the server.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx
from pydantic import ValidationError

from experiments.grading.grade import Grade, as_grade
from experiments.question import Question
from experiments.request_record import RequestRecord
from experiments.trials.experiment import Experiment, NamedPolicy
from experiments.trials.trial import Requests
from laser.client import Answer, End, ReplyError, stream
from laser.server.api.shape import LaserDetails, Usage
from laser.server.config import ServeConfig
from laser.server_process import ServerError, serving
from models.files.strict_yaml import written
from models.kinds.kind import AnswerKind

MAX_TOKENS = 768  # of a reply, where an experiment does not say it
TIMEOUT_S = 600.0  # without a byte from the server, which pings far more often
EVERYBODY = 1_000_000  # requests that may wait: a policy that turned requests away would look faster

Took = Callable[[RequestRecord], None]


async def run_live(
    experiment: Experiment,
    policy: NamedPolicy,
    questions: Sequence[Question],
    requests: Requests,
    took: Took,
) -> None:
    """Serves a trial's requests under a policy and calls `took` with each record as its request ends.

    Raises ServerError if the server does not start, does not answer, or ends during the trial.
    """
    with tempfile.TemporaryDirectory(prefix="laser-trial-") as directory:
        config = server_config(experiment, policy, Path(directory))
        async with serving(["serve", "--config", str(config)], Path(directory) / "log") as server:
            await drive(server.url, questions, requests, experiment.max_tokens or MAX_TOKENS, took)


def server_config(experiment: Experiment, policy: NamedPolicy, directory: Path) -> Path:
    """Writes the file of `laser serve --config` for a policy and returns its path."""
    config = ServeConfig(
        model=None if experiment.model is None else experiment.model.absolute(),
        policy=policy.policy,
        controller=directory / "controller.yaml" if policy.has_controller else None,
        shortest_first=policy.shortest_first,
        head_start_s=None if policy.shortest_first else 0.0,  # not the profile's: orders are compared by name
        thinking=None if experiment.thinking is None else experiment.thinking.resolve(),
        engine=replace(experiment.engine, max_batch=experiment.max_batch),
        port=0,
        max_waiting=EVERYBODY,
        loop_detection=False,  # only policies close thoughts, as in simulation
    )
    if experiment.threads is not None:
        config = replace(config, threads=experiment.threads)
    if config.controller is not None:
        config.controller.write_text(written(policy.controller), encoding="utf-8")
    file = directory / "serve.yaml"
    file.write_text(written(config), encoding="utf-8")
    return file


NO_DETAILS = LaserDetails(
    exit_reason=None, threshold=None, confidence=None, difficulty=None, answer="short", budget=None,
    reasoning_tokens=0, probes=0, probe_tokens=0, withdrawn_tokens=0, forced_tokens=0, reproducible=False, queue_ms=0.0,
    ttft_ms=None, total_ms=0.0,
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reply:
    """A complete reply; the defaults are a reply that failed."""

    content: str = ""
    first_answer: float | None = None  # time of the first text of the answer; None: no text
    laser: LaserDetails = field(default_factory=lambda: NO_DETAILS)
    completion_tokens: int = 0


async def drive(
    url: str,
    questions: Sequence[Question],
    requests: Requests,
    max_tokens: int,
    took: Took,
    *,
    begin: Callable[[], None] = lambda: None,
) -> None:
    """Sends all requests when they are due, and waits for their replies.

    One uncounted request comes first, so that the server's warm-up does not slow the first counted request. When it has
    been answered, `begin` is called and the arrival times start. Raises ServerError if the server does not answer it.
    """
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=64)
    async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=TIMEOUT_S, limits=limits) as client:
        try:
            await _ask(client, questions[0], max_tokens)
        except (httpx.HTTPError, ReplyError) as error:
            raise ServerError(f"laser serve does not answer: {error}") from error
        begin()
        began = time.monotonic()
        try:
            async with asyncio.TaskGroup() as group:
                arrivals = zip(requests.times.tolist(), requests.questions.tolist(), strict=True)
                for number, (at_s, place) in enumerate(arrivals):
                    await asyncio.sleep(max(0.0, began + at_s - time.monotonic()))
                    asking = _one(client, questions[place], number, place, began + at_s, at_s, max_tokens, took)
                    group.create_task(asking)
        except ExceptionGroup as failures:  # raised by `took`, e.g. for a full disk
            raise failures.exceptions[0] from failures


async def _one(
    client: httpx.AsyncClient,
    question: Question,
    number: int,
    place: int,
    due: float,
    at_s: float,
    max_tokens: int,
    took: Took,
) -> None:
    reply, error, grade = _Reply(), None, None
    try:
        reply = await _ask(client, question, max_tokens)
        ended = time.monotonic()
        grade = await asyncio.to_thread(_graded, question, reply.content)  # other requests are due meanwhile
    except (httpx.HTTPError, ReplyError) as failure:
        ended, error = time.monotonic(), f"{type(failure).__name__}: {failure}"
    laser = reply.laser
    completion_tokens = reply.completion_tokens + laser.forced_tokens  # as in simulated records
    took(
        RequestRecord(
            number=number,
            question=place,
            benchmark=question.benchmark,
            split=question.split,
            difficulty=laser.difficulty,
            at_s=at_s,
            queue_s=laser.queue_ms / 1e3,
            first_answer_s=None if reply.first_answer is None else reply.first_answer - due,
            latency_s=ended - due,
            thought_tokens=laser.reasoning_tokens,
            completion_tokens=completion_tokens,
            rows=completion_tokens + laser.probe_tokens + laser.withdrawn_tokens,
            probes=laser.probes,
            probe_rows=laser.probe_tokens,
            exit_reason=laser.exit_reason,
            threshold=laser.threshold,
            budget=laser.budget,
            right=None if grade is None else grade.right,
            error=error,
            graded_by=None if grade is None else grade.by,
        )
    )


def _graded(question: Question, reply: str) -> Grade:
    return as_grade(question.grade(reply))


async def _ask(client: httpx.AsyncClient, question: Question, max_tokens: int) -> _Reply:
    """Returns the reply to a question. Raises ReplyError, and httpx.HTTPError if there is no connection."""
    body = {
        "messages": [{"role": "user", "content": question.text}],
        "max_tokens": max_tokens,
        "temperature": 0.0,
        "stream_options": {"include_usage": True},
        "laser": {"answer": AnswerKind.SHORT},  # which the grader wants, and calibration recorded
        "include_reasoning": False,  # only their counts are needed, and the client shares the machine
    }
    content, first_answer, end = "", None, End()
    async with aclosing(stream(client, body)) as pieces:
        async for piece in pieces:
            match piece:
                case Answer(text=text):
                    first_answer = time.monotonic() if first_answer is None else first_answer
                    content += text
                case End():
                    end = piece
    try:
        return _Reply(
            content=content,
            first_answer=first_answer,
            laser=LaserDetails.model_validate(end.laser) if end.laser else NO_DETAILS,
            completion_tokens=Usage.model_validate(end.usage).completion_tokens if end.usage else 0,
        )
    except ValidationError as error:
        raise ReplyError(f"the reply's end cannot be read: {error}") from error
