"""A parrot that calls tools until it sees a result of one, and then answers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from engine.base import Request
from engine.options import Opened
from models.tokenizer import ChatTokenizer
from tests.support.parrot_engine import ParrotEngine, ParrotOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentOptions(ParrotOptions):
    """Opens an agent's engine. `says`: what it says until `result` stands in its prompt, then it says `then`."""

    kind: ClassVar[str] = "agent"

    then: str = "I see.\n</think>\n\nIt rains in Oslo."
    result: str = "<tool_response>\nrain"

    def open(self, directory: Path) -> Opened:
        tokenizer = ChatTokenizer(directory)
        vocabulary = len(tokenizer.texts)
        return Opened(kind=self.kind, engine=AgentEngine(tokenizer, vocabulary, self), vocabulary=vocabulary)


class AgentEngine(ParrotEngine):
    """Implements `engine.base.Engine`."""

    def __init__(self, tokenizer: ChatTokenizer, vocabulary: int, options: AgentOptions) -> None:
        end = min(tokenizer.eos_ids)
        super().__init__((*tokenizer.encode(options.says), end), vocabulary, options)
        self._tokenizer = tokenizer
        self._then = (*tokenizer.encode(options.then), end)
        self._result = options.result

    def _script_for(self, request: Request) -> tuple[int, ...]:
        return self._then if self._result in self._tokenizer.decode(request.prompt) else super()._script_for(request)
