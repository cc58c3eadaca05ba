"""Thoughts in the messages of a chat: told apart from what was answered, and begun for the model to go on with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class Marker(str):
    """A marker that the server writes, by which it is told from a client's text that spells the same."""

    __slots__ = ()


def with_thought_apart(message: Mapping[str, Any], opening: str, closing: str) -> dict[str, Any]:
    """Returns a message whose thought stands in `reasoning_content`.

    Only an assistant's content that begins with a closed thought is changed, and only if the field is not given.
    """
    kept, content = dict(message), message.get("content")
    if kept.get("role") != "assistant" or kept.get("reasoning_content") is not None or not isinstance(content, str):
        return kept
    head, found, body = content.partition(opening)
    thought, closed, answer = body.partition(closing)
    if not found or head.strip() or not closed:
        return kept
    return {**kept, "content": answer.lstrip("\n"), "reasoning_content": thought.strip("\n")}


def begun_thought(message: Mapping[str, Any], opening: str, closing: str) -> tuple[str, ...] | None:
    """Returns the thought that a message begins, as the texts of a prompt, each marker a `Marker`.

    The thought is what follows the opening marker at the head of the content, or stands in `reasoning_content`. After
    its closing marker comes the answer. None: the message begins no thought.
    """
    content, thought = message.get("content") or "", message.get("reasoning_content")
    if thought:
        return (Marker(opening), f"\n{thought}", *(("\n", Marker(closing), f"\n\n{content}") if content else ()))
    head, found, body = content.partition(opening)
    if not found or head.strip():
        return None
    thought, closed, answer = body.partition(closing)
    return (Marker(opening), thought, *((Marker(closing), answer) if closed else ()))
