"""Every engine that the contract suite holds to its protocol, opened on a small model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import pytest

from engine.base import (
    MARGIN,
    Capabilities,
    Engine,
    EngineUnavailableError,
    Probed,
    ProbeSpec,
    SequenceId,
    UnsupportedError,
)
from engine.simulated.engine import SimulatedEngine
from engine.simulated.machine import Machine, VirtualClock
from engine.simulated.model import Course, CourseRules, TrialAnswer
from models.profile.plant import StepTime
from tests.support.engine_requests import request
from tests.support.ledger import Ledger
from tests.support.on_gpu import bundled_oracle, open_on_gpu
from tests.support.tiny_models import VOCABULARY, Oracle


@dataclass(frozen=True, kw_only=True)
class EngineUnderTest:
    """One engine on one model: how to open a fresh instance of given sizes, and what is true of its model."""

    open: Callable[[int, int, int], Engine]  # cells, max_batch, prefill_chunk
    oracle: Oracle
    vocabulary: int = VOCABULARY
    # of a probe, by its suffix's tokens and its steps: here the suffix at once, then the answer token by token
    rows_after: Callable[[int, int], int] = lambda suffix, steps: suffix + steps - 1
    rests: bool = False  # a paused sequence gives its memory back, and finds again what is still there
    digests: bool = False  # the model's logits are digests, so they are batch invariant whatever engine decodes them

    @cached_property
    def capabilities(self) -> Capabilities:
        found = self.open(512, 8, 16).capabilities
        return replace(found, batch_invariant=True) if self.digests else found

    def must_have(self, *names: str) -> None:
        """Skip a test of what the engine lacks."""
        try:
            for name in names:
                self.capabilities.need(name, "not tested")
        except UnsupportedError as error:
            pytest.skip(str(error))


def engine_under_test(
    name: str, model_directory: Callable[[str], Path], oracle_of: Callable[[str], Oracle]
) -> EngineUnderTest:
    match name.split("-"):
        case "torch", runner, architecture:
            return torch_engine(runner, architecture, model_directory, oracle_of)
        case "llamacpp", architecture:
            return llama_engine(architecture, model_directory, oracle_of)
        case "llamacpp", architecture, "apart":
            return llama_engine(architecture, model_directory, oracle_of, shared=False)
        case "exllama", way:
            return exllama_engine(way)
        case ["simulated"]:
            return simulated_engine(oracle_of("qwen2"))
        case "gpu", way:
            return gpu_engine(way)
        case _:
            raise ValueError(f"no engine is called {name}")


def exllama_engine(way: str) -> EngineUnderTest:
    """The ExLlamaV2 engine over a model of digests, with pages of 8 tokens, so that page ends are everywhere."""
    from engine.exllama.config import ProbeWay
    from tests.support.exllama_stub import open_exllama
    from tests.support.history_model import HistoryOracle

    def open_(cells: int, max_batch: int, prefill_chunk: int) -> Engine:
        return open_exllama(
            cells=cells, max_batch=max_batch, prefill_chunk=prefill_chunk, lease_pages=2, way=ProbeWay(way), page=8
        )

    return EngineUnderTest(open=open_, oracle=HistoryOracle(), rows_after=rows_of(way), digests=True, rests=True)


def rows_of(way: str) -> Callable[[int, int], int]:
    """What a probe of the ExLlamaV2 engine has cost, by its suffix's tokens and its steps."""
    from engine.exllama.config import ProbeWay

    def rows_after(suffix: int, steps: int) -> int:
        match ProbeWay(way):
            case ProbeWay.RIDING:
                return steps  # the newest token again, then the suffix, token by token
            case ProbeWay.BATCHED:
                return suffix + steps  # the newest token again with the suffix
            case _:
                return suffix + steps - 1

    return rows_after


def gpu_engine(way: str) -> EngineUnderTest:
    """The ExLlamaV2 engine on the bundled model, on a GPU: pages of 256 tokens, so 32 times the cells."""
    from engine.exllama.config import ExLlamaConfig, ProbeWay
    from models.reasoner import bundled_model

    def open_(cells: int, max_batch: int, prefill_chunk: int) -> Engine:
        config = ExLlamaConfig(cells=32 * cells, max_batch=max_batch, prefill_chunk=prefill_chunk, way=ProbeWay(way))
        engine: Engine = open_on_gpu(bundled_model(), config)
        return engine

    return EngineUnderTest(open=open_, oracle=bundled_oracle(), rows_after=rows_of(way), rests=True)


