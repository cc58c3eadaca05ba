"""How families of models write tool calls: the form, by name, and by what a chat template tells it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from models.tools.channels import MARKS
from models.tools.offer import CallMarks
from models.tools.tagged import FUNCTION, PAIRS, Tags


class CallStyle(StrEnum):
    """What stands in a call."""

    OBJECTS = "objects"  # {"name": …, "arguments": {…}}, one, several or a list
    NAMED = "named"  # a name and an object of arguments
    TAGS = "tags"  # a tag for each parameter
    CHANNELS = "channels"  # a message to a recipient


class CallFormat(StrEnum):
    """A family's form of tool calls."""

    HERMES = "hermes"  # <tool_call>{"name": …, "arguments": …}</tool_call>: Hermes, Qwen 2.5 and 3, QwQ, Granite 4
    LLAMA = "llama"  # {"name": …, "parameters": …}, or Python behind <|python_tag|>: Llama 3.1 to 3.3
    MISTRAL = "mistral"  # [TOOL_CALLS]name[ARGS]{…}, or [TOOL_CALLS][{"name": …, "arguments": …}]: Mistral's models
    HARMONY = "harmony"  # a message on the channel `commentary` to functions.name: gpt-oss
    GRANITE = "granite"  # <|tool_call|>[{"name": …, "arguments": …}]: Granite 3
    NEMOTRON = "nemotron"  # <TOOLCALL>[{"name": …, "arguments": …}]</TOOLCALL>: Nemotron Nano 2
    APRIEL = "apriel"  # <tool_calls>[{"name": …, "arguments": …}]</tool_calls>: Apriel
    COMMAND = "command"  # <|START_ACTION|>[{"tool_name": …, "parameters": …}]<|END_ACTION|>: Command A and R7B
    CODER = "coder"  # <tool_call><function=name><parameter=key>value…: Qwen3-Coder, Qwen 3.5, Nemotron 3
    SEED = "seed"  # the same between <seed:tool_call> tags: Seed-OSS
    GLM = "glm"  # <tool_call>name<arg_key>key</arg_key><arg_value>value…: GLM 4.5 and later
    DEEPSEEK = "deepseek"  # name and object between full-width markers: DeepSeek V3.1
    KIMI = "kimi"  # functions.name:0 and object between markers: Kimi K2


@dataclass(frozen=True, slots=True, kw_only=True)
class CallForm:
    """A form in texts."""

    style: CallStyle
    begin: str  # marker before a call, or before a list of them
    end: str = ""  # marker behind it; empty: there is none
    bare: bool = False  # an answer that begins with a call needs no marker
    listed: bool = False  # several calls stand in one list between the markers
    names: str = "name"  # key of the tool's name, in objects
    arguments: str = "arguments"  # key of its arguments
    tags: Tags = FUNCTION
    between: str = ""  # name and object of arguments
    prefix: str = ""  # before the name
    around: tuple[str, ...] = ()  # markers around all calls
    # texts that end a thought, and begin a call: long enough that no thought which speaks of calls has them
    closers: tuple[str, ...] = ()
    id_length: int | None = None  # characters of a call's id, which must be letters and digits; None: any
    signs: tuple[tuple[str, ...], ...] = ()  # a chat template that has all texts of one of these is told by it


def _marked(begin: str, end: str, name: str = "name", **more: object) -> CallForm:
    closers = tuple(f'{begin}{between}{{"{name}": "' for between in ("\n", "", "[", "\n["))
    return CallForm(style=CallStyle.OBJECTS, begin=begin, end=end, closers=closers, names=name, **more)  # type: ignore[arg-type]


