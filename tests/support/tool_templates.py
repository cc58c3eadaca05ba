"""Chat templates that take tools, in the manners of well-known families, in our own words."""

from __future__ import annotations

_OFFER = "{%- if tools -%}<|im_start|>system\nTools: {{ tools | tojson }}{{ SHOWN }}<|im_end|>\n{%- endif -%}"
_HEAD = "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}"
_RESULT = "{{- '<|im_start|>user\\n<tool_response>' + m.content + '</tool_response><|im_end|>\\n' -}}"
_MESSAGES = (
    _OFFER + "{%- for m in messages -%}{%- if m.role == 'tool' -%}" + _RESULT + "{%- elif m.tool_calls -%}CALLS"
    "{%- else -%}{{- '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' -}}{%- endif -%}{%- endfor -%}"
    + _HEAD
)  # fmt: skip


def _made(shown: str, calls: str) -> str:
    return _MESSAGES.replace("SHOWN", repr(shown)).replace("CALLS", calls)


HERMES = _made(
    '<tool_call>{"name": NAME, "arguments": ARGUMENTS}</tool_call>',
    "{{- '<|im_start|>assistant\\n' + (('<think>' + m.reasoning_content + '</think>') if m.reasoning_content else '') "
    "+ m.content -}}"
    '{%- for c in m.tool_calls -%}{{- \'<tool_call>{"name": "\' + c.function.name + \'", "arguments": \' -}}'
    "{{- c.function.arguments | tojson -}}{{- '}</tool_call>' -}}{%- endfor -%}{{- '<|im_end|>\\n' -}}",
)
ONE_CALL = _made(  # as Llama's: it refuses two calls in one message
    '<|python_tag|>{"name": NAME, "parameters": ARGUMENTS}',
    "{%- if m.tool_calls | length != 1 -%}{{- raise_exception('one call at a time') -}}{%- endif -%}"
    '{{- \'<|im_start|>assistant\\n{"name": "\' + m.tool_calls[0].function.name + \'", "parameters": \' -}}'
    "{{- m.tool_calls[0].function.arguments | tojson -}}{{- '}<|im_end|>\\n' -}}",
)
FIRST_CALL = _made(  # as gpt-oss's: it shows the first of several calls, and no content beside a thought
    "<|channel|>commentary<|call|>",
    "{%- if m.content and m.thinking -%}{{- raise_exception('not both') -}}{%- endif -%}"
    "{{- '<|im_start|>assistant\\n' + (m.thinking or m.content) + ' to=functions.' + m.tool_calls[0].function.name -}}"
    "{{- ' ' + (m.tool_calls[0].function.arguments | tojson) + '<|im_end|>\\n' -}}",
)
AS_TEXT = _made(  # arguments that are no text are an error
    '<tool_call>{"arguments": }</tool_call>',
    "{%- for c in m.tool_calls -%}{{- '<|im_start|>assistant\\n' + c.function.name + c.function.arguments -}}"
    "{{- '<|im_end|>\\n' -}}{%- endfor -%}",
)
NO_CALLS = _made(  # as Granite 3's: it offers tools, and shows no calls
    "<|tool_call|>[]", "{{- '<|im_start|>assistant\\n' + m.content + '<|im_end|>\\n' -}}"
)
UNKNOWN = _made("call it as you like", "{{- '<|im_start|>assistant\\n' + (m.tool_calls | tojson) + '<|im_end|>\\n' -}}")
TOOLED = {
    "hermes": HERMES, "one call": ONE_CALL, "first call": FIRST_CALL, "as text": AS_TEXT, "no calls": NO_CALLS,
    "unknown": UNKNOWN,
}  # fmt: skip
