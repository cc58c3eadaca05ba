"""All that is known of a model directory but its weights: tokenizer, thinking format, and where its replies end."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.thinking import ThinkingTokens, read_format
from models.tokenizer import ChatTokenizer, TokenizerError


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatModel:
    """A model as a chat partner."""

    tokenizer: ChatTokenizer
    thinking: ThinkingTokens
    stop_tokens: frozenset[int]
    temperature: float  # the model's own default; 0: greedy


def load_chat_model(directory: Path, thinking_format: Path | None = None) -> ChatModel:
    """Read a model directory. Raises TokenizerError or ConfigError naming the file at fault."""
    tokenizer = ChatTokenizer(directory)
    generation = _generation_config(directory)
    eos = generation.get("eos_token_id")
    listed = [] if eos is None else eos if isinstance(eos, list) else [eos]
    return ChatModel(
        tokenizer=tokenizer,
        thinking=ThinkingTokens(read_format(directory, thinking_format), tokenizer),
        stop_tokens=tokenizer.eos_ids | frozenset(listed),
        temperature=float(generation.get("temperature") or 1.0) if generation.get("do_sample") else 0.0,
    )


def _generation_config(directory: Path) -> dict[str, Any]:
    path = directory / "generation_config.json"
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise TokenizerError(f"{path} is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise TokenizerError(f"{path} must hold an object, holds {type(found).__name__}")
    return found
