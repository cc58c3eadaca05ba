"""Everything in a model directory but its weights: tokenizer, thinking format and sampling defaults."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.directory import check_directory
from models.generation import GenerationDefaults, read_generation_defaults
from models.thinking import ThinkingTokens, read_format
from models.tokenizer import ChatTokenizer, TokenizerError


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatModel:
    """A model's tokenizer, thinking format and sampling defaults."""

    tokenizer: ChatTokenizer
    thinking: ThinkingTokens
    defaults: GenerationDefaults

    def prompt(self, messages: Sequence[Mapping[str, Any]], *, thinking: bool = True) -> tuple[int, ...]:
        """Returns a chat as prompt tokens that end inside an open thought, or behind an empty one without `thinking`.

        Raises TokenizerError if the chat template rejects the messages.
        """
        rendered = self.tokenizer.render(messages, enable_thinking=thinking)
        return self.thinking.prompt(rendered, thinking=thinking)

    @property
    def stop_tokens(self) -> frozenset[int]:
        """The tokens that end a reply."""
        return self.tokenizer.eos_ids | self.defaults.stop_tokens


def load_chat_model(directory: Path, thinking_format: Path | None = None) -> ChatModel:
    """Read a model directory. Raises TokenizerError or ConfigError naming the file at fault.

    `thinking_format` is the file of the thinking format; None: see `models.thinking.read_format`.
    """
    check_directory(directory, TokenizerError)
    tokenizer = ChatTokenizer(directory)
    return ChatModel(
        tokenizer=tokenizer,
        thinking=ThinkingTokens(read_format(directory, thinking_format), tokenizer),
        defaults=read_generation_defaults(directory),
    )
