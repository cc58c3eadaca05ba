"""Families of reasoning models: their control tokens, templates of their shape in our own words, published ones."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.templates import CHATML, add_tokens, configure
from tests.support.tiny_models import save_tokenizer

PUBLISHED = "LASER_TEMPLATES"  # names a directory of published templates, or of an unpacked package that holds it
INSIDE = "*/vendor/llama.cpp/models/templates"

CHATML_THINK = CHATML.removesuffix("{% endif %}") + (
    "<think>{% if enable_thinking is defined and not enable_thinking %}</think>{% endif %}\n{% endif %}"
)
SWITCHED = CHATML.replace(
    "{% endif %}",
    "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}{% endif %}",
)
HARMONY = """\
{{- '<|start|>system<|message|>Reasoning: ' ~ (reasoning_effort or 'medium') ~ '<|end|>' -}}
{%- for m in messages -%}
{%- if m.role == 'assistant' -%}
{%- if m.thinking and '<|channel|>analysis<|message|>' in m.thinking -%}{{ raise_exception('a channel') }}{%- endif -%}
{{- '<|start|>assistant<|channel|>final<|message|>' ~ m.content ~ '<|end|>' -}}
{%- else -%}{{- '<|start|>' ~ m.role ~ '<|message|>' ~ m.content ~ '<|end|>' -}}{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|start|>assistant' -}}{%- endif -%}
"""
GRANITE = """\
{%- for m in messages -%}
{{- '<|start_of_role|>' + m.role + '<|end_of_role|>' + m.content + '<|end_of_text|>\\n' -}}
{%- endfor -%}
{%- if thinking -%}{{- '<|start_of_role|>system<|end_of_role|>SAID<|end_of_text|>\\n' -}}{%- endif -%}
{%- if add_generation_prompt -%}{{- '<|start_of_role|>assistant<|end_of_role|>' -}}{%- endif -%}
"""
BRACKETS = """\
{{- bos_token + '[SYSTEM_PROMPT]Think so:[THINK]a draft[/THINK]an answer[/SYSTEM_PROMPT]' -}}
{%- for m in messages -%}
{%- if m.role == 'assistant' -%}{{- m.content + eos_token -}}
{%- else -%}{{- '[INST]' + m.content + '[/INST]' -}}{%- endif -%}
{%- endfor -%}
"""
APRIEL = """\
{%- set steps = 'Here are my reasoning steps:\\n' -%}
{{- '<|begin_system|>\\nEnd with [BEGIN FINAL RESPONSE].\\n' -}}
{%- for m in messages -%}{{- '<|begin_' + m.role + '|>\\n' + m.content + '\\n' -}}{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|begin_assistant|>\\n' + steps -}}{%- endif -%}
"""
TURNS = """\
{%- for m in messages -%}{{- 'BEGIN' + m.role + '\\n' + m.content + 'END\\n' -}}{%- endfor -%}
{%- if add_generation_prompt -%}{{- 'BEGINassistant\\n' -}}{%- if OFF -%}{{- 'EMPTY' -}}{%- endif -%}{%- endif -%}
"""


def turns(begin: str, end: str, off: str, empty: str) -> str:
    """A template of turns between two tokens that writes an empty thought where `off` is true."""
    return TURNS.replace("BEGIN", begin).replace("END", end).replace("OFF", off).replace("EMPTY", empty)


SEED = turns("<seed:bos>", "<seed:eos>", "thinking_budget == 0", "<seed:think>\\nNone is asked for.</seed:think>")
GEMMA = turns("<|turn>", "<turn|>", "not enable_thinking | default(false)", "<|channel>thought\\n<channel|>")
COMMAND = turns(
    *("<|START_OF_TURN_TOKEN|>", "<|END_OF_TURN_TOKEN|>"),
    *("not enable_thinking", "<|START_THINKING|><|END_THINKING|>"),
)
MESSAGES = """\
{%- for m in messages -%}{{- '<|begin|>' + m.role + '<|content|>' + m.content + '<|end|>' -}}
{%- if m.reasoning -%}{{- '<|begin|>assistant<|think|>' + m.reasoning + '<|end|>' -}}{%- endif -%}
{%- if m.role == 'assistant' -%}{{- '<|begin|>assistant<|content|>' -}}{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|begin|>assistant' -}}{%- endif -%}
"""
DISTILL = """\
{{- bos_token -}}
{%- for m in messages -%}
{%- if m.role == 'user' -%}{{- '<｜User｜>' + m.content -}}
{%- elif m.role == 'assistant' -%}{{- '<｜Assistant｜>' + m.content.split('</think>')[-1] + eos_token -}}
{%- else -%}{{- m.content -}}{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<｜Assistant｜><think>\\n' -}}{%- endif -%}
"""
GLM = """\
[gMASK]<sop>
{%- for m in messages -%}{{- '<|' + m.role + '|>\\n' + m.content -}}{%- endfor -%}
{%- if add_generation_prompt -%}<|assistant|>
{{- '\\n<think></think>' if enable_thinking is defined and not enable_thinking else '' -}}
{%- endif -%}
"""
HARMONY_TOKENS = "<|start|>", "<|message|>", "<|end|>", "<|channel|>", "<|return|>", "<|call|>", "<|constrain|>"
ROLES = "<|system|>", "<|user|>", "<|assistant|>", "[gMASK]", "<sop>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """What a test needs of a family."""

    template: str  # of its shape
    published: tuple[str, ...] = ()  # files of llama.cpp's collection
    controls: tuple[str, ...] = ()  # its control tokens besides ChatML's
    ordinary: tuple[str, ...] = ()  # markers of thinking that are no tokens of its vocabulary
    type: str = ""  # model_type
    name: str = "model"  # of the directory
    variables: tuple[str, ...] = ()  # what the template looks for, where it cannot switch a thought off by itself


FAMILIES = {
    "qwen3": Family(template=SWITCHED, published=("Qwen-Qwen3-0.6B", "Qwen3.5-4B"), type="qwen3"),
    "deepseek-r1-distill": Family(
        template=DISTILL,
        published=("deepseek-ai-DeepSeek-R1-Distill-Qwen-32B", "deepseek-ai-DeepSeek-R1-Distill-Llama-8B"),
        controls=("<｜User｜>", "<｜Assistant｜>"),
        type="qwen2",
    ),
    "gpt-oss": Family(template=HARMONY, published=("openai-gpt-oss-120b",), controls=HARMONY_TOKENS, type="gpt_oss"),
    "nemotron": Family(
        template=CHATML_THINK,
        published=("NVIDIA-Nemotron-Nano-v2", "NVIDIA-Nemotron-3-Nano-30B-A3B-BF16"),
        controls=("<SPECIAL_10>", "<SPECIAL_11>", "<SPECIAL_12>"),
        ordinary=("<think>", "</think>"),
        type="nemotron_h",
    ),
    "granite": Family(
        template=GRANITE.replace("SAID", "Think in <think></think>, answer in <response></response>."),
        published=("ibm-granite-granite-3.3-2B-Instruct",),
        controls=("<|start_of_role|>", "<|end_of_role|>", "<|end_of_text|>"),
        ordinary=("<think>", "</think>"),
        type="granite",
    ),
    "granite-3.2": Family(
        template=GRANITE.replace("SAID", "Think: Here is my thought process: Answer: Here is my response:"),
        controls=("<|start_of_role|>", "<|end_of_role|>", "<|end_of_text|>"),
        type="granite",
    ),
    "magistral": Family(
        template=BRACKETS,
        published=("mistralai-Ministral-3-14B-Reasoning-2512",),
        controls=("[THINK]", "[/THINK]", "[INST]", "[/INST]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]"),
        type="mistral3",
    ),
    "smollm3": Family(template=SWITCHED, published=("HuggingFaceTB-SmolLM3-3B",), type="smollm3"),
    "qwq": Family(template=CHATML_THINK, published=("Qwen-QwQ-32B",), type="qwen2", name="QwQ-32B"),
    "glm": Family(template=GLM, published=("GLM-4.6", "GLM-4.7-Flash"), controls=ROLES, type="glm4_moe"),
    "apriel": Family(
        template=APRIEL,
        published=("Apriel-1.6-15b-Thinker-fixed", "unsloth-Apriel-1.5"),
        controls=(
            *("<|begin_system|>", "<|begin_user|>", "<|begin_assistant|>", "<|end|>"),
            *("<|system|>", "<|user|>", "<|assistant|>"),
        ),
        type="llava",
    ),
    "seed-oss": Family(
        template=SEED,
        published=("ByteDance-Seed-OSS",),
        controls=("<seed:bos>", "<seed:eos>", "<seed:think>", "</seed:think>"),
        type="seed_oss",
    ),
    "gemma-4": Family(
        template=GEMMA,
        published=("google-gemma-4-31B-it",),
        controls=("<|turn>", "<turn|>", "<|channel>", "<channel|>", "<|think|>"),
        type="gemma4",
    ),
    "command": Family(
        template=COMMAND,
        published=("CohereForAI-c4ai-command-r7b-12-2024-tool_use", "Cohere2MoE"),
        controls=(
            *("<|START_OF_TURN_TOKEN|>", "<|END_OF_TURN_TOKEN|>", "<|USER_TOKEN|>", "<|CHATBOT_TOKEN|>"),
            *("<|SYSTEM_TOKEN|>", "<|START_THINKING|>", "<|END_THINKING|>", "<|START_RESPONSE|>", "<|END_RESPONSE|>"),
        ),
        type="cohere2",
    ),
    "solar-open": Family(
        template=MESSAGES,
        published=("upstage-Solar-Open-100B",),
        controls=("<|begin|>", "<|end|>", "<|think|>", "<|content|>"),
        type="solar_open",
    ),
    "openthinker": Family(template=CHATML, type="qwen2", name="OpenThinker-7B"),
    "phi-4-reasoning": Family(template=CHATML, name="Phi-4-reasoning-plus", type="phi3"),
    "exaone-deep": Family(template=CHATML, name="EXAONE-Deep-2.4B", type="exaone"),
}


def published(name: str) -> str:
    """The published template of this name; skips the test where it cannot be read."""
    place = os.environ.get(PUBLISHED)
    if place is None:
        pytest.skip(f"{PUBLISHED} names no directory of published templates")
    found = (Path(place), *Path(place).glob(INSIDE), Path(place) / INSIDE.partition("/")[2])
    file = next((folder / f"{name}.jinja" for folder in found if (folder / f"{name}.jinja").is_file()), None)
    if file is None:
        pytest.skip(f"{place} holds no {name}.jinja")
    return file.read_text("utf-8")


def without(directory: Path, *markers: str) -> None:
    """Takes added tokens out of the directory's tokenizer, so that it spells them by others."""
    file = directory / "tokenizer.json"
    said = json.loads(file.read_text("utf-8"))
    said["added_tokens"] = [token for token in said["added_tokens"] if token["content"] not in markers]
    file.write_text(json.dumps(said), "utf-8")


def save_family(directory: Path, family: Family, template: str) -> Path:
    """A tokenizer with the family's control tokens, this chat template and a config.json, in a folder of its name."""
    made = directory / family.name
    made.mkdir()
    save_tokenizer(made)
    without(made, *family.ordinary)
    add_tokens(made, [(control, True) for control in (*family.controls, "<s>")])
    configure(made, bos_token="<s>")
    (made / "chat_template.jinja").write_text(template, "utf-8")
    (made / "config.json").write_text(json.dumps({"model_type": family.type, "architectures": []}), "utf-8")
    return made
