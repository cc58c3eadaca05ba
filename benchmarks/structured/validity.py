"""Asks a real server for answers to random JSON schemas, under load, and validates every one.

Each request draws its schema, budget, limit, temperature, endpoint and form: whole or streamed. A request whose
`max_tokens` is too small even for the shortest answer must end with `length`; any other must end with `stop`, not be
empty, and validate. A part of the schemas is so small that probes try the answer.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import numpy as np

from benchmarks.structured.schemas import Schema, SchemaSource
from benchmarks.support import report
from experiments.evaluation.questions import bundled_questions
from experiments.question import Question
from laser.server_process import serving
from models.chat_model import load_chat_model
from models.grammar.compiling import CompiledGrammar
from models.grammar.grammar import Grammar, GrammarError
from models.reasoner import bundled_model

FORMS = {"two": "--no-in-process", "one": "--in-process"}  # processes
LIMITS = (24, 64, 160, 400, 700)  # of a reply, tokens
BUDGETS = (0, 4, 30, 120, None)  # of a thought, tokens; None: the server's
THRESHOLDS = (0.5, 0.8, 0.95)  # of servers that take turns
SHORT = 0.2  # share of the schemas that a probe can try
SHOWN = 400  # characters of a fault's texts


@dataclass(frozen=True, slots=True, kw_only=True)
class StructuredRequest:
    """One request."""

    schema: Schema
    grammar: CompiledGrammar
    question: str
    limit: int
    budget: int | None
    temperature: float
    endpoint: str
    stream: bool

    @property
    def body(self) -> dict[str, Any]:
        """The request's fields."""
        named = {"name": "answer", "schema": self.schema, "strict": True}
        common = {"temperature": self.temperature, "thinking_token_budget": self.budget, "stream": self.stream}
        match self.endpoint:
            case "/v1/chat/completions":
                form = {"response_format": {"type": "json_schema", "json_schema": named}}
                return {**common, **form, "messages": self._messages, "max_tokens": self.limit}
            case "/v1/responses":
                form = {"text": {"format": {"type": "json_schema", **named}}}
                return {**common, **form, "input": self.question, "max_output_tokens": self.limit}
            case _:
                prompt = f"<|im_start|>user\n{self.question}<|im_end|>\n<|im_start|>assistant\n<think>\n"
                form = {"structured_outputs": {"json": self.schema}}
                return {**common, **form, "prompt": prompt, "max_tokens": self.limit}

    @property
    def _messages(self) -> list[dict[str, str]]:
        return [{"role": "user", "content": self.question}]


@dataclass(slots=True, kw_only=True)
class Tally:
    """What became of the requests."""

    counts: Counter[str] = field(default_factory=Counter)
    exits: Counter[str] = field(default_factory=Counter)  # why thoughts ended
    faults: list[str] = field(default_factory=list)

    def take(self, asked: StructuredRequest, answer: str, finish: str, laser: dict[str, Any]) -> None:
        """Judges one answer."""
        self.counts["asked"] += 1
        self.exits[str(laser["exit_reason"])] += 1
        shortest = asked.grammar.shortest
        if shortest is not None and shortest > asked.limit:
            self._fault(asked, answer, "ends", finish) if finish != "length" else self._count("no room")
        elif finish != "stop":
            self._fault(asked, answer, "cut", finish)
        elif not answer:
            self._fault(asked, answer, "empty", finish)
        else:
            self._validate(asked, answer)

    @property
    def told(self) -> dict[str, Any]:
        """The tally as JSON has it."""
        return {"counts": dict(self.counts), "exits": dict(self.exits), "faults": self.faults}

    def _validate(self, asked: StructuredRequest, answer: str) -> None:
        try:
            jsonschema.validate(json.loads(answer), asked.schema)
        except (ValueError, jsonschema.ValidationError) as error:
            self._fault(asked, answer, "invalid", str(error).partition("\n")[0])
        else:
            self._count("valid")

    def _count(self, what: str) -> None:
        self.counts[what] += 1

    def _fault(self, asked: StructuredRequest, answer: str, what: str, why: str) -> None:
        self._count(what)
        self.faults.append(
            f"{what} ({why}): limit {asked.limit}, budget {asked.budget}, {asked.endpoint}, stream {asked.stream}: "
            f"{json.dumps(asked.schema, ensure_ascii=False)[:SHOWN]} → {answer[:SHOWN]}"
        )


