"""How byte-level vocabularies split text into words before they merge bytes, by llama.cpp's names (tokenizer.ggml.pre).

The patterns are those that the models' own tokenizer.json files state. Each of a way's patterns splits every piece that
the ones before it have left. A vocabulary with `whole` takes a word that it holds without merging it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

_CONTRACTED = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_ENDS = r"\s*[\r\n]+|\s+(?!\S)|\s+"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_BEFORE = r"[^\r\n\p{L}\p{N}]?"
_CJK = r"[一-龥぀-ゟ゠-ヿ]+"
_ASCII = r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+"

_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_LLAMA3 = rf"{_CONTRACTED}|{_BEFORE}\p{{L}}+|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{_ENDS}"
_QWEN2 = rf"{_CONTRACTED}|{_BEFORE}\p{{L}}+|\p{{N}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{_ENDS}"
_QWEN35 = rf"{_CONTRACTED}|{_BEFORE}[\p{{L}}\p{{M}}]+|\p{{N}}| ?[^\s\p{{L}}\p{{M}}\p{{N}}]+[\r\n]*|{_ENDS}"
_DEEPSEEK = rf"{_ASCII}|[^\r\n\p{{L}}\p{{P}}\p{{S}}]?[\p{{L}}\p{{M}}]+| ?[\p{{P}}\p{{S}}]+[\r\n]*|{_ENDS}"


def _cased(numbers: str, contracted: str = "") -> str:
    """Returns the pattern that cuts words where small letters turn into capitals."""
    return (
        rf"{_BEFORE}{_UPPER}*{_LOWER}+{contracted}|{_BEFORE}{_UPPER}+{_LOWER}*{contracted}|{numbers}"
        rf"| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{_ENDS}"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Splitting:
    """A way to split text into words."""

    patterns: tuple[str, ...]
    whole: bool = False  # a word that is a token stays one
    begins: bool = False  # a raw prompt begins with the BOS token where the file says nothing of it


_LLAMA3_WAY = Splitting(patterns=(_LLAMA3,), whole=True, begins=True)
_DIGITS_WAY = Splitting(patterns=(r"\p{N}", _GPT2))
_GPT2_WAY = Splitting(patterns=(_GPT2,))
_QWEN2_WAY = Splitting(patterns=(_QWEN2,))
_GPT4O_WAY = Splitting(patterns=(_cased(r"\p{N}{1,3}", f"{_CONTRACTED}?"),))
_DEEPSEEK_WAY = Splitting(patterns=(r"\p{N}{1,3}", _CJK, _DEEPSEEK))

WAYS: Mapping[str, Splitting] = {
    **dict.fromkeys(
        ("llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2"), _LLAMA3_WAY
    ),
    **dict.fromkeys(("dbrx", "smaug-bpe", "chatglm-bpe"), Splitting(patterns=(_LLAMA3,))),
    **dict.fromkeys(("glm4", "glm5"), Splitting(patterns=(_LLAMA3,), whole=True)),
    **dict.fromkeys(
        ("qwen2", "deepseek-r1-qwen", "kormo", "f2llmv2", "megrez", "stablelm2", "hunyuan", "solar-open", "grok-2"),
        _QWEN2_WAY,
    ),
    "qwen35": Splitting(patterns=(_QWEN35,)),
    **dict.fromkeys(("gpt-4o", "llama4", "kanana2", "minimax-m2"), _GPT4O_WAY),
    "tekken": Splitting(patterns=(_cased(r"\p{N}"),), whole=True, begins=True),
    **dict.fromkeys(("deepseek-v3", "hunyuan-dense", "joyai-llm"), _DEEPSEEK_WAY),
    **dict.fromkeys(
        ("smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b", "mellum2"), _DIGITS_WAY
    ),
    **dict.fromkeys(
        (
            "gpt-2", "phi-2", "mpt", "olmo", "jais", "trillion", "granite-docling", "exaone4", "gigachat", "a.x-4.0",
            "mellum",
        ),
        _GPT2_WAY,
    ),
    "default": Splitting(
        patterns=(r"[\p{P}\$\+<=>\^~\|]+", _GPT2.removesuffix(r"|\s+"), r"\p{N}+", r"[0-9][0-9][0-9]")
    ),
}  # fmt: skip
"""Each way by each of its names."""