def torch_engine(
    runner: str, architecture: str, model_directory: Callable[[str], Path], oracle_of: Callable[[str], Oracle]
) -> EngineUnderTest:
    from engine.torch.config import Runner
    from engine.torch.engine import TorchEngine, TorchEngineConfig
    from engine.torch.load import load_model

    model = load_model(model_directory(architecture), Runner(runner))

    def open_(cells: int, max_batch: int, prefill_chunk: int) -> Engine:
        return TorchEngine(model, TorchEngineConfig(cells=cells, max_batch=max_batch, prefill_chunk=prefill_chunk))

    return EngineUnderTest(open=open_, oracle=oracle_of(architecture))


def llama_engine(
    architecture: str,
    model_directory: Callable[[str], Path],
    oracle_of: Callable[[str], Oracle],
    *,
    shared: bool = True,
) -> EngineUnderTest:
    """The llama.cpp engine in float32: transformers' weights where it has them, else against llama.cpp's own loop.

    Not `shared`: there are as many cells for each sequence, and for each probe, as else for all.
    """
    needs_llama()
    from engine.llamacpp.config import FlashAttention, KVType, LlamaConfig
    from engine.llamacpp.engine import LlamaEngine
    from tests.support.given_gguf import GIVEN
    from tests.support.llama_loop import LoopOracle
    from tests.support.tiny_ggufs import ARCHITECTURES, load_gguf

    model = load_gguf(architecture, model_directory)
    oracle = LoopOracle(model) if architecture in (*ARCHITECTURES, GIVEN) else oracle_of(architecture)

    paused = 8

    def open_(cells: int, max_batch: int, prefill_chunk: int) -> Engine:
        config = LlamaConfig(
            cells=cells if shared else 2 * (max_batch + paused) * cells,
            shared=shared,
            max_batch=max_batch,
            prefill_chunk=prefill_chunk,
            paused=paused,
            kv_type=KVType.F32,
            flash_attention=FlashAttention.OFF,
        )
        return LlamaEngine(model, config)

    return EngineUnderTest(open=open_, oracle=oracle, vocabulary=model.vocabulary)


def needs_llama() -> None:
    """Skip what needs llama.cpp where it is not installed."""
    from engine.llamacpp.library import llama

    try:
        llama()
    except EngineUnavailableError as error:
        pytest.skip(str(error))


@dataclass(frozen=True, slots=True, kw_only=True)
class OracleModel:
    """A simulated model that says what the oracle says, looked at after every token."""

    oracle: Oracle
    max_tokens: int = 512
    vocabulary: int = VOCABULARY

    def follow(self, prompt: tuple[int, ...], said: Sequence[int], rules: CourseRules) -> Course:
        if rules.most == 0:
            return Course(tokens=())
        tokens = self.oracle.generate(
            (*prompt, *said),
            rules.most,
            stops=rules.stops if rules.armed else frozenset(),
            barred=rules.banned if rules.armed else rules.banned | rules.stops,
        )
        return Course(tokens=tuple(tokens), looks=tuple(range(1, rules.most + 1)), until_armed=not rules.armed)

    def answer(self, prompt: tuple[int, ...], said: Sequence[int], spec: ProbeSpec) -> TrialAnswer:
        context = (*prompt, *said, *spec.suffix)
        answer = self.oracle.generate(context, spec.max_answer_tokens, stops=spec.answer_stops)
        terminator = answer[-1] if answer[-1] in spec.answer_stops else None
        if terminator is not None:
            answer = answer[:-1]
        return TrialAnswer(
            answer=tuple(answer),
            log_probs=tuple(self.oracle.log_probs(context, answer).tolist()),
            terminator=terminator,
            readings={} if spec.watched is None else {MARGIN: self.oracle.gap(context, spec.watched)},
        )


def simulated_engine(oracle: Oracle) -> EngineUnderTest:
    def open_(cells: int, max_batch: int, prefill_chunk: int) -> Engine:
        machine = Machine(
            step_time=StepTime(a=0.01, c=0.001, g=1e-6),
            max_batch=max_batch,
            cells=cells,
            prefill_chunk=prefill_chunk,
        )
        return SimulatedEngine(OracleModel(oracle=oracle), machine, VirtualClock())

    return EngineUnderTest(open=open_, oracle=oracle)


def open_(tested: EngineUnderTest, cells: int = 512, batch: int = 8, chunk: int = 16) -> Engine:
    return tested.open(cells, batch, chunk)


def decoding(tested: EngineUnderTest, **options: object) -> tuple[Ledger, SequenceId]:
    """A ledger whose one sequence has a few tokens already."""
    ledger = Ledger(open_(tested))
    sequence = ledger.submit(request(new=30, **options))
    for _ in range(4):
        ledger.step()
    return ledger, sequence


def probed(ledger: Ledger) -> Probed:
    """The answer of the probe that runs."""
    for _ in range(50):
        answers = ledger.step()
        if answers:
            return answers[0]
    raise AssertionError("the probe never ended")


def finish(ledger: Ledger, tested: EngineUnderTest) -> None:
    ledger.run()
    ledger.verify(tested.oracle)
