"""What a request says in words, of chats and of bare prompts, for `models.kinds.reading`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from models.chat_model import ChatModel
from models.kinds.said import LOOKED_AT, Said

_ROLE = re.compile(r"\s*(?:user|human)\s*[:\n]\s*", re.IGNORECASE)


def said_in(messages: Iterable[tuple[str, str | None]], instructions: str | None = None) -> Said:
    """Returns what messages say, given as role and text: the last user's message, and the system's together."""
    system, asked = [instructions or ""], ""
    for role, text in messages:
        if role in ("system", "developer"):
            system.append(text or "")
        elif role == "user":
            asked = text or ""
    return Said(asked=asked, system="\n".join(filter(None, system)))


def said_in_prompt(tokens: Sequence[int], chat: ChatModel) -> Said:
    """Returns what prompt tokens say whose messages are not known: the last turn before the reply, or all of them."""
    turns, end = chat.turns, len(tokens)
    parts: list[str] = []  # the last ones, newest first
    while end > 0 and len(parts) < 2:
        begin = next((place for place in range(end, 0, -1) if tokens[place - 1] in turns), 0)
        text = chat.tokenizer.decode(_ends(tokens[begin:end])).strip()
        if text:
            parts.append(text)
        end = begin - 1
    asked = parts[-1] if parts else ""
    return Said(asked=_ROLE.sub("", asked, count=1) if _ROLE.match(asked) else asked)


def _ends(tokens: Sequence[int]) -> Sequence[int]:
    """Returns tokens that have the ends of a text that are looked at."""
    return tokens if len(tokens) <= 2 * LOOKED_AT else (*tokens[:LOOKED_AT], *tokens[-LOOKED_AT:])
