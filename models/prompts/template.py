"""A model's chat template: chats as text, as transformers renders them, and with the template's own markers hidden."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from jinja2 import Template, nodes
from jinja2.visitor import NodeTransformer

from models.prompts.dialect import check_name, environment
from models.prompts.marked import Marked, replace
from models.prompts.markers import Markers

_THOUGHT = re.compile(r"""reasoning_content|\.thinking\b|["']thinking["']""")  # see `_with_thinking`
RESERVED = frozenset(
    (
        *("add_generation_prompt", "chat_template", "continue_final_message", "conversation", "documents"),
        *("max_length", "messages", "padding", "return_assistant_tokens_mask", "return_dict", "return_tensors"),
        *("sanitize_control_tokens", "tokenize", "tokenizer_kwargs", "tools", "truncation"),
    )
)
"""Names that `chat_template_kwargs` may not have: they are the renderer's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chat:
    """Messages to render. `options` are variables of the template."""

    messages: Sequence[Mapping[str, Any]]
    options: Mapping[str, Any] = field(default_factory=dict)
    tools: Sequence[Mapping[str, Any]] = ()  # that the model may call
    continued: bool = False  # the reply goes on with the last message, which stays open
    header: bool = True  # the prompt ends with the beginning of the assistant's turn


class ChatTemplate:
    """Renders chats with transformers, and again with hidden markers."""

    def __init__(self, auto: Any, markers: Markers) -> None:
        self._auto = auto
        self._markers = markers

    @property
    def source(self) -> str | None:
        """The template as it is written; None: there is none."""
        try:
            text: str = self._auto.get_chat_template()
        except ValueError:
            return None
        return text

    @property
    def reads_thoughts(self) -> bool:
        """Whether the template reads the thought of a message, so that it need not stand in the content."""
        source = self.source
        return source is not None and _THOUGHT.search(source) is not None

    def render(self, chat: Chat) -> str:
        """Returns what transformers renders. Raises whatever the template's author chose."""
        text: str = self._auto.apply_chat_template(
            [dict(message) for message in chat.messages],
            tools=list(chat.tools) or None,
            tokenize=False,
            add_generation_prompt=chat.header and not chat.continued,
            continue_final_message=chat.continued,
            **chat.options,
        )
        return text

    def hidden(self, chat: Chat) -> str:
        """Renders with hidden spellings in place of the template's own markers. Raises what `render` may raise."""
        messages = [_with_thinking(message) for message in chat.messages]
        tag = f"{self._markers.blank} "
        if chat.continued:
            messages[-1]["content"] = f"{messages[-1]['content']}{tag}"
        own = {
            name: self._marked(text) for name, text in self._auto.special_tokens_map.items() if isinstance(text, str)
        }
        offered = {"tools": list(chat.tools) or None, "documents": None}
        variables = {**self._auto.special_tokens_map, **own, **offered, **chat.options}
        text = self._compiled.render(
            messages=messages, add_generation_prompt=chat.header and not chat.continued, **variables
        )
        if not chat.continued:
            return text
        end = text.rfind(tag.strip())
        cut = text[: max(0, end)]
        return cut if text.startswith(tag, end) else cut.rstrip()  # the template has trimmed the message

    def _marked(self, text: str) -> Marked:
        return Marked(text, self._markers.hide(text))

    @cached_property
    def _compiled(self) -> Template:
        made = environment()
        made.filters["replace"] = replace
        tree = made.parse(self._auto.get_chat_template())
        hiding = _Hiding(self._markers)
        code = made.compile(hiding.visit(tree))
        named = {name: self._marked(text) for name, text in hiding.named.items()}
        return Template.from_code(made, code, made.make_globals(named))


class _Hiding(NodeTransformer):
    """Hides the markers in a template's printed text, and gives its string literals names, to be looked up."""

    def __init__(self, markers: Markers) -> None:
        self._markers = markers
        self.named: dict[str, str] = {}

    def visit_TemplateData(self, node: nodes.TemplateData) -> nodes.TemplateData:
        node.data = self._markers.hide(node.data)
        return node

    def visit_NSRef(self, node: nodes.NSRef) -> nodes.NSRef:
        check_name(node.attr)
        return node

    def visit_Const(self, node: nodes.Const) -> nodes.Expr:
        if not isinstance(node.value, str) or not self._markers.spelled_in(node.value):
            return node
        name = f"laser_{secrets.token_hex(8)}_{len(self.named)}"  # no variable of a client's may hide it
        self.named[name] = node.value
        return nodes.Name(name, "load", lineno=node.lineno, environment=node.environment)


def _with_thinking(message: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a message with its thought under the two names that templates read."""
    kept = {name: value for name, value in message.items() if value is not None}
    thought = kept.get("reasoning_content")
    return kept if thought is None else {"thinking": thought, **kept}
