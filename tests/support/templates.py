"""Chat templates in the styles of well-known families, in our own words, and tokenizers to try them with."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from models.reasoner import bundled_model
from tests.support.tiny_models import save_tokenizer

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
QWEN3 = """\
{%- set ns = namespace(last=-1) -%}
{%- for m in messages -%}
{%- if m.role == 'user' and not (m.content.startswith('<tool_response>') and m.content.endswith('</tool_response>')) -%}
{%- set ns.last = loop.index0 -%}
{%- endif -%}
{%- endfor -%}
{%- for m in messages -%}
{%- if m.role == 'assistant' -%}
{%- set content = m.content -%}
{%- set reasoning = '' -%}
{%- if m.reasoning_content is string -%}
{%- set reasoning = m.reasoning_content -%}
{%- elif '</think>' in content -%}
{%- set reasoning = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') -%}
{%- set content = content.split('</think>')[-1].lstrip('\\n') -%}
{%- endif -%}
{%- if loop.index0 > ns.last -%}
{{- '<|im_start|>' + m.role + '\\n<think>\\n' + reasoning.strip('\\n') + '\\n</think>\\n\\n' + content.lstrip('\\n') -}}
{%- else -%}
{{- '<|im_start|>' + m.role + '\\n' + content -}}
{%- endif -%}
{{- '<|im_end|>\\n' -}}
{%- elif m.role == 'tool' -%}
{{- '<|im_start|>user\\n<tool_response>\\n' + m.content + '\\n</tool_response><|im_end|>\\n' -}}
{%- else -%}
{{- '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' -}}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<|im_start|>assistant\\n' -}}
{%- if enable_thinking is defined and enable_thinking is false -%}
{{- '<think>\\n\\n</think>\\n\\n' -}}
{%- endif -%}
{%- endif -%}
"""
DEEPSEEK = """\
{%- set close = '</think>' -%}
{{- bos_token -}}
{%- for m in messages -%}
{%- if m['role'] == 'system' -%}{{- m['content'] -}}
{%- elif m['role'] == 'user' -%}{{- '<|User|>' + m['content'] -}}
{%- elif m['role'] == 'tool' -%}{{- '<|tool|>' ~ (m['content'] | tojson) ~ '<|tool_end|>' -}}
{%- else -%}
{%- set said = m['content'] -%}
{%- if close in said -%}{%- set said = said.split(close)[-1] -%}{%- endif -%}
{{- '<|Assistant|>' + said + eos_token -}}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|Assistant|><think>\\n' -}}{%- endif -%}
"""
LLAMA3 = """\
{{- bos_token }}
{%- for m in messages %}
{{- '<|start_header_id|>' + m['role'] + '<|end_header_id|>\\n\\n'+ m['content'] | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
"""
MISTRAL = """\
{%- set system = 'Think within <think> and </think>.' -%}
{%- set messages_ = messages -%}
{%- if messages[0].role == 'system' -%}{%- set system = messages[0].content -%}{%- set messages_ = messages[1:] -%}
{%- endif -%}
{{- bos_token ~ '[SYSTEM_PROMPT]' ~ system ~ '[/SYSTEM_PROMPT]' -}}
{%- for m in messages_ -%}
{%- if m.role == 'assistant' -%}{{- ' ' ~ m.content ~ eos_token -}}
{%- else -%}{{- '[INST] ' ~ m.content.strip() ~ ' [/INST]' -}}{%- endif -%}
{%- endfor -%}
"""
PHI = """\
{%- macro turn(role, content) -%}{{ '<|' + role + '|>\\n' }}{% generation %}{{ content }}{% endgeneration %}<|end|>
{% endmacro -%}
{%- for m in messages -%}{{ turn(m['role'], m['content']) }}{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<|' + 'assistant' + '|>\\n' }}{%- endif -%}
"""
TEMPLATES = {
    "chatml": CHATML,
    "qwen3": QWEN3,
    "deepseek": DEEPSEEK,
    "llama3": LLAMA3,
    "mistral": MISTRAL,
    "phi": PHI,  # puts its markers together from pieces
    "bundled": (bundled_model() / "chat_template.jinja").read_text("utf-8"),
}
MARKERS = (
    *("<|User|>", "<|Assistant|>", "<|tool|>", "<|tool_end|>", "<|start_header_id|>", "<|end_header_id|>"),
    *("<|eot_id|>", "[INST]", "[/INST]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "<|user|>", "<|assistant|>"),
    *("<|system|>", "<|end|>", "<tool_response>", "</tool_response>", "<s>"),
)


def save_templated(directory: Path, template: str, *, source: Path | None = None) -> Path:
    """A tokenizer that knows every family's markers, and a chat template, in `directory`.

    `source` is the directory of the tokenizer; None: a byte-level one of about 440 tokens.
    """
    if source is None:
        save_tokenizer(directory)
        added = [(marker, marker.startswith("<|") or marker == "<s>") for marker in MARKERS]
    else:
        shutil.copytree(source, directory, dirs_exist_ok=True)
        added = []
    add_tokens(directory, added)
    if source is None:
        configure(directory, bos_token="<s>")
    (directory / "chat_template.jinja").write_text(template, "utf-8")
    return directory


def add_tokens(directory: Path, added: Sequence[tuple[str, bool]]) -> None:
    """Adds tokens to the directory's tokenizer, each with whether it is a special one."""
    file = directory / "tokenizer.json"
    said = json.loads(file.read_text("utf-8"))
    least = 1 + max(*said["model"]["vocab"].values(), *(token["id"] for token in said["added_tokens"]))
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    said["added_tokens"] += [
        {"id": least + place, "content": marker, "special": special, **flags}
        for place, (marker, special) in enumerate(added)
    ]
    file.write_text(json.dumps(said, ensure_ascii=False), "utf-8")


def configure(directory: Path, **changes: object) -> None:
    """Overwrites keys of the directory's tokenizer_config.json; None takes a key away."""
    file = directory / "tokenizer_config.json"
    said = {**json.loads(file.read_text("utf-8")), **changes}
    file.write_text(json.dumps({name: value for name, value in said.items() if value is not None}), "utf-8")


def rebuild(directory: Path, **sections: object) -> None:
    """Overwrites sections of the directory's tokenizer.json."""
    file = directory / "tokenizer.json"
    file.write_text(json.dumps({**json.loads(file.read_text("utf-8")), **sections}, ensure_ascii=False), "utf-8")


def theirs(directory: Path, messages: list[dict[str, Any]], **options: Any) -> list[int]:
    """The ids of transformers' own call."""
    from transformers import AutoTokenizer

    auto = AutoTokenizer.from_pretrained(directory, local_files_only=True)
    ids: list[int] = auto.apply_chat_template(
        messages, tokenize=True, return_dict=False, **{"add_generation_prompt": True, **options}
    )
    return ids
