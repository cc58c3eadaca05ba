"""What a chat template does with chats that hold nothing unusual: the tokens between its turns, its switches."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from models.prompts.template import Chat
from models.thinking import ThinkingTokens, ThoughtState

VARIABLES: tuple[Mapping[str, bool], ...] = (
    {"enable_thinking": True},
    {"enable_thinking": False},
    {"thinking": True},
    {"thinking": False},
)
QUESTION = {"role": "user", "content": "?"}
TURNS = (
    (QUESTION,),
    (QUESTION, {"role": "assistant", "content": "?"}, QUESTION),
    ({"role": "system", "content": "?"}, QUESTION),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Habits:
    """How a chat template writes."""

    turns: frozenset[int] = frozenset()  # the control tokens between turns
    opens: bool = False  # it begins thoughts itself, at one switch or another
    switches: bool = False  # `enable_thinking` or `thinking` makes a difference to it


def learn(render: Callable[[Chat], list[int] | None], controls: frozenset[int], thinking: ThinkingTokens) -> Habits:
    """Returns a template's habits. `render` returns a chat's tokens, None where the template rejects the chat."""
    seen: set[int] = set()
    for messages in TURNS:
        seen.update(render(Chat(messages=messages)) or ())
    turns = frozenset(seen & controls - thinking.singles)
    silent, *switched = (render(Chat(messages=TURNS[0], options=each)) or [] for each in ({}, *VARIABLES))
    return Habits(
        turns=turns,
        opens=any(thinking.state(tokens, turns) is ThoughtState.OPEN for tokens in (silent, *switched)),
        switches=switched[0] != switched[1] or switched[2] != switched[3],
    )