FORMS: Mapping[CallFormat, CallForm] = {  # of several that a template tells the first
    CallFormat.HARMONY: CallForm(
        style=CallStyle.CHANNELS,
        begin="<|start|>assistant<|channel|>commentary to=functions.",
        closers=(
            "<|end|><|start|>assistant<|channel|>commentary to=",
            "<|end|><|start|>assistant<|channel|>analysis to=",
            "<|end|><|start|>assistant to=",
        ),
        signs=(("<|channel|>commentary", "<|call|>"),),
    ),
    CallFormat.GLM: CallForm(
        style=CallStyle.TAGS, begin="<tool_call>", end="</tool_call>", tags=PAIRS,
        signs=(("<arg_key>", "<tool_call>"),),
    ),
    CallFormat.SEED: CallForm(
        style=CallStyle.TAGS, begin="<seed:tool_call>", end="</seed:tool_call>",
        closers=("<seed:tool_call>\n<function=", "<seed:tool_call><function="),
        signs=(("<seed:tool_call>",),),
    ),
    CallFormat.CODER: CallForm(
        style=CallStyle.TAGS, begin="<tool_call>", end="</tool_call>",
        closers=("<tool_call>\n<function=", "<tool_call><function="), signs=(("<tool_call>", "<function="),),
    ),
    CallFormat.KIMI: CallForm(
        style=CallStyle.NAMED, begin="<|tool_call_begin|>", end="<|tool_call_end|>",
        between="<|tool_call_argument_begin|>", prefix="functions.",
        around=("<|tool_calls_section_begin|>", "<|tool_calls_section_end|>"),
        closers=("<|tool_calls_section_begin|>",), signs=(("<|tool_call_argument_begin|>",),),
    ),
    CallFormat.DEEPSEEK: CallForm(
        style=CallStyle.NAMED, begin="<｜tool▁call▁begin｜>", end="<｜tool▁call▁end｜>", between="<｜tool▁sep｜>",
        around=("<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"),
        closers=("<｜tool▁calls▁begin｜>",), signs=(("<｜tool▁call▁begin｜>",),),
    ),
    CallFormat.MISTRAL: CallForm(
        style=CallStyle.NAMED, begin="[TOOL_CALLS]", between="[ARGS]", closers=("[TOOL_CALLS]",), id_length=9,
        signs=(("[TOOL_CALLS]",),),
    ),
    CallFormat.NEMOTRON: _marked("<TOOLCALL>", "</TOOLCALL>", listed=True, signs=(("<TOOLCALL>",),)),
    CallFormat.APRIEL: _marked("<tool_calls>", "</tool_calls>", listed=True, signs=(("<tool_calls>",),)),
    CallFormat.COMMAND: _marked(
        "<|START_ACTION|>", "<|END_ACTION|>", "tool_name", listed=True, arguments="parameters",
        signs=(("<|START_ACTION|>",),),
    ),
    CallFormat.GRANITE: _marked("<|tool_call|>", "", listed=True, signs=(("<|tool_call|>",),)),
    CallFormat.HERMES: _marked(
        "<tool_call>", "</tool_call>", signs=(("<tool_call>", '\\"arguments\\":'), ("<tool_call>", '"arguments":')),
    ),
    CallFormat.LLAMA: CallForm(
        style=CallStyle.OBJECTS, begin="<|python_tag|>", bare=True, arguments="parameters",
        signs=(("<|python_tag|>",), ("<|start_header_id|>", '"parameters": dictionary of argument name')),
    ),
}  # fmt: skip


def id_for(name: CallFormat | None, tool: str, number: int, given: str) -> str:
    """Returns a call's id as a family's chat template takes it: the one that is given, or one made of it.

    `number`: of the call in the chat, from 0.
    """
    if name is CallFormat.KIMI:
        return f"functions.{tool}:{number}"
    length = None if name is None else FORMS[name].id_length
    if length is None or (len(given) == length and given.isascii() and given.isalnum()):
        return given
    return hashlib.sha256(given.encode()).hexdigest()[:length]


def marks_of(name: CallFormat) -> CallMarks:
    """Returns the texts of a form that the serving loop must know."""
    form = FORMS[name]
    return CallMarks(starts=form.closers, kept=MARKS if form.style is CallStyle.CHANNELS else ())


def told_by(template: str) -> CallFormat | None:
    """Returns the form that a chat template shows its model; None: it shows none that is known."""
    for name, form in FORMS.items():
        if any(all(sign in template for sign in signs) for signs in form.signs):
            return name
    return None
