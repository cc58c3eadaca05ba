"""Calls written as a family's models write them, where no chat template does, and the house's own prompt for tools."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from models.tools.form import FORMS, CallForm, CallFormat, CallStyle

HOUSE = CallFormat.HERMES  # the form of models whose chat template knows no tools: most have seen it


def around_arguments(form: CallForm, name: str) -> tuple[str, str]:
    """Returns the texts before and behind the arguments' JSON of one call, without the markers around a list."""
    quoted = json.dumps(name, ensure_ascii=False)
    before, behind = f'{{"{form.names}": {quoted}, "{form.arguments}": ', "}"
    if form.style is CallStyle.NAMED:
        before, behind = f"{form.begin}{form.prefix}{name}{form.between}", form.end
    elif form.style is CallStyle.CHANNELS:
        before, behind = f"{form.begin}{name} <|constrain|>json<|message|>", "<|call|>"
    elif not form.listed and not form.bare:
        before, behind = f"{form.begin}\n{before}", f"{behind}\n{form.end}"
    return before, behind


def join_of(form: CallForm) -> tuple[str, str, str]:
    """Returns what stands before all calls of an answer, between two of them, and behind them."""
    if form.listed:
        return f"{form.begin}[", ", ", f"]{form.end}"
    if form.around:
        return form.around[0], "", form.around[1]
    return "", "; " if form.bare else "" if form.style is CallStyle.NAMED else "\n", ""


def written(name: CallFormat, calls: Sequence[Mapping[str, Any]], hide: Callable[[str], str]) -> str:
    """Returns an assistant's calls, as messages have them, in a family's form.

    `hide` returns a text whose markers are the server's, so that they become control tokens.
    """
    form = FORMS[name]
    before, between, behind = map(hide, join_of(form))
    texts = []
    for call in calls:
        function = call["function"]
        head, tail = map(hide, around_arguments(form, function["name"]))
        texts.append(f"{head}{as_json(function['arguments'])}{tail}")
    return f"{before}{between.join(texts)}{behind}"


def as_json(arguments: object) -> str:
    """Returns a call's arguments, an object or its text, as JSON."""
    if isinstance(arguments, str):
        return arguments if arguments.strip() else "{}"
    return json.dumps(arguments, ensure_ascii=False)


_OFFER = (
    "You can call tools. Each line between <tools> and </tools> describes one, with the JSON schema of its arguments:\n"
    "<tools>\n"
)
_HOW = (
    "\n</tools>\n"
    "To call a tool, write a JSON object with its name and its arguments, and nothing else in these lines:\n"
    '<tool_call>\n{"name": NAME, "arguments": ARGUMENTS}\n</tool_call>\n'
    "Write one such block for each call. The results come back between <tool_response> and </tool_response>."
)


def asked_for(tools: Sequence[Mapping[str, Any]], hide: Callable[[str], str]) -> str:
    """Returns the house's words for a system message that offers tools. `hide`: see `written`."""
    listed = "\n".join(json.dumps(tool, ensure_ascii=False) for tool in tools)
    return f"{hide(_OFFER)}{listed}{hide(_HOW)}"


def result_of(content: str, hide: Callable[[str], str]) -> str:
    """Returns a tool's result as the house shows it to its model. `hide`: see `written`."""
    return f"{hide('<tool_response>')}\n{content}\n{hide('</tool_response>')}"
