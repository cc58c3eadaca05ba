"""What the serving loop tells its observer, on a real engine whose model follows a script."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from controller.policy import FixedPolicy, Limits
from tests.support.serving_bench import ANSWER, BRIEF, ENDLESS, SURE, Bench

Chain = Callable[..., Bench]


@dataclass
class Notes:
    """An observer that writes down all it hears."""

    came: list[str | None] = field(default_factory=list)
    ended: list[tuple[str | None, int]] = field(default_factory=list)
    steps: list[tuple[int, float, float]] = field(default_factory=list)
    ticks: list[tuple[float, int]] = field(default_factory=list)

    def arrived(self, difficulty: str | None) -> None:
        self.came.append(difficulty)

    def finished(self, difficulty: str | None, tokens: int) -> None:
        self.ended.append((difficulty, tokens))

    def stepped(self, batch: int, context: float, seconds: float) -> None:
        self.steps.append((batch, context, seconds))

    def tick(self, now: float, in_system: int) -> None:
        self.ticks.append((now, in_system))


def test_arrivals_and_ends_are_told_with_class_and_token_rows(chain: Chain) -> None:
    notes = Notes()
    bench = chain(ENDLESS, policy=FixedPolicy(Limits(budget=10)), observer=notes)
    first = bench.ask(difficulty="hard")
    assert notes.came == ["hard"]
    assert notes.ended == [("hard", first.outcome.completion_tokens)]


def test_the_rows_of_probes_and_withdrawn_tokens_count_as_work(chain: Chain) -> None:
    notes = Notes()
    heard = chain({**ENDLESS, **ANSWER}, policy=SURE, observer=notes).ask()
    thought = heard.outcome.thought
    assert thought.probe_rows + thought.withdrawn_tokens > 0
    assert notes.ended == [(None, heard.outcome.completion_tokens + thought.probe_rows + thought.withdrawn_tokens)]


def test_requests_that_set_their_own_limits_tell_nothing_of_the_work(chain: Chain) -> None:
    notes = Notes()
    bench = chain(ENDLESS, policy=FixedPolicy(Limits(budget=10)), observer=notes)
    bench.ask(budget=5)
    bench.ask(early_exit=False)
    bench.ask(thinking=False)
    assert len(notes.came) == 3
    assert notes.ended == []


def test_only_steps_that_decode_one_token_each_are_timed(chain: Chain) -> None:
    notes = Notes()
    bench = chain(ENDLESS, observer=notes)  # no probes
    sequence, _ = bench.submit(max_tokens=30)
    prompt = len(bench.engine.ledger.accounts[sequence].request.prompt)
    bench.tick(6)  # the first is the prefill, with its token
    assert [(batch, seconds) for batch, _, seconds in notes.steps] == [(1, 1.0)] * 4  # the last is not over yet
    assert [context for _, context, _ in notes.steps] == [prompt + tokens for tokens in (1, 2, 3, 4)]
    bench.submit(max_tokens=30)
    bench.tick(3)
    assert [batch for batch, _, _ in notes.steps[4:]] == [1, 2]  # the step with the newcomer's prefill is left out


def test_steps_with_probes_are_not_timed(chain: Chain) -> None:
    probing, plain = Notes(), Notes()
    unsure = FixedPolicy(Limits(threshold=0.99))
    chain(ENDLESS, policy=unsure, observer=probing).ask(max_tokens=40)
    chain(ENDLESS, observer=plain).ask(max_tokens=40)
    assert 0 < len(probing.steps) < len(plain.steps)
    assert all(seconds == 1.0 for _, _, seconds in probing.steps)


def test_pauses_between_requests_are_no_steps(chain: Chain) -> None:
    notes = Notes()
    bench = chain(BRIEF, observer=notes)
    for _ in range(3):
        bench.ask()
        bench.now += 100.0
        bench.loop.idle()
    sequence, _ = bench.submit()
    bench.tick(4)
    bench.cancel(sequence)
    bench.now += 100.0
    bench.ask()
    assert all(seconds == 1.0 for _, _, seconds in notes.steps)
    assert notes.ticks[-1][1] == 1
    assert (0 in {n for _, n in notes.ticks}) is True
