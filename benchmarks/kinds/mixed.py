"""Counts trial answers that became replies that did not want one, over mixed requests.

A quarter each: the bundled model's questions; JSON and tools, in words, in fields and as agents' turns; code; prose.
Without --server they go through the API's reading, the preparation and the serving loop to a simulated model that is
sure at its first probe, so that a reply shows whether its thought was tried at all. With --server a real one serves
them, the bundled model at a threshold that every answer reaches, and the exits are those of its replies.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import click
import httpx
import numpy as np

from benchmarks.kinds.eager import EagerModel
from benchmarks.kinds.prompts import KnownPrompt, agents, bundled, drawn
from benchmarks.support import report
from controller.policy import FixedPolicy, Limits
from controller.serving.loop import ServingLoop
from controller.serving.reply import Delta
from controller.serving.request import ExitReason, Outcome
from engine.simulated.engine import SimulatedEngine
from engine.simulated.machine import Machine, VirtualClock
from laser.server.api.chat import ChatRequest
from laser.server.api.errors import ApiError
from laser.server.api.fields import Slo
from laser.server.config import ServeConfig
from laser.server.engine_process.served import ServedModel, read_chat
from laser.server.intake.bounds import TextBounds
from laser.server.intake.reading import read
from laser.server.keys import ANYBODY
from laser.server.preparation import Preparation
from laser.server_process import serving
from models.kinds.kind import AnswerKind
from models.profile.plant import StepTime

SURE = 1e-6  # a threshold that every trial answer reaches
TOKENS = 160  # of a reply, at most
CELLS = 1 << 18
CLIENTS = 8
FIELDS: tuple[Mapping[str, Any], ...] = (
    {"response_format": {"type": "json_object"}},
    {
        "response_format": {
            "type": "json_schema",
            "json_schema": {
                "name": "answer",
                "schema": {"type": "object", "properties": {"answer": {"type": "string"}}, "required": ["answer"]},
            },
        }
    },
    {
        "tools": [
            {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object", "properties": {}}}}
        ]
    },
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mixed:
    """A request and the kind of answer that it wants."""

    group: str
    kind: AnswerKind
    body: Mapping[str, Any]


@dataclass(slots=True, kw_only=True)
class Counted:
    """What became of the requests of one group."""

    requests: int = 0
    refused: int = 0  # by the API: a field that is not served
    read_short: int = 0
    probed: int = 0  # with at least one probe
    exits: int = 0  # closed by a trial answer
    wrong: int = 0  # of these, where no short answer was wanted

    def add(self, wanted: AnswerKind, *, answer: str, probes: int, exit_reason: str | None) -> None:
        """Counts a reply."""
        closed = exit_reason == ExitReason.CONFIDENCE
        self.read_short += answer == AnswerKind.SHORT
        self.probed += probes > 0
        self.exits += closed
        self.wrong += closed and wanted is not AnswerKind.SHORT


def mixed(count: int, seed: int) -> Iterator[Mixed]:
    """Yields `count` requests, a quarter of each group."""
    rng = np.random.default_rng(seed)
    part, rest = divmod(count, 4)
    yield from _plain("bundled questions", bundled(part + rest, rng, from_held_out=True))
    yield from _plain("JSON in words", drawn(AnswerKind.STRUCTURED, part // 3, rng))
    yield from _plain("agents' turns", agents(part // 3, rng))
    fields = part - 2 * (part // 3)
    asked = [*drawn(AnswerKind.SHORT, fields // 2, rng), *drawn(AnswerKind.OPEN, fields - fields // 2, rng)]
    for number, prompt in enumerate(asked):
        body = {**_body(prompt), **FIELDS[number % len(FIELDS)]}
        yield Mixed(group="JSON and tools in fields", kind=AnswerKind.STRUCTURED, body=body)
    yield from _plain("code", drawn(AnswerKind.CODE, part, rng))
    yield from _plain("prose", drawn(AnswerKind.OPEN, part, rng))


def _plain(group: str, prompts: Iterator[KnownPrompt]) -> Iterator[Mixed]:
    for prompt in prompts:
        yield Mixed(group=group, kind=prompt.kind, body=_body(prompt))


def _body(prompt: KnownPrompt) -> dict[str, Any]:
    system = [{"role": "system", "content": prompt.said.system}] if prompt.said.system else []
    return {"messages": [*system, {"role": "user", "content": prompt.said.asked}], "max_tokens": TOKENS}


def decided(requests: Iterator[Mixed]) -> dict[str, Counted]:
    """Serves requests to a model that is always sure, and returns what became of them, by group."""
    config = ServeConfig()
    chat = read_chat(config)
    clock = VirtualClock()
    machine = Machine(step_time=StepTime(a=1e-3, c=1e-4), max_batch=64, cells=CELLS)
    loop = ServingLoop(
        engine=SimulatedEngine(EagerModel(chat), machine, clock),
        tokenizer=chat.tokenizer,
        thinking=chat.thinking,
        policy=FixedPolicy(Limits(threshold=SURE)),
        stop_tokens=chat.stop_tokens,
        clock=clock,
    )
    grammars = chat.grammars()
    served = ServedModel(
        model_id="eager", config=config, chat=chat, room=loop.room, engine="simulated", grammars=grammars
    )
    preparation, bounds = Preparation(served), TextBounds(tokens=loop.room, token_bytes=64)
    found: dict[str, Counted] = {}
    for number, one in enumerate(requests):
        counted = found.setdefault(one.group, Counted())
        counted.requests += 1
        try:
            asked = read(json.dumps(one.body).encode(), ChatRequest, bounds)
            request = preparation.request(asked, number, str(number), ANYBODY, Slo())
        except ApiError:
            counted.refused += 1
            continue

        def heard(
            item: Delta | Outcome, one: Mixed = one, counted: Counted = counted, answer: str = request.answer
        ) -> None:
            if isinstance(item, Outcome):
                thought = item.thought
                counted.add(one.kind, answer=answer, probes=thought.probes, exit_reason=thought.exit_reason)

        loop.submit(replace(request, grammar=None), heard)  # which a simulated engine cannot hold to
        while loop.busy:
            loop.tick()
    return found


async def served(requests: Iterator[Mixed], log: Path | None) -> dict[str, Counted]:
    """Sends requests to a real server of the bundled model, and returns what became of them, by group."""
    found: dict[str, Counted] = {}
    arguments = ["serve", "--port", "0", "--threshold", str(SURE)]
    async with serving(arguments, log) as server, httpx.AsyncClient(base_url=server.url, timeout=600.0) as client:
        waiting = asyncio.Semaphore(CLIENTS)

        async def ask(one: Mixed) -> None:
            counted = found.setdefault(one.group, Counted())
            async with waiting:
                reply = await client.post("/v1/chat/completions", json=dict(one.body))
            counted.requests += 1
            if reply.status_code == httpx.codes.BAD_REQUEST:
                counted.refused += 1
                return
            laser = reply.raise_for_status().json()["laser"]
            counted.add(one.kind, answer=laser["answer"], probes=laser["probes"], exit_reason=laser["exit_reason"])

        await asyncio.gather(*map(ask, requests))
    return found


def show(found: Mapping[str, Counted]) -> None:
    """Prints the counts."""
    click.echo(f"{'requests':28}{'':>7}{'refused':>9}{'short':>8}{'probed':>8}{'exits':>8}{'wrong':>8}")
    for group, one in found.items():
        counts = (one.requests, one.refused, one.read_short, one.probed, one.exits, one.wrong)
        click.echo(f"{group:28}{counts[0]:>7}{counts[1]:>9}" + "".join(f"{count:>8}" for count in counts[2:]))
    total = Counter[str]()
    for one in found.values():
        total.update(asdict(one))
    click.echo(f"trial answers that became replies that wanted none: {total['wrong']} of {total['requests']}")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kinds.mixed", description=__doc__)
    parser.add_argument("-n", "--requests", type=int, default=10_000, help="in all")
    parser.add_argument("--seed", type=int, default=11, help="of the prompts")
    parser.add_argument("--server", action="store_true", help="serve them by a real server of the bundled model")
    parser.add_argument("--log", type=Path, help="of that server")
    parser.add_argument("--out", type=Path, help="write the counts as JSON")
    arguments = parser.parse_args()
    ran = report.circumstances("benchmarks.kinds.mixed", arguments.seed)
    requests = mixed(arguments.requests, arguments.seed)
    found = asyncio.run(served(requests, arguments.log)) if arguments.server else decided(requests)
    show(found)
    if arguments.out is not None:
        report.write(arguments.out, ran, {group: asdict(one) for group, one in found.items()})


if __name__ == "__main__":
    main()
