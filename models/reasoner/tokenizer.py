"""The tokenizer: byte-level BPE with single digits and blank lines of their own, and the chat template."""

import json
from typing import TYPE_CHECKING

import numpy as np

from models.reasoner.tasks import FAMILIES, generate
from models.reasoner.traces import write

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
{%- for message in messages -%}
{%- set content = message['content'] -%}
{%- if content is not string -%}
{%- set parts = namespace(text='') -%}
{%- for part in content -%}{%- set parts.text = parts.text + (part['text'] or '') -%}{%- endfor -%}
{%- set content = parts.text -%}
{%- endif -%}
{%- if message['role'] == 'assistant' and '</think>' in content -%}
{%- set content = content.split('</think>')[-1].lstrip('\\n') -%}
{%- endif -%}
{{- '<|im_start|>' + message['role'] + '\\n' + content + '<|im_end|>\\n' -}}
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
    texts = [text for problem in problems for text in (problem.question, write(problem, rng).completion)]
    roles = ["system\nYou are a helpful assistant.", "user\n", "assistant\n"] * 50
    tokenizer.train_from_iterator([*texts, *roles], trainer)
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
        self._shells = {thinking: self._shell(tokenizer, thinking) for thinking in (True, False)}
        self.end = self.one(END)
        self.pad = self.one(PAD)
        self.close = self.one(CLOSE)
        self.blank_line = self.one("\n\n")
        self.brace = self.one("{")

    def _shell(self, tokenizer: "PreTrainedTokenizerFast", thinking: bool) -> tuple[str, str]:
        """The text that the template puts before and after a question; rendered once, since rendering is slow."""
        text = tokenizer.apply_chat_template(
            [{"role": "user", "content": self._SENTINEL}],
            tokenize=False,
            add_generation_prompt=True,
            enable_thinking=thinking,
        )
        before, after = str(text).split(self._SENTINEL)
        return before, after

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

    def text(self, ids: list[int]) -> str:
        """The text of token ids, every mark visible."""
        return str(self._fast.decode(ids, skip_special_tokens=False))
