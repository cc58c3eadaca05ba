"""A tokenizer that is read without transformers has the tokens and renders the chats that transformers' own has."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer
from transformers import AutoTokenizer

from models.prompts.agreement import TEXTS
from models.prompts.plain import CLASSES, TYPES, PlainTokenizer, plain_tokenizer
from models.prompts.template import Chat
from models.reasoner import bundled_model
from models.tokenizer import SAMPLES, TOOLED, TokenizerError
from tests.support.processes import ENVIRONMENT
from tests.support.templates import TEMPLATES, save_templated
from tests.support.tool_templates import TOOLED as TOOL_TEMPLATES

THOUGHT = {"role": "assistant", "content": "a {b}", "reasoning_content": "<b> & ü", "name": None}
CHATS = (
    *SAMPLES,
    *TOOLED,
    Chat(messages=[{"role": "user", "content": "hi"}, {"role": "assistant", "content": " so far"}], continued=True),
    Chat(messages=[{"role": "user", "content": "hi"}, {"role": "assistant", "content": "so far  "}], continued=True),
    Chat(messages=[{"role": "user", "content": "hi"}, THOUGHT, {"role": "user", "content": "and?"}]),
    Chat(messages=[{"role": "user", "content": "hi"}, {"role": "assistant", "content": "", "reasoning": "r"}]),
    Chat(messages=[{"role": "user", "content": "hi"}], options={"enable_thinking": False, "eos_token": "<mine>"}),
    Chat(messages=[]),
)


def rendered(auto: Any, chat: Chat) -> str | None:
    """What a chat becomes; None: the template refuses it."""
    try:
        text: str = auto.apply_chat_template(
            [dict(message) for message in chat.messages],
            tools=list(chat.tools) or None,
            tokenize=False,
            add_generation_prompt=chat.header and not chat.continued,
            continue_final_message=chat.continued,
            **chat.options,
        )
    except Exception:  # whatever the template's author chose
        return None
    return text


def both(directory: Path) -> tuple[PlainTokenizer, Any]:
    plain = plain_tokenizer(directory, TokenizerError)
    assert plain is not None
    return plain, AutoTokenizer.from_pretrained(directory, local_files_only=True)


def assert_alike(plain: PlainTokenizer, auto: Any) -> None:
    assert type(auto).__name__ == "TokenizersBackend"
    assert plain.backend_tokenizer.get_vocab(with_added_tokens=True) == auto.get_vocab()
    assert plain.special_tokens_map == auto.special_tokens_map
    assert list(plain.special_tokens_map) == list(auto.special_tokens_map)
    assert (plain.bos_token_id, plain.eos_token_id) == (auto.bos_token_id, auto.eos_token_id)
    assert plain.get_chat_template() == auto.get_chat_template()
    for special in (False, True):
        for text in (*TEXTS, "<think>x</think><|im_end|> <s>", ""):
            ids = plain.backend_tokenizer.encode(text, add_special_tokens=special).ids
            assert ids == auto.backend_tokenizer.encode(text, add_special_tokens=special).ids
    ours, theirs = (each.backend_tokenizer.get_added_tokens_decoder() for each in (plain, auto))
    assert {number: repr(token) for number, token in ours.items()} == {
        number: repr(token) for number, token in theirs.items()
    }


def assert_rendered_alike(plain: PlainTokenizer, auto: Any) -> None:
    texts = [(rendered(plain, chat), rendered(auto, chat)) for chat in CHATS]
    assert [ours for ours, _ in texts] == [theirs for _, theirs in texts]
    assert any(ours for ours, _ in texts)
    assert texts[-1] == (None, None)  # an empty chat


def test_the_bundled_model_is_read_so_and_alike() -> None:
    plain, auto = both(bundled_model())
    assert_alike(plain, auto)
    assert_rendered_alike(plain, auto)


@pytest.mark.parametrize("kind", sorted(CLASSES))
@pytest.mark.parametrize("model_type", sorted(TYPES))
def test_each_type_of_model_and_each_class_of_tokenizer_is_read_alike(
    tmp_path: Path, model_type: str, kind: str
) -> None:
    directory = templated(tmp_path, TEMPLATES["qwen3"], model_type, tokenizer_class=kind)
    assert_alike(*both(directory))


@pytest.mark.parametrize("name", [*TEMPLATES, *TOOL_TEMPLATES])
def test_each_family_s_template_is_rendered_alike(tmp_path: Path, name: str) -> None:
    plain, auto = both(templated(tmp_path, (TEMPLATES | TOOL_TEMPLATES)[name]))
    assert_rendered_alike(plain, auto)


@pytest.mark.parametrize(
    ("template", "told"),
    [
        ("{% set ns = namespace(__class__=1) %}", None),
        ("{% set ns = namespace(a=1) %}{% set ns._b = 2 %}", None),
        ("{{ ''.__class__.__mro__ }}", None),
        ("{{ dict.__class__ }}", "hi"),  # prints nothing
        ("{{ messages.append(1) }}", None),
        ("{{ raise_exception('no') }}", None),
        ("{% set ns = namespace(a=1) %}{% set ns.b = 2 %}{{ ns.a + ns.b }}", "3hi"),  # this they may
    ],
)
def test_what_templates_may_not_do_they_may_not_here(tmp_path: Path, template: str, told: str | None) -> None:
    plain, auto = both(templated(tmp_path, f"{template}{{{{ messages[0].content }}}}"))
    chat = Chat(messages=[{"role": "user", "content": "hi"}])
    assert rendered(plain, chat) == rendered(auto, chat) == told


def templated(directory: Path, template: str, model_type: str = "qwen3", **changes: Any) -> Path:
    """A directory of a tokenizer that is read so, with a chat template."""
    save_templated(directory, template)
    (directory / "config.json").write_text(json.dumps({"model_type": model_type}))
    file = directory / "tokenizer_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))
    return directory


@pytest.mark.parametrize(
    "changes",
    [
        {"tokenizer_class": "Qwen2Tokenizer"},
        {"tokenizer_class": None},
        {"added_tokens_decoder": {}},
        {"extra_special_tokens": ["<|User|>"]},
        {"image_token": "<|User|>"},
        {"eos_token": {"content": "<|im_end|>"}},
        {"eos_token": "<|not there|>"},
        {"chat_template": [{"name": "default", "template": "x"}]},
        {"auto_map": {}},
    ],
)
def test_what_says_more_is_left_to_transformers(tmp_path: Path, changes: dict[str, Any]) -> None:
    assert plain_tokenizer(templated(tmp_path / "a", TEMPLATES["chatml"]), TokenizerError) is not None
    assert plain_tokenizer(templated(tmp_path / "b", TEMPLATES["chatml"], **changes), TokenizerError) is None


@pytest.mark.parametrize("named", ["bos_token", "eos_token", "pad_token"])
def test_a_named_token_that_is_not_special_is_left_to_transformers(tmp_path: Path, named: str) -> None:
    directory = templated(tmp_path, TEMPLATES["chatml"], **{named: "<|User|>"})
    assert_alike(*both(directory))
    file = directory / "tokenizer.json"
    said = json.loads(file.read_text("utf-8"))
    number = next(token["id"] for token in said["added_tokens"] if token["content"] == "<|User|>")
    for token in said["added_tokens"]:
        token["special"] = token["id"] != number
    file.write_text(json.dumps(said), encoding="utf-8")
    assert plain_tokenizer(directory, TokenizerError) is None
    auto: Any = AutoTokenizer.from_pretrained(directory, local_files_only=True)
    read = auto.backend_tokenizer.get_added_tokens_decoder()[number]
    assert read.special  # which tokens of tokenizer.json are not
    assert not Tokenizer.from_file(str(file)).get_added_tokens_decoder()[number].special


@pytest.mark.parametrize("name", ["special_tokens_map.json", "added_tokens.json"])
def test_a_directory_with_further_files_is_left_to_transformers(tmp_path: Path, name: str) -> None:
    directory = Path(shutil.copytree(bundled_model(), tmp_path / "model"))
    assert plain_tokenizer(directory, TokenizerError) is not None
    (directory / name).write_text("{}")
    assert plain_tokenizer(directory, TokenizerError) is None


def test_the_bundled_model_is_loaded_to_be_served_without_transformers() -> None:
    code = (
        "import sys; from laser.server.config import ServeConfig; from laser.server.deployment import deploy\n"
        "deployment = deploy(ServeConfig(), late=True); deployment.chosen.close()\n"
        "print(sorted(name for name in ('huggingface_hub', 'transformers') if name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=ENVIRONMENT, check=True)
    assert done.stdout == "[]\n"
