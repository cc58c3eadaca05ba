"""A trial on a live server: `laser serve` in its own process, and a client that sends each request when it is due.

Requests are open loop: each is sent at its time, no matter how many still wait, and its latency counts from that time,
so that a slow client cannot flatter the server.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx
import yaml

from experiments.question import Question
from experiments.request_record import RequestRecord
from experiments.trials.experiment import Experiment, NamedPolicy
from experiments.trials.trial import Requests, described
from laser.server_process import ServerError, serving

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
            await drive(server.url, questions, requests, experiment.max_tokens, took)


def server_config(experiment: Experiment, policy: NamedPolicy, directory: Path) -> Path:
    """Writes the file of `laser serve --config` for a policy and returns its path."""
    said: dict[str, Any] = {
        "policy": {**described(policy.policy), "kind": policy.kind},
        "shortest_first": policy.shortest_first,
        "max_batch": experiment.max_batch,
        "port": 0,
        "max_waiting": EVERYBODY,
        "loop_detection": False,  # only policies close thoughts, as in simulation
    }
    if experiment.model is not None:
        said["model"] = str(experiment.model.resolve())
    if policy.has_controller:
        settings = directory / "controller.yaml"
        settings.write_text(yaml.safe_dump(described(policy.controller)), encoding="utf-8")
        said["controller"] = str(settings)
    config = directory / "serve.yaml"
    config.write_text(yaml.safe_dump(said), encoding="utf-8")
    return config


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
    laser: dict[str, Any] = {}
    completion_tokens, first_answer_s, error, right = 0, None, None, None
    try:
        reply = await _ask(client, question, max_tokens)
        ended = time.monotonic()
        laser, completion_tokens = reply.laser, reply.completion_tokens
        first_answer_s = None if reply.first_answer is None else reply.first_answer - due
        right = question.grade(reply.content)
    except (httpx.HTTPError, ReplyError) as failure:
        ended, error = time.monotonic(), f"{type(failure).__name__}: {failure}"
    took(
        RequestRecord(
            number=number,
            question=place,
            benchmark=question.benchmark,
            split=question.split,
            difficulty=laser.get("difficulty"),
            at_s=at_s,
            queue_s=laser.get("queue_ms", 0.0) / 1e3,
            first_answer_s=first_answer_s,
            latency_s=ended - due,
            thought_tokens=laser.get("reasoning_tokens", 0),
            completion_tokens=completion_tokens,
            rows=completion_tokens + laser.get("probe_tokens", 0) + laser.get("withdrawn_tokens", 0),
            probes=laser.get("probes", 0),
            probe_rows=laser.get("probe_tokens", 0),
            exit_reason=laser.get("exit_reason"),
            threshold=laser.get("threshold"),
            budget=laser.get("budget"),
            right=right,
            error=error,
        )
    )


class ReplyError(Exception):
    """The reply reports an error or breaks off."""


class _Reply:
    """A streamed reply, collected chunk by chunk."""

    def __init__(self) -> None:
        self.content = ""
        self.first_answer: float | None = None  # time of the first text of the answer; None: no text yet
        self.laser: dict[str, Any] = {}
        self.completion_tokens = 0

    def take(self, chunk: dict[str, Any]) -> None:
        if "error" in chunk:
            raise ReplyError(str(chunk["error"].get("message")))
        for choice in chunk["choices"]:
            text = choice["delta"].get("content")
            if text:
                if self.first_answer is None:
                    self.first_answer = time.monotonic()
                self.content += text
        self.laser = chunk.get("laser") or self.laser
        if chunk.get("usage"):
            self.completion_tokens = chunk["usage"]["completion_tokens"]


async def _ask(client: httpx.AsyncClient, question: Question, max_tokens: int) -> _Reply:
    body = {
        "messages": [{"role": "user", "content": question.text}],
        "max_tokens": max_tokens,
        "temperature": 0.0,
        "stream": True,
        "stream_options": {"include_usage": True},
        "include_reasoning": False,  # only their counts are needed, and the client shares the machine
    }
    reply = _Reply()
    async with client.stream("POST", "/v1/chat/completions", json=body) as response:
        if response.is_error:
            raise ReplyError(f"{response.status_code}: {(await response.aread())[:200].decode(errors='replace')}")
        async for line in response.aiter_lines():
            if line == "data: [DONE]":
                return reply
            if line.startswith("data: "):
                reply.take(_chunk(line.removeprefix("data: ")))
    raise ReplyError("the stream broke off before its end")


def _chunk(text: str) -> dict[str, Any]:
    try:
        said: dict[str, Any] = json.loads(text)
    except ValueError as error:
        raise ReplyError(f"a chunk is not JSON: {text[:200]!r}") from error
    return said
