"""The tokenizer: byte-level BPE with single digits and blank lines of their own, and the chat template."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Required, TypedDict

import numpy as np

from models.reasoner.tasks import FAMILIES, generate

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

PAD, START, END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
THINK, CLOSE = "<think>", "</think>"
VOCABULARY = 640  # a multiple of 32

SPLIT_PATTERN = r"\n+|\*\*[A-Za-z ]+\*\*|\\[A-Za-z]+|[{}]| ?\p{L}+| ?\p{N}| ?[^\s\p{L}\p{N}{}\\]+|\\|(?<! ) ++(?=\S)|\s"
"""The pieces across which BPE must not merge: newlines stand alone, digits are single, `\\boxed` and `{` are apart.

A run of blanks is looked at once: where it cannot match as a whole, no part of it is tried again.
"""

CHAT_TEMPLATE = """\
{%- macro text_of(content) -%}
{%- if content is string -%}{{- content -}}
{%- elif content is not none -%}{%- for part in content -%}{{- part['text'] or '' -}}{%- endfor -%}
{%- endif -%}
{%- endmacro -%}
{%- set first = messages[0] if messages else none -%}
{%- if tools -%}
{{- '<|im_start|>system\\n' -}}
{%- if first and first['role'] == 'system' -%}{{- text_of(first['content']) + '\\n\\n' -}}{%- endif -%}
{{- 'Tools:\\n' -}}
{%- for tool in tools -%}{{- (tool | tojson) + '\\n' -}}{%- endfor -%}
{{- 'Call one with <tool_call>\\n{"name": ..., "arguments": ...}\\n</tool_call><|im_end|>\\n' -}}
{%- endif -%}
{%- for message in messages -%}
{%- if not (tools and loop.first and message['role'] == 'system') -%}
{%- set content = text_of(message['content']) -%}
{%- if message['role'] == 'assistant' -%}
{{- '<|im_start|>assistant\\n' -}}
{%- if '</think>' in content -%}{%- set content = content.split('</think>')[-1].lstrip('\\n') -%}{%- endif -%}
{{- content -}}
{%- for call in message['tool_calls'] or [] -%}
{%- set function = call['function'] or call -%}
{%- if content or not loop.first -%}{{- '\\n' -}}{%- endif -%}
{{- '<tool_call>\\n{"name": "' + function['name'] + '", "arguments": ' -}}
{{- function['arguments'] if function['arguments'] is string else function['arguments'] | tojson -}}
{{- '}\\n</tool_call>' -}}
{%- endfor -%}
{{- '<|im_end|>\\n' -}}
{%- elif message['role'] == 'tool' -%}
{{- '<|im_start|>user\\n<tool_response>\\n' + content + '\\n</tool_response><|im_end|>\\n' -}}
{%- else -%}
{{- '<|im_start|>' + message['role'] + '\\n' + content + '<|im_end|>\\n' -}}
{%- endif -%}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<|im_start|>assistant\\n' -}}
{%- if enable_thinking is defined and enable_thinking is false -%}
{{- '<think>\\n\\n</think>\\n\\n' -}}
{%- else -%}
{{- '<think>\\n' -}}
{%- endif -%}
{%- endif -%}
"""


_USUAL = (
    "system\nYou are a helpful assistant.",
    "user\n",
    "assistant\n",
    'Answer with JSON {"answer": ...}',
    '{"answer": 12}',
    'Tools:\n{"type": "function", "function": {"name": "calculator", "description": "Evaluates an expression.", '
    '"parameters": {"type": "object", "properties": {"expression": {"type": "string"}}, '
    '"required": ["expression"]}}}\n',
    'Call one with <tool_call>\n{"name": ..., "arguments": ...}\n</tool_call>',
    '<tool_call>\n{"name": "calculator", "arguments": {"expression": "12 * 34"}}\n</tool_call>',
    "<tool_response>\n12\n</tool_response>",
    "Okay. The tool calculator can work out 12 * 34.\n\n",
    "Okay. The tool says that 12 * 34 is 56. So the result is 56.\n\n",
)
"""What prompts and replies say beside questions and thoughts, for the merges."""


class Message(TypedDict, total=False):
    """A message of a chat, as chat templates take it."""

    role: Required[str]
    content: Required[str]
    tool_calls: list[dict[str, object]]


def build_tokenizer(*, seed: int, samples: int = 6000) -> "PreTrainedTokenizerFast":
    """Learn the merges from sampled training problems; the same seed gives the same tokenizer."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT_PATTERN), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    marks = [AddedToken(text, special=True, normalized=False) for text in (PAD, START, END, THINK, CLOSE)]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=marks,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    rng = np.random.default_rng([seed, 0])
    problems = [generate(FAMILIES[number % len(FAMILIES)], rng) for number in range(samples)]
    texts = [text for problem in problems for text in (problem.question, problem.thought(rng).completion)]
    tokenizer.train_from_iterator([*texts, *_USUAL * (samples // 40)], trainer)
    # the marks of a thought stay visible when special tokens are dropped from decoded text
    content = json.loads(tokenizer.to_str())
    for token in content["added_tokens"]:
        token["special"] = token["content"] not in (THINK, CLOSE)
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=Tokenizer.from_str(json.dumps(content)),
        eos_token=END,
        pad_token=PAD,
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
        model_max_length=4096,
    )


class Encoder:
    """Turns problems and traces into token ids; prompts use the tokenizer's own chat template."""

    _SENTINEL = "QUESTION"

    def __init__(self, tokenizer: "PreTrainedTokenizerFast") -> None:
        self._fast = tokenizer.backend_tokenizer
        self._tokenizer = tokenizer
        self._shells = {thinking: self._shell(thinking) for thinking in (True, False)}
        self.end = self.one(END)
        self.pad = self.one(PAD)
        self.close = self.one(CLOSE)
        self.blank_line = self.one("\n\n")

    def _shell(self, thinking: bool) -> tuple[str, str]:
        """The text that the template puts before and after a question; rendered once, since rendering is slow."""
        before, after = self._rendered([Message(role="user", content=self._SENTINEL)], None, thinking).split(
            self._SENTINEL
        )
        return before, after

    def _rendered(self, messages: Sequence[Message], tools: list[dict[str, object]] | None, thinking: bool) -> str:
        chat: list[Any] = list(messages)
        described: list[Any] | None = tools
        return str(
            self._tokenizer.apply_chat_template(
                chat, tools=described, tokenize=False, add_generation_prompt=True, enable_thinking=thinking
            )
        )

    def one(self, text: str) -> int:
        """The id of a text that is a single token. Raises ValueError if it is not."""
        ids = self.ids(text)
        if len(ids) != 1:
            raise ValueError(f"{text!r} is {len(ids)} tokens, expected 1")
        return ids[0]

    def ids(self, text: str) -> list[int]:
        """Token ids of a text, marks of the chat format included."""
        return list(self._fast.encode(text, add_special_tokens=False).ids)

    def prompt(self, question: str, *, thinking: bool = True) -> list[int]:
        """Token ids of a question in the chat template, up to the open thought."""
        before, after = self._shells[thinking]
        return self.ids(before + question + after)

    def chat(
        self, messages: Sequence[Message], *, tools: list[dict[str, object]] | None = None, thinking: bool = True
    ) -> list[int]:
        """Token ids of a chat in the template, up to the open thought or the empty one."""
        if len(messages) == 1 and messages[0]["role"] == "user" and not tools:
            return self.prompt(messages[0]["content"], thinking=thinking)
        return self.ids(self._rendered(messages, tools, thinking))

    def text(self, ids: list[int]) -> str:
        """The text of token ids, every mark visible."""
        return str(self._fast.decode(ids, skip_special_tokens=False))
