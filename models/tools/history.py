"""Chats with tools, as one model's chat template takes them: the offer, earlier calls and their results."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from models.tools.form import CallFormat, id_for
from models.tools.habits import ToolHabits
from models.tools.offer import as_mapping
from models.tools.writing import HOUSE, as_json, asked_for, result_of, written


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendering:
    """What a chat template gets of a chat with tools."""

    messages: list[dict[str, Any]]
    tools: tuple[Mapping[str, Any], ...] = ()
    variables: Mapping[str, Any] = field(default_factory=dict)  # of the template, besides


def with_tools(
    messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]], habits: ToolHabits,
    form: CallFormat | None, hide: Callable[[str], str] = str,
) -> Rendering:  # fmt: skip
    """Returns a chat that offers `tools`, whose messages may have calls, for a template of these habits.

    A template that shows no tools gets them in the system message, and calls and results as texts.
    `form`: how the model writes calls; None: not known. `hide` returns a text whose markers are the server's.
    """
    named = list(_named(messages, form))
    if habits.variable is None:
        return Rendering(messages=_in_words(named, tools, hide, system=habits.system))
    if not habits.shows_calls:
        named = [_said(message, form or HOUSE, hide) for message in named]
    else:
        named = [_called(message, habits) for message in named]
        named = list(_one_by_one(named)) if habits.single else named
    if habits.variable == "tools":
        return Rendering(messages=named, tools=tuple(tools))
    return Rendering(messages=named, variables={habits.variable: list(tools)} if tools else {})


def _named(messages: Sequence[Mapping[str, Any]], form: CallFormat | None) -> Iterator[dict[str, Any]]:
    """Yields the messages with ids as the template takes them, and results with the name of their tool."""
    number = 0
    ids: dict[str, str] = {}
    names: dict[str, str] = {}
    for message in messages:
        made = dict(message)
        calls = []
        for call in message.get("tool_calls") or ():
            given, name = call["id"], call["function"]["name"]
            ids[given], names[given] = id_for(form, name, number, given), name
            number += 1
            calls.append({**call, "id": ids[given], "function": dict(call["function"])})
        if calls:
            made["tool_calls"] = calls
        else:
            made.pop("tool_calls", None)
        given = message.get("tool_call_id")
        if message.get("role") == "tool" and given is not None:
            made["tool_call_id"] = ids.get(given, id_for(form, "", number, given))
            if made.get("name") is None and given in names:
                made["name"] = names[given]
        yield made


def _called(message: dict[str, Any], habits: ToolHabits) -> dict[str, Any]:
    """Returns a message whose calls are as the template takes them."""
    calls = message.get("tool_calls")
    if not calls:
        return message
    for call in calls:
        said = as_json(call["function"]["arguments"])
        call["function"]["arguments"] = said if habits.as_text else as_mapping(said)
    thought, content = message.get("reasoning_content"), message.get("content")
    if not thought:
        return message
    if habits.apart and content:
        thought, content = f"{thought}\n\n{content}", ""
    return {**message, "content": content, "reasoning_content": thought, "thinking": thought}  # by both its names


def _one_by_one(messages: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yields the messages with one call each, which its result follows; the thought stays with the first call."""
    waiting: list[dict[str, Any]] = []  # messages of one call each, whose results have not come
    for message in messages:
        calls = message.get("tool_calls") or ()
        if message.get("role") == "tool" and waiting:
            own = next((each for each in waiting if each["tool_calls"][0]["id"] == message.get("tool_call_id")), None)
            own = own or waiting[0]
            waiting.remove(own)
            yield own
            yield message
            continue
        yield from waiting
        waiting = []
        if len(calls) > 1:
            bare = {"role": message["role"], "content": ""}
            waiting = [{**(bare if place else message), "tool_calls": [call]} for place, call in enumerate(calls)]
        else:
            yield message
    yield from waiting


def _said(message: dict[str, Any], form: CallFormat, hide: Callable[[str], str]) -> dict[str, Any]:
    """Returns a message whose calls stand in its content, as its model has written them."""
    calls = message.pop("tool_calls", None)
    if not calls:
        return message
    return {**message, "content": "\n".join(filter(None, (message.get("content"), written(form, calls, hide))))}


def _in_words(
    messages: Sequence[dict[str, Any]], tools: Sequence[Mapping[str, Any]], hide: Callable[[str], str], *, system: bool
) -> list[dict[str, Any]]:
    """Returns the messages for a template that knows no tools: the offer, the calls and their results are texts.

    `system`: the offer may stand in a system message, else it stands in the first one.
    """
    made: list[dict[str, Any]] = []
    results = False  # the last message holds results
    for message in messages:
        if message.get("role") != "tool":
            made.append(_said(message, HOUSE, hide))
            results = False
            continue
        result = result_of(message.get("content") or "", hide)
        if results:
            made[-1] = {**made[-1], "content": f"{made[-1]['content']}\n{result}"}
        else:
            made.append({"role": "user", "content": result})
        results = True
    if tools:
        offer = asked_for(tools, hide)
        if made and (made[0].get("role") == "system" or not system):
            made[0] = {**made[0], "content": f"{made[0].get('content') or ''}\n\n{offer}".lstrip()}
        else:
            made.insert(0, {"role": "system", "content": offer})
    return made
