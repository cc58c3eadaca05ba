"""The same greedy jobs in the engine and in ExLlamaV2's own generator."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from engine.base import Request, SequenceId, Tokens
from engine.exllama.config import ExLlamaConfig
from engine.exllama.load import ExLlamaModel

if TYPE_CHECKING:
    from engine.exllama.engine import ExLlamaEngine

GENERATED = 128  # tokens of each job


class GreedyRun(ABC):
    """Greedy jobs, decoded to their end by one of the rivals."""

    @abstractmethod
    def step(self) -> None: ...

    @abstractmethod
    def tokens(self) -> list[list[int]]: ...

    def decode(self) -> float:
        """Decodes all jobs; returns their tokens/s until the first job ends, since its row is idle from then on."""
        while not all(self.tokens()):
            self.step()
        before, start = sum(map(len, self.tokens())), time.perf_counter()
        while all(len(tokens) < GENERATED for tokens in self.tokens()):
            self.step()
        rate = (sum(map(len, self.tokens())) - before) / (time.perf_counter() - start)
        while any(len(tokens) < GENERATED for tokens in self.tokens()):
            self.step()
        return rate


class EngineRun(GreedyRun):
    """The jobs in the engine."""

    def __init__(self, engine: ExLlamaEngine, prompts: Sequence[tuple[int, ...]]) -> None:
        self._engine = engine
        self._tokens: dict[SequenceId, list[int]] = {
            engine.submit(Request(prompt=prompt, max_new_tokens=GENERATED)): [] for prompt in prompts
        }

    def step(self) -> None:
        for event in self._engine.step():
            if isinstance(event, Tokens):
                self._tokens[event.sequence].extend(event.tokens)

    def tokens(self) -> list[list[int]]:
        return list(self._tokens.values())


class GeneratorRun(GreedyRun):
    """The jobs in ExLlamaV2's own generator, with its own sampler."""

    def __init__(self, loaded: ExLlamaModel, config: ExLlamaConfig, prompts: Sequence[tuple[int, ...]]) -> None:
        from exllamav2.generator import ExLlamaV2DynamicGenerator, ExLlamaV2DynamicJob, ExLlamaV2Sampler

        from engine.exllama.generator import NoText

        class Tokenizer(NoText):
            def get_vocab_size(self) -> int:
                return loaded.vocabulary

        self._generator = ExLlamaV2DynamicGenerator(
            loaded.model,
            loaded.cache,
            Tokenizer(),
            max_batch_size=len(prompts),
            max_chunk_size=config.prefill_chunk,
            max_q_size=1,
        )
        self._tokens: dict[int, list[int]] = {}
        for prompt in prompts:
            settings = ExLlamaV2Sampler.Settings.greedy()
            job = ExLlamaV2DynamicJob(torch.tensor([prompt]), max_new_tokens=GENERATED, gen_settings=settings)
            self._tokens[self._generator.enqueue(job)] = []

    def step(self) -> None:
        for result in self._generator.iterate():
            if "token_ids" in result:
                self._tokens[result["serial"]] += result["token_ids"][0].tolist()

    def tokens(self) -> list[list[int]]:
        return list(self._tokens.values())
