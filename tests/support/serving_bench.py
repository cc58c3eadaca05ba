"""A serving loop on a bench: a scripted or random model, an engine that keeps a ledger, and what clients heard."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from controller.policy import FixedPolicy, Limits, LoadObserver, Policy
from controller.serving.admission import AdmissionLimits
from controller.serving.loop import ServingLoop
from controller.serving.ordering.turns import ServingOrder
from controller.serving.repetition import LoopDetection
from controller.serving.reply import Channel, Delta
from controller.serving.request import Checkpoint, Outcome, ReasoningRequest, RequestId
from engine.base import (
    Capabilities,
    Engine,
    EngineLoad,
    Event,
    Probed,
    ProbeId,
    ProbeSpec,
    Request,
    SequenceId,
)
from engine.constraint import Constraint
from models.grammar.compiling import Grammars
from models.kinds.kind import AnswerKind
from models.thinking import ProbeFormat, ThinkingFormat, ThinkingTokens, TransitionFormat
from models.tokenizer import ChatTokenizer
from tests.support.ledger import Ledger

FORMAT = ThinkingFormat(
    opening="<think>\n",
    landing="~</think>",
    answer_reserve=8,
    probe=ProbeFormat(suffix="~</think>{", stops=("}",), max_answer_tokens=3),
    transitions=TransitionFormat(words=("Wait",), min_gap=1),
)


@dataclass(slots=True)
class Heard:
    """What a client has heard of its request."""

    deltas: list[Delta] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    checkpoints: list[Checkpoint] = field(default_factory=list)

    def __call__(self, news: Delta | Outcome) -> None:
        assert not self.outcomes, f"{news} after the outcome"
        if isinstance(news, Delta):
            assert news.text, "an empty delta"
            self.deltas.append(news)
        else:
            self.outcomes.append(news)

    def text(self, channel: Channel) -> str:
        return "".join(delta.text for delta in self.deltas if delta.channel is channel)

    @property
    def reasoning(self) -> str:
        return self.text(Channel.REASONING)

    @property
    def content(self) -> str:
        return self.text(Channel.CONTENT)

    @property
    def outcome(self) -> Outcome:
        (outcome,) = self.outcomes
        return outcome


class RecordingEngine:
    """An engine that keeps a ledger of all that the loop asks of the one below it."""

    def __init__(self, engine: Engine) -> None:
        self.ledger = Ledger(engine)
        self._engine = engine
        self._parents: dict[ProbeId, SequenceId] = {}

    @property
    def capabilities(self) -> Capabilities:
        return self._engine.capabilities

    @property
    def max_tokens(self) -> int:
        return self._engine.max_tokens

    def submit(self, request: Request, *, like: SequenceId | None = None) -> SequenceId:
        return self.ledger.submit(request, like=like)

    def step(self) -> list[Event]:
        events = self._engine.step()
        self.ledger.note(events)
        return events

    def fork(self, sequence: SequenceId, spec: ProbeSpec, *, back: int = 0) -> ProbeId:
        probe = self.ledger.fork(sequence, spec, back=back)
        self._parents[probe] = sequence
        return probe

    def adopt(self, probe: ProbeId, *, keep: int, then: Sequence[int] = ()) -> None:
        self.ledger.adopt(self._parents[probe], probe, keep=keep, then=then)

    def drop(self, probe: ProbeId) -> int:
        return self.ledger.drop(probe)

    def force(self, sequence: SequenceId, tokens: Sequence[int]) -> None:
        self.ledger.force(sequence, tokens)

    def arm_stops(self, sequence: SequenceId) -> None:
        self.ledger.arm(sequence)

    def ban(self, sequence: SequenceId, tokens: frozenset[int]) -> None:
        self.ledger.ban(sequence, tokens)

    def constrain(self, sequence: SequenceId, constraint: Constraint | None) -> None:
        self.ledger.constrain(sequence, constraint)

    def pause(self, sequence: SequenceId) -> None:
        self.ledger.pause(sequence)

    def resume(self, sequence: SequenceId) -> None:
        self.ledger.resume(sequence)

    def cancel(self, sequence: SequenceId) -> None:
        self.ledger.cancel(sequence)

    def load(self) -> EngineLoad:
        return self._engine.load()

    def answers(self) -> list[Probed]:
        """What the probes said that have ended."""
        return [asked.answer for asked in self.ledger.asked.values() if asked.answer is not None]


class Bench:
    """A serving loop on a model in a directory, with everything at hand that a test may look at."""

    def __init__(
        self,
        directory: Path,
        tokenizer: ChatTokenizer,
        *,
        policy: Policy | None = None,
        form: ThinkingFormat = FORMAT,
        cells: int = 4096,
        max_batch: int = 8,
        observer: LoadObserver | None = None,
        admission: AdmissionLimits | None = None,
        loops: LoopDetection | None = None,
        rows: int | None = None,
        every_probe: bool = False,
        certified: frozenset[AnswerKind] | None = None,
        engine: Engine | None = None,  # None: the torch engine on the model in the directory
        grammars: Grammars | None = None,
        order: ServingOrder | None = None,
    ) -> None:
        from engine.torch.engine import TorchEngine, TorchEngineConfig
        from engine.torch.load import load_model

        self.directory, self.tokenizer = directory, tokenizer
        self.thinking = ThinkingTokens(form, tokenizer)
        self.now = 0.0
        self._ids: dict[SequenceId, RequestId] = {}
        if engine is None:
            config = TorchEngineConfig(cells=cells, max_batch=max_batch, prefill_chunk=64)
            engine = TorchEngine(load_model(directory), config)
        self.engine = RecordingEngine(engine)
        self.loop = ServingLoop(
            engine=self.engine,
            tokenizer=tokenizer,
            thinking=self.thinking,
            policy=policy or FixedPolicy(Limits()),
            stop_tokens=tokenizer.eos_ids,
            clock=lambda: self.now,
            observer=observer,
            admission=admission,
            loops=loops,
            rows=rows,
            every_probe=every_probe,
            grammars=grammars,
            certified=certified,
            order=order,
        )

    def queue(self, prompt: str = "?", **options: Any) -> tuple[RequestId, Heard]:
        """Submit a request that may have to wait."""
        heard = Heard()
        tokens = tuple(self.tokenizer.encode(prompt))
        if options.get("thinking", True):
            tokens = self.thinking.prompt(tokens, thinking=True)
        request = ReasoningRequest(**{"prompt": tokens, "max_tokens": 60, **options})
        return self.loop.submit(request, heard, heard.checkpoints.append), heard

    def submit(self, prompt: str = "?", **options: Any) -> tuple[SequenceId, Heard]:
        """Submit a request; the sequence is its own where the engine is handed it at once."""
        submitted, heard = self.queue(prompt, **options)
        sequence = next(reversed(self.engine.ledger.accounts))
        self._ids[sequence] = submitted
        return sequence, heard

    def cancel(self, sequence: SequenceId) -> None:
        self.loop.cancel(self._ids[sequence])

    def tick(self, count: int = 1) -> None:
        for _ in range(count):
            self.loop.tick()
            self.now += 1.0

    def run(self) -> None:
        for _ in range(5_000):
            if not self.loop.busy:
                load = self.engine.load()
                assert (load.running, load.waiting, load.probing, load.cells_reserved) == (0, 0, 0, 0)
                return
            self.tick()
        raise AssertionError("the loop never became idle")

    def ask(self, prompt: str = "?", **options: Any) -> Heard:
        """One request from beginning to end."""
        _, heard = self.submit(prompt, **options)
        self.run()
        return heard

    def kept(self, sequence: SequenceId) -> tuple[list[int], list[int]]:
        """The tokens of thought and answer that a sequence was left with, markers and stop tokens not counted."""
        account = self.engine.ledger.accounts[sequence]
        tokens = [token for token in account.tokens if token not in self.tokenizer.eos_ids]
        if not self.thinking.leaves_open(account.request.prompt):
            return [], tokens
        if self.thinking.close_id not in tokens:
            return tokens, []
        at = tokens.index(self.thinking.close_id)
        return tokens[:at], tokens[at + 1 :]


END = "<|im_end|>"


ANSWER = {"</think>": "X", "X": "Y", "Y": END, "{": {"7": 0.9}, "7": {"}": 0.8}, "}": END}


ENDLESS = {"\n": "a", "a": "b", "b": ".\n\n", ".\n\n": "a", **ANSWER}  # a b ¶ a b ¶ …, and no end of it


BRIEF = {"\n": "a", "a": "b", "b": "c", "c": "</think>", **ANSWER}


SURE = FixedPolicy(Limits(threshold=0.85))  # the scripted answer's confidence is 0.9


UNSURE = FixedPolicy(Limits(threshold=0.95))


CUES = TransitionFormat(words=("a", "e", "s", "the", "ing", "answer", "er", "th", "at", "on"), min_gap=2)


FORM = replace(FORMAT, transitions=CUES)
