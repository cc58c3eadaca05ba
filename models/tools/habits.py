"""What a chat template does with tools: whether it shows them, and how it takes the calls of earlier turns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from models.prompts.template import Chat
from models.tools.form import CallFormat, id_for

VARIABLES = ("tools", "xml_tools")  # by which templates take the tools; SmolLM3's has two, and `tools` is neither
TOOL = {
    "type": "function",
    "function": {
        "name": "look_up_zx",
        "description": "",
        "parameters": {"type": "object", "properties": {"word_zx": {"type": "string"}}},
    },
}
ASKED = {"role": "user", "content": "?"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolHabits:
    """How a chat template takes tools."""

    variable: str | None = None  # the template's variable for the tools; None: it shows none
    shows_calls: bool = True  # it shows the calls of earlier turns
    as_text: bool = False  # it wants a call's arguments as JSON text, not as an object
    single: bool = False  # it takes one call a message
    apart: bool = False  # beside a call it takes a thought or content, not both
    system: bool = True  # of a template that shows no tools: it takes a system message


def learn_tools(render: Callable[[Chat], str], form: CallFormat | None) -> ToolHabits:
    """Returns a template's habits. `render` may raise whatever the template's author chose.

    `form`: how its model writes calls; None: it is not known.
    """

    def shown(messages: Sequence[Mapping[str, Any]], variable: str) -> str:
        offer = Chat(messages=messages, tools=(TOOL,))
        try:
            return render(offer if variable == "tools" else Chat(messages=messages, options={variable: [TOOL]}))
        except Exception:
            return ""

    variable = next((each for each in VARIABLES if "word_zx" in shown([ASKED], each)), None)
    if variable is None:
        return ToolHabits(system="word_sy" in shown([{"role": "system", "content": "word_sy"}, ASKED], "tools"))

    def takes(*names: str, text: bool, **more: str) -> bool:
        """Whether the template shows an assistant's calls of these tools, with their arguments as JSON has them."""
        ids = [id_for(form, name, number, f"call{number}") for number, name in enumerate(names)]
        said: Any = '{"word_qj": "?"}' if text else {"word_qj": "?"}
        calls = [
            {"id": made, "type": "function", "function": {"name": name, "arguments": said}}
            for made, name in zip(ids, names, strict=True)
        ]
        asking = {"role": "assistant", "content": "", **more, "tool_calls": calls}
        answers = [{"role": "tool", "content": "!", "tool_call_id": made, "name": names[0]} for made in ids]
        found = shown([ASKED, asking, *answers], variable).partition("word_zx")[2]  # behind the offer
        return all(name in found for name in names) and "word_qj" in found and '\\"word_qj' not in found

    first, other = "look_up_qj", "look_up_vk"
    text = not takes(first, text=False)
    if text and not takes(first, text=True):
        return ToolHabits(variable=variable, shows_calls=False)
    return ToolHabits(
        variable=variable,
        as_text=text,
        single=not takes(first, other, text=text),
        apart=not takes(first, text=text, content="!", reasoning_content="?", thinking="?"),
    )
