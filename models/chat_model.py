"""Everything in a model directory but its weights: tokenizer, thinking format and sampling defaults."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.thinking import ThinkingTokens, read_format
from models.tokenizer import ChatTokenizer, TokenizerError


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationDefaults:
    """The sampling of requests that set none, from `generation_config.json`; greedy unless it sets `do_sample`."""

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    stop_tokens: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        if self.temperature < 0.0 or self.top_k < 0 or not 0.0 < self.top_p <= 1.0:
            raise ValueError(
                f"temperature {self.temperature}, top_k {self.top_k}, top_p {self.top_p} must be ≥ 0, ≥ 0 and in (0, 1]"
            )


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
    tokenizer = ChatTokenizer(directory)
    return ChatModel(
        tokenizer=tokenizer,
        thinking=ThinkingTokens(read_format(directory, thinking_format), tokenizer),
        defaults=read_generation_defaults(directory),
    )


def read_generation_defaults(directory: Path) -> GenerationDefaults:
    """The defaults in a model directory; greedy if their file is missing. Raises TokenizerError if it is damaged."""
    path = directory / "generation_config.json"
    if not path.is_file():
        return GenerationDefaults()
    try:
        said: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        eos = said.get("eos_token_id")
        listed = [] if eos is None else eos if isinstance(eos, list) else [eos]
        stop_tokens = frozenset(int(token) for token in listed)
        if not said.get("do_sample"):
            return GenerationDefaults(stop_tokens=stop_tokens)
        return GenerationDefaults(
            temperature=float(_else(said.get("temperature"), 1.0)),
            top_k=int(_else(said.get("top_k"), 0)),
            top_p=float(_else(said.get("top_p"), 1.0)),
            stop_tokens=stop_tokens,
        )
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise TokenizerError(f"{path}: cannot be used: {error}") from error


def _else(value: Any, default: float) -> Any:
    return default if value is None else value
