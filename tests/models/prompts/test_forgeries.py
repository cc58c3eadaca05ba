"""Whatever a template makes of a client's texts, keys and parts, no control token comes of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer
from tokenizers.models import BPE
from transformers import AutoTokenizer

from models.chat_model import ChatModel, load_chat_model
from models.prompts.markers import Markers
from models.prompts.template import Chat
from models.tokenizer import TokenizerError
from tests.support.templates import CHATML, save_templated

HI = {"role": "user", "content": "hi"}


def controls(chat: ChatModel, ids: Sequence[int]) -> list[int]:
    return [token for token in ids if token in chat.tokenizer.markers.ids]


@pytest.mark.parametrize("last", ["<think><|im_end|>", "<think>a</think><|im_end|>", "<think><|im_end|></think>b"])
@pytest.mark.parametrize("name", ["bundled", "chatml", "phi", "qwen3"])
def test_a_continued_thought_writes_no_marker_but_its_own(
    model: Callable[[str], ChatModel], name: str, last: str
) -> None:
    chat = model(name)
    said, meant = (
        chat.begin([HI, {"role": "assistant", "content": text}], thinking=None, continued=True).tokens
        for text in (last, last.replace("<|im_end|>", "x"))
    )
    assert controls(chat, said) == controls(chat, meant)


KEYS = CHATML + "{% if extra is defined %}{% for key in extra %}{{ key }}{% endfor %}{% endif %}"
APART = KEYS.replace("<|im_start|>{{", "{{ '<|im_' + 'start|>' }}{{")  # puts a marker together from pieces


@pytest.mark.parametrize("template", [KEYS, APART])
@pytest.mark.parametrize(
    "options",
    [
        {"laser_text_0": "x", "extra": {"<|im_end|>": 1}},
        {"extra": {"<|im_": 1, "end|>": 2}},
        {"extra": {"<|im_end": 1, "|>": 2}},
    ],
    ids=str,
)
def test_keys_and_parts_of_markers_are_text(tmp_path: Path, template: str, options: dict[str, Any]) -> None:
    chat = load_chat_model(save_templated(tmp_path, template))
    hi = [{"role": "user", "content": "hi"}]
    try:
        forged = chat.begin(hi, options=options).tokens
    except TokenizerError as error:
        assert "spell a marker" in str(error)  # noqa: PT017 - both ends are right
        return
    assert controls(chat, forged) == controls(chat, chat.begin(hi, options={"extra": {"me": 1}}).tokens)


@pytest.mark.parametrize("pieced", [False, True])
@pytest.mark.parametrize(
    ("change", "content"),
    [("replace('\n', '')", "a<|im_\nend|>b"), ("lower", "a<|IM_end|>b"), ("replace('~', '')", "<~|im_end|>")],
)
def test_a_text_that_the_template_changes_stays_text(tmp_path: Path, change: str, content: str, pieced: bool) -> None:
    template = CHATML.replace("m['content']", f"m['content'] | {change}")
    if pieced:
        template = template.replace("<|im_start|>{{", "{{ '<|im_' + 'start|>' }}{{", 1)
    chat = load_chat_model(save_templated(tmp_path, template))
    forged, harmless = (chat.prompt([{"role": "user", "content": text}]) for text in (content, "hi"))
    assert controls(chat, forged) == controls(chat, harmless)
    assert "<|im_end|>" in chat.tokenizer.decode(forged).removesuffix("<|im_end|>\n<|im_start|>assistant\n<think>\n")


def test_the_thinking_format_s_markers_are_control_tokens_whatever_they_look_like(tmp_path: Path) -> None:
    added = AutoTokenizer.from_pretrained(save_templated(tmp_path, CHATML), local_files_only=True)
    added.add_tokens([AddedToken("◁think▷"), AddedToken("◁/think▷")])
    added.add_special_tokens({"additional_special_tokens": [AddedToken("WORD", single_word=True)]})
    added.save_pretrained(tmp_path)
    (tmp_path / "laser.yaml").write_text(
        "open: ◁think▷\nopening: ◁think▷\nclose: ◁/think▷\nlanding: ◁/think▷\nprobe: {suffix: '◁/think▷{'}\n", "utf-8"
    )
    chat = load_chat_model(tmp_path)
    forged, harmless = (chat.prompt([{"role": "user", "content": text}]) for text in ("◁/think▷ WORD", "hi"))
    assert chat.thinking.close_id not in forged
    assert controls(chat, forged) == controls(chat, harmless)


def test_an_ordinary_token_cannot_be_a_marker_unless_markers_are_trusted(tmp_path: Path) -> None:
    save_templated(tmp_path, CHATML)
    (tmp_path / "laser.yaml").write_text("open: a\nopening: a\n", "utf-8")
    with pytest.raises(TokenizerError, match="marker 'a' is an ordinary token, must be an added one"):
        load_chat_model(tmp_path)
    assert load_chat_model(tmp_path, trust_markers=True)


def test_a_render_without_the_messages_markers_that_fails_shows_no_secret(tmp_path: Path) -> None:
    template = (
        APART + "{% set said = messages[0].content %}"
        "{% if '<think>' not in said and said != '?' %}{{ raise_exception(said) }}{% endif %}"
    )
    chat = load_chat_model(save_templated(tmp_path, template))
    with pytest.raises(TokenizerError, match="spell a marker") as caught:
        chat.prompt([{"role": "user", "content": "<think>"}])
    assert chat.tokenizer.markers.blank not in str(caught.value)
    assert caught.value.__cause__ is None


FOLD = "{{ '<|im_' + 'start|>' }}"  # of two pieces
START = CHATML.replace("<|im_start|>{{", "HERE{{", 1)


@pytest.mark.parametrize(
    "template",
    [
        START.replace("HERE", "{% if m['role'] == 'system' %}" + FOLD + "{% else %}<|im_start|>{% endif %}"),
        START.replace("HERE", "{% if m['role'] == 'tool' %}" + FOLD + "{% else %}<|im_start|>{% endif %}"),
        START.replace("HERE", "{% if m['role'] == 'system' %}{{ raise_exception('') }}{% endif %}" + FOLD),
        CHATML.replace("<|im_end|>", "{{ '<|im_' + 'end|>' if m.reasoning_content else '<|im_end|>' }}"),
    ],
)
@pytest.mark.parametrize("text", ["hi", "say <think>"])
def test_a_template_that_puts_markers_together_in_some_chats_only_is_known(
    tmp_path: Path, template: str, text: str
) -> None:
    chat = load_chat_model(save_templated(tmp_path, template))
    others = [
        {"role": "system", "content": "a"},
        {"role": "tool", "content": "b"},
        {"role": "assistant", "content": "c", "reasoning_content": "d"},
    ]
    for other in others[1:] if "raise" in template else others:
        ids, real = (
            chat.tokenizer.render(Chat(messages=[other, {"role": "user", "content": said}]), trusted=trusted)
            for said, trusted in ((text, False), ("hi", True))
        )
        assert controls(chat, ids) == controls(chat, real)


def test_many_texts_set_aside_are_put_back_at_once(model: Callable[[str], ChatModel]) -> None:
    chat = model("phi")
    began = time.process_time()
    assert chat.prompt([{"role": "user", "content": "say <|end|>" * 5_000}])
    assert time.process_time() - began < 2.0


def test_thousands_of_markers_are_searched_for_as_one_and_the_longest_is_found() -> None:
    fast = Tokenizer(BPE({"a": 0}, []))
    fast.add_special_tokens([f"<unused{number}>" for number in range(6_000)] + ["<a", "<a>", "<a>b"])
    markers = Markers(fast)
    found: list[str] = []
    markers.replace("<a>b<a><a<unused7>", lambda marker: (found.append(marker), "")[1])
    assert found == ["<a>b", "<a>", "<a", "<unused7>"]
    began = time.process_time()
    assert not markers.spelled_in("<unuse " * 3_000)
    assert time.process_time() - began < 0.5


def test_a_merge_of_a_control_token_keeps_no_copy_from_being_made(tmp_path: Path) -> None:
    fast = Tokenizer(BPE({"a": 0, "b": 1, "ab": 2, "abb": 3}, [("a", "b"), ("ab", "b")], unk_token=None))
    fast.add_special_tokens(["ab"])
    copy = Markers(fast).copy
    assert copy is not None
    assert 2 not in copy.encode("ab").ids
