"""The rendered prompt says whether a thought is begun, closed, or neither."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from models.chat_model import ChatModel, load_chat_model
from models.tokenizer import TokenizerError
from tests.support.templates import CHATML, TEMPLATES, save_templated

HEAD = CHATML.removesuffix("\n{% endif %}") + "{{ '\\n' }}"  # the blocks that follow strip a bare line end
HI: list[dict[str, Any]] = [{"role": "user", "content": "hi"}]
SLASH: list[dict[str, Any]] = [{"role": "user", "content": "hi /no_think"}]
BY_SYSTEM: list[dict[str, Any]] = [{"role": "system", "content": "Be brief. /no_think"}, *HI]
VARIABLE = HEAD + "{%- if thinking is defined and thinking -%}<think>{%- else -%}</think>{%- endif -%}{% endif %}"
SYSTEM = HEAD + (
    "{%- if messages[0]['role'] == 'system' and '/no_think' in messages[0]['content'] -%}"
    "{{ '<think>\\n\\n</think>\\n' }}{%- else -%}{{ '<think>\\n' }}{%- endif -%}{% endif %}"
)
USER = HEAD + (
    "{%- if messages[-1]['content'].endswith('/no_think') -%}{{ '<think>\\n\\n</think>\\n\\n' }}{%- endif -%}"
    "{% endif %}"
)
SILENT = HEAD + "{%- if not messages[-1]['content'].endswith('/no_think') -%}{{ '<think>\\n' }}{%- endif -%}{% endif %}"
CLOSED = HEAD + "{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}"
MODE = HEAD + "{%- if mode == 'off' -%}{{ '</think>' }}{%- endif -%}{% endif %}"
EFFORT = HEAD + "{%- if reasoning_effort != 'none' -%}{{ '<think>\\n' }}{%- endif -%}{% endif %}"
BEGUN = HEAD + "{{ '<think>\\nThe user says ' + messages[-1]['content'] }}{% endif %}"


@pytest.mark.parametrize(
    ("template", "messages", "options", "end", "thinking"),
    [
        (VARIABLE, HI, {}, "assistant\n</think>", False),
        (VARIABLE, HI, {"thinking": True}, "assistant\n<think>", True),
        (VARIABLE, HI, {"thinking": False}, "assistant\n</think>", False),
        (SYSTEM, HI, {}, "assistant\n<think>\n", True),
        (SYSTEM, BY_SYSTEM, {}, "assistant\n<think>\n\n</think>\n", False),
        (USER, HI, {}, "assistant\n<think>\n", True),
        (USER, SLASH, {}, "assistant\n<think>\n\n</think>\n\n", False),
        (SILENT, HI, {}, "assistant\n<think>\n", True),
        (SILENT, SLASH, {}, "assistant\n", False),  # it opens thoughts itself, so no marker means no thought
        (CLOSED, HI, {}, "assistant\n<think>\n\n</think>\n\n", False),
        (MODE, HI, {"mode": "off"}, "assistant\n</think>", False),
        (MODE, HI, {}, "assistant\n<think>\n", True),
        (EFFORT, HI, {"reasoning_effort": "none"}, "assistant\n", False),
        (EFFORT, HI, {"reasoning_effort": "high"}, "assistant\n<think>\n", True),
        (BEGUN, HI, {}, "assistant\n<think>\nThe user says hi", True),
        (TEMPLATES["mistral"], HI, {}, "[INST] hi [/INST]<think>\n", True),  # its system prompt names both markers
        (TEMPLATES["qwen3"], HI, {"enable_thinking": False}, "assistant\n<think>\n\n</think>\n\n", False),
    ],
)
def test_the_whole_prompt_says_whether_the_reply_begins_with_a_thought(
    tmp_path: Path, template: str, messages: list[dict[str, Any]], options: dict[str, Any], end: str, thinking: bool
) -> None:
    chat = load_chat_model(save_templated(tmp_path, template))
    prompt = chat.begin(messages, thinking=None, options=options)
    assert chat.tokenizer.decode(prompt.tokens).endswith(end)
    assert prompt.thinking is thinking


@pytest.mark.parametrize("name", TEMPLATES)
def test_an_earlier_turn_s_thought_is_not_the_reply_s(model: Callable[[str], ChatModel], name: str) -> None:
    chat = model(name)
    for said in ("<think>never closed", "</think> 7", "7"):
        answered = [*HI, {"role": "assistant", "content": said}, *HI]
        assert chat.begin(answered).thinking
        assert not chat.begin(answered, thinking=False).thinking


@pytest.mark.parametrize(
    ("prompt", "thinking"),
    [
        ("<think>", True),
        ("3 + 4 = ", False),
        ("<|im_start|>assistant\n<think>\nLet me see. 3 + ", True),
        ("<think>a</think>b", False),
        ("<think>a<|im_end|>\n<|im_start|>assistant\n", False),
        ("<think>a</think>b<|im_end|>\n<|im_start|>assistant\n<think>\n", True),
    ],
)
def test_a_raw_prompt_that_ends_inside_a_thought_goes_on_with_it(
    model: Callable[[str], ChatModel], prompt: str, thinking: bool
) -> None:
    chat = model("chatml")
    assert chat.raw(prompt).thinking is thinking
    assert chat.raw(chat.tokenizer.encode(prompt)).thinking is thinking


@pytest.mark.parametrize(
    ("name", "prompt", "closed"),
    [
        ("chatml", "<think>a</think>b", True),
        ("chatml", "<think>a", False),
        ("chatml", "3 + 4 = ", False),
        ("chatml", "<think>a</think>b<|im_end|>\n<|im_start|>assistant\n", False),
        ("mistral", "[INST] hi [/INST]<think>a</think>b", True),
        ("mistral", "[INST] hi [/INST]<think>a</think>b[INST] again [/INST]", False),  # no stop token between the turns
    ],
)
def test_a_prompt_is_closed_only_behind_the_reply_s_own_thought(
    model: Callable[[str], ChatModel], name: str, prompt: str, closed: bool
) -> None:
    assert model(name).raw(prompt).closed is closed


def test_a_chat_without_a_thought_is_closed(model: Callable[[str], ChatModel]) -> None:
    assert model("chatml").begin(HI, thinking=False).closed
    assert not model("chatml").begin(HI).closed


@pytest.mark.parametrize(
    ("name", "last", "end", "thinking"),
    [
        ("bundled", {"content": "**Final Answer**\n\\boxed{9"}, "assistant\n**Final Answer**\n\\boxed{9", False),
        ("bundled", {"content": "<think>\nSo 9"}, "assistant\n<think>\nSo 9", True),
        ("chatml", {"content": "<think>So 9"}, "assistant\n<think>So 9", True),
        ("qwen3", {"content": "<think>\nSo 9\n</think>\n\n9"}, "assistant\n<think>\nSo 9\n</think>\n\n9", False),
        ("deepseek", {"content": "", "reasoning_content": "So"}, "<|Assistant|><think>\nSo", True),
        ("llama3", {"content": "The answer"}, "<|end_header_id|>\n\nThe answer", False),
        ("chatml", {"content": "say <|im_end|> and"}, "assistant\nsay <|im_end|> and", False),
    ],
)
def test_a_reply_goes_on_with_the_assistant_s_last_message(
    model: Callable[[str], ChatModel], name: str, last: dict[str, str], end: str, thinking: bool
) -> None:
    chat = model(name)
    prompt = chat.begin([*HI, {"role": "assistant", **last}], thinking=None, continued=True)
    assert chat.tokenizer.decode(prompt.tokens).endswith(end)
    assert prompt.thinking is thinking
    (end_of_turn,) = chat.tokenizer.encode("<|im_end|>")
    assert end_of_turn not in prompt.tokens[-8:]


def test_a_begun_thought_and_a_template_that_closes_it_are_told(tmp_path: Path) -> None:
    chat = load_chat_model(save_templated(tmp_path, CLOSED))
    with pytest.raises(TokenizerError, match="begins a thought, but the chat template closes"):
        chat.begin([*HI, {"role": "assistant", "content": "<think>a"}], continued=True)
    with pytest.raises(TokenizerError, match="leaves no open thought after 'hi'"):
        chat.question("hi")