class Draws:
    """Draws requests from a seed."""

    def __init__(self, seed: int, questions: Sequence[Question]) -> None:
        self._rng = np.random.default_rng([seed, 1])
        self._source = SchemaSource(seed)
        self._questions = questions
        self._grammars = load_chat_model(bundled_model()).grammars()
        self.refused: list[str] = []  # schemas that are not done

    def draw(self) -> StructuredRequest:
        """Returns the next request whose schema is done."""
        while True:
            schema = self._short() if self._rng.random() < SHORT else self._source.draw()
            try:
                grammar = self._grammars.compiled(Grammar.json_schema(schema, asked_by="schema"))
            except GrammarError as error:
                self.refused.append(str(error))
                continue
            return StructuredRequest(
                schema=schema,
                grammar=grammar,
                question=self._one(self._questions).text,
                limit=self._one(LIMITS),
                budget=self._one(BUDGETS),
                temperature=self._one((0.0, 0.7, 1.5)),
                endpoint=self._one(
                    ("/v1/chat/completions", "/v1/chat/completions", "/v1/responses", "/v1/completions")
                ),
                stream=bool(self._rng.random() < 0.5),
            )

    def _short(self) -> Schema:
        inner = self._one(
            ({"type": "integer"}, {"type": "boolean"}, {"enum": ["yes", "no"]}, {"type": "integer", "minimum": 0})
        )
        return {
            "type": "object", "properties": {"answer": inner}, "required": ["answer"], "additionalProperties": False
        }  # fmt: skip

    def _one(self, options: Any) -> Any:
        return options[int(self._rng.integers(len(options)))]


async def reply(client: httpx.AsyncClient, asked: StructuredRequest) -> tuple[str, str, dict[str, Any]]:
    """Returns a reply's answer, its finish reason in the words of chats, and its `laser` object."""
    if not asked.stream:
        response = await client.post(asked.endpoint, json=asked.body)
        if response.status_code != 200:
            raise SystemExit(f"{response.status_code}: {response.text} for {json.dumps(asked.schema)}")
        return _whole(response.json())
    answer, last = "", dict[str, Any]()
    async with client.stream("POST", asked.endpoint, json=asked.body) as response:
        if response.status_code != 200:
            raise SystemExit(f"{response.status_code}: {(await response.aread()).decode()}")
        async for line in response.aiter_lines():
            if not line.startswith("data: {"):
                continue
            event = json.loads(line.removeprefix("data: "))
            if "response" in event and event["response"]["status"] in ("completed", "incomplete"):
                last = event["response"]
            elif event.get("type") == "response.output_text.delta":
                answer += event["delta"]
            elif event.get("choices"):
                choice = event["choices"][0]
                answer += choice.get("delta", {}).get("content") or choice.get("text") or ""
                last = event if choice["finish_reason"] else last
            elif "error" in event:
                raise SystemExit(f"{event['error']} for {json.dumps(asked.schema)}")
    _, finish, laser = _whole(last)
    return answer, finish, laser


def _whole(body: dict[str, Any]) -> tuple[str, str, dict[str, Any]]:
    if "status" in body:
        (message,) = (item for item in body["output"] if item["type"] == "message")
        text = message["content"][0]["text"]
        return text, "stop" if body["status"] == "completed" else "length", body["laser"]
    choice = body["choices"][0]
    text = choice["message"]["content"] if "message" in choice else choice.get("text", "")
    return text, choice["finish_reason"], body["laser"]


async def turn(requests: Sequence[StructuredRequest], threshold: float, at_once: int, form: str, batch: int) -> Tally:
    """Serves with one threshold and asks all of `requests`, `at_once` at a time."""
    arguments = [
        "serve", FORMS[form], "--port", "0", "--policy", "fixed", "--threshold", str(threshold),
        "--max-batch", str(batch),
    ]  # fmt: skip
    tally, waiting = Tally(), list(requests)
    async with (
        serving(arguments) as server,
        httpx.AsyncClient(base_url=server.url, trust_env=False, timeout=300.0) as client,
    ):

        async def keep_asking() -> None:
            while waiting:
                asked = waiting.pop()
                tally.take(asked, *await reply(client, asked))

        await asyncio.gather(*(keep_asking() for _ in range(at_once)))
    return tally


def main() -> None:
    """Command line: run, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.structured.validity", description=__doc__)
    parser.add_argument("--schemas", type=int, default=1_000)
    parser.add_argument("--at-once", type=int, default=24, help="requests under way; more than --batch wait")
    parser.add_argument("--batch", type=int, default=16, help="requests that decode together")
    parser.add_argument("--form", choices=FORMS, default="two", help="one process or two")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="JSON file for the results")
    options = parser.parse_args()
    ran = report.circumstances("benchmarks.structured.validity", options.seed)
    draws = Draws(options.seed, bundled_questions(100, seed=options.seed))
    requests = [draws.draw() for _ in range(options.schemas)]
    results = []
    for number, threshold in enumerate(THRESHOLDS):
        part = requests[number :: len(THRESHOLDS)]
        began = time.monotonic()
        tally = asyncio.run(turn(part, threshold, options.at_once, options.form, options.batch))
        print(f"threshold {threshold}: {dict(tally.counts)} in {time.monotonic() - began:.0f} s; {dict(tally.exits)}")
        for fault in tally.faults[:10]:
            print(f"  {fault}")
        results.append({"threshold": threshold, **tally.told})
    print(f"{len(draws.refused)} schemas drawn that are not done")
    if options.out is not None:
        report.write(options.out, ran, results)


if __name__ == "__main__":
    main()
