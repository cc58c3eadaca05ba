"""A request tells how far it is: its start, its thought in steps of a second, its answer; nothing behind its end."""

from __future__ import annotations

from collections.abc import Callable

from controller.serving.admission import AdmissionLimits
from controller.serving.reply import Delta
from controller.serving.request import Outcome, ReasoningRequest
from controller.serving.status import TELL_S, ProgressWatch, RequestProgress, Stage
from tests.support.serving_bench import BRIEF, ENDLESS, SURE, Bench

Chain = Callable[..., Bench]


def watched(bench: Bench, **options: object) -> list[RequestProgress | Delta | Outcome]:
    """Submits a request; returns where its text and its progress will come, in their order."""
    prompt = bench.thinking.prompt(bench.tokenizer.encode("?"), thinking=True)
    request = ReasoningRequest(**{"prompt": tuple(prompt), "max_tokens": 60, **options})  # type: ignore[arg-type]
    said: list[RequestProgress | Delta | Outcome] = []
    bench.loop.submit(request, said.append, watch=said.append)
    return said


def progress(said: list[RequestProgress | Delta | Outcome]) -> list[RequestProgress]:
    return [item for item in said if isinstance(item, RequestProgress)]


def test_a_thought_is_told_from_its_start_to_its_answer(chain: Chain) -> None:
    bench = chain(ENDLESS)  # a tick of its clock is a second
    said = watched(bench, budget=5)
    bench.run()
    told = progress(said)
    assert (told[0].stage, told[0].tokens) == (Stage.THINKING, 0)  # its prompt is being read
    thinking = [each.thought_tokens for each in told[1:] if each.stage is Stage.THINKING]
    assert thinking == sorted(thinking)
    assert thinking[0] > 0
    assert all(each.budget == 5 for each in told)
    assert told[-1].stage is Stage.ANSWERING
    assert told[-1].thought_tokens == 5
    assert isinstance(said[-1], Outcome)


def test_what_waits_is_told_nothing_before_its_turn(chain: Chain) -> None:
    bench = chain(BRIEF, admission=AdmissionLimits(slots=1))
    watched(bench)
    behind = watched(bench)
    bench.tick(2)
    assert behind == []
    bench.run()
    assert progress(behind)[0].stage is Stage.THINKING


def test_an_adopted_answer_is_told_with_the_thought_that_it_leaves(chain: Chain) -> None:
    bench = chain(ENDLESS, policy=SURE)
    said = watched(bench)
    bench.run()
    outcome = said[-1]
    assert isinstance(outcome, Outcome)
    assert outcome.thought.withdrawn_tokens > 0
    assert progress(said)[-1].thought_tokens == outcome.thought.tokens


def test_progress_is_told_at_once_in_a_new_stage_and_else_once_a_second() -> None:
    told: list[RequestProgress] = []
    watch = ProgressWatch(told.append)
    for now, stage, tokens in [
        (0.0, Stage.THINKING, 0), (0.5, Stage.THINKING, 0), (0.5, Stage.THINKING, 1), (1.4, Stage.THINKING, 2),
        (1.5, Stage.THINKING, 3), (1.5, Stage.ANSWERING, 4),
    ]:  # fmt: skip
        watch.see(now * TELL_S, RequestProgress(stage=stage, tokens=tokens, thought_tokens=tokens, budget=None))
    assert [each.tokens for each in told] == [0, 1, 3, 4]
