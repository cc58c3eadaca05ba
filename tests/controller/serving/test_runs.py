"""The loop on an engine whose sequences grow by several tokens a step, as those of a speculative decoder do."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from controller.policy import FixedPolicy, Limits
from controller.serving.loop import ServingLoop
from controller.serving.request import ReasoningRequest
from engine.base import Engine, Event, SequenceId, Tokens
from engine.wrapper import EngineWrapper
from tests.support.serving_bench import Bench, Heard

Chain = Callable[..., Bench]

TALKATIVE = {"\n": "a", "a": "b", "b": "c", "c": "</think>", "</think>": "X", "X": "Y", "Y": "Z", "Z": "X"}


class InRuns(EngineWrapper):
    """An engine that tells of sampled tokens after several steps only; anything else it tells of at once."""

    def __init__(self, engine: Engine, steps: int) -> None:
        super().__init__(engine)
        self._steps = steps

    def step(self) -> list[Event]:
        runs: dict[SequenceId, tuple[int, ...]] = {}
        for _ in range(self._steps):
            events = self.engine.step()
            sampled = [event for event in events if isinstance(event, Tokens) and not event.forced]
            for event in sampled:
                runs[event.sequence] = runs.get(event.sequence, ()) + event.tokens
            if others := [event for event in events if event not in sampled]:
                return [*(Tokens(sequence=one, tokens=tokens) for one, tokens in runs.items()), *others]
        return [Tokens(sequence=one, tokens=tokens) for one, tokens in runs.items()]


def ask(bench: Bench, engine: Engine, **options: object) -> Heard:
    heard = Heard()
    loop = ServingLoop(
        engine=engine,
        tokenizer=bench.tokenizer,
        thinking=bench.thinking,
        policy=FixedPolicy(Limits()),
        stop_tokens=bench.tokenizer.eos_ids,
        clock=lambda: 0.0,
    )
    prompt = bench.thinking.prompt(tuple(bench.tokenizer.encode("?")), thinking=True)
    loop.submit(ReasoningRequest(**{"prompt": prompt, "max_tokens": 24, **options}), heard)  # type: ignore[arg-type]
    while loop.busy:
        loop.tick()
    return heard


@pytest.mark.parametrize("steps", [2, 3, 5, 40])
@pytest.mark.parametrize("stop", [(), ("ZX",), ("YZXY",)])
def test_a_reply_is_the_same_whether_its_tokens_come_one_by_one_or_in_runs(
    chain: Chain, steps: int, stop: tuple[str, ...]
) -> None:
    """The close may lie anywhere in a run, and a stop string too: tokens behind it are no part of the reply."""
    bench = chain(TALKATIVE)
    one_by_one, in_runs = (ask(bench, engine, stop=stop) for engine in (bench.engine, InRuns(bench.engine, steps)))
    assert (in_runs.reasoning, in_runs.content) == (one_by_one.reasoning, one_by_one.content)
    assert in_runs.outcome == one_by_one.outcome
    assert in_runs.outcome.completion_tokens == {(): 24, ("ZX",): 8, ("YZXY",): 9}[stop]
