"""What a request says in words, of chats and of bare prompts, for `models.kinds.reading`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, pairwise

from models.chat_model import ChatModel
from models.kinds.said import LOOKED_AT, Words

_USER = re.compile(r"\s*(?:user|human)\s*[:\n]\s*", re.IGNORECASE)
_SYSTEM = re.compile(r"\s*(?:system|developer)\s*[:\n]\s*", re.IGNORECASE)


def said_in(messages: Iterable[tuple[str, str | None]], instructions: str | None = None) -> Words:
    """Returns what messages say, given as role and text: the last user's message, and the system's together."""
    system, asked = [instructions or ""], ""
    for role, text in messages:
        if role in ("system", "developer"):
            system.append(text or "")
        elif role == "user":
            asked = text or ""
    return Words(asked=asked, system="\n".join(filter(None, system)))


def said_in_prompt(tokens: Sequence[int], chat: ChatModel) -> Words:
    """Returns what prompt tokens say whose messages are not known: the last turn before the reply, or all of them.

    A first turn of the system's is what it says.
    """
    between = chat.turns
    marks = [place for place, token in enumerate(tokens) if token in between]
    turns = [tokens[begin + 1 : end] for begin, end in pairwise([-1, *marks, len(tokens)])]

    def said(chosen: Iterable[Sequence[int]]) -> Iterator[str]:
        return filter(None, (chat.tokenizer.decode(_ends(turn)).strip() for turn in chosen))

    last = list(islice(said(reversed(turns)), 2))  # the beginning of the reply, if any, and before it what is asked
    asked = next((text for text in last if _USER.match(text)), last[-1] if last else "")
    first = next(said(turns), "")
    system, user = _SYSTEM.match(first), _USER.match(asked)
    return Words(
        asked=asked if user is None else asked[user.end() :],
        system="" if system is None or first == asked else first[system.end() :],
    )


def _ends(tokens: Sequence[int]) -> Sequence[int]:
    """Returns tokens that have the ends of a text that are looked at."""
    return tokens if len(tokens) <= 2 * LOOKED_AT else (*tokens[:LOOKED_AT], *tokens[-LOOKED_AT:])
