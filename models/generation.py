"""What a model's own files say of decoding: the sampling of requests that set none, and the tokens that end a reply."""

from __future__ import annotations

import math
from collections.abc import Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.directory import gguf_of, there
from models.files.json_file import named, read_object, shown
from models.gguf.sampling import sampling
from models.tokenizer import TokenizerError

FILE_NAME = "generation_config.json"
TEXT_PARTS = ("text_config", "llm_config", "language_config")  # where a config.json of several models has the text's


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationDefaults:
    """The sampling of requests that set none, from `generation_config.json`; greedy unless it sets `do_sample`."""

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    stop_tokens: frozenset[int] = frozenset()  # of generation_config.json and config.json
    unused: tuple[str, ...] = ()  # settings that would change a reply and are not used here, as "num_beams 4"

    def __post_init__(self) -> None:
        for name in (*_DRAWING, *_PENALTIES):
            RANGES[name].check(name, getattr(self, name))


@dataclass(frozen=True, slots=True)
class Range:
    """The values that a number may have."""

    least: float
    most: float = math.inf
    whole: bool = False
    above: bool = False  # whether the value must exceed `least`
    neutral: tuple[float, ...] = ()  # the values that change nothing

    def __str__(self) -> str:
        kind, form = ("a whole number", ".0f") if self.whole else ("a number", "g")
        low = f"{'above' if self.above else 'at least'} {self.least:{form}}"
        return f"{kind} {low}" + ("" if math.isinf(self.most) else f" and at most {self.most:{form}}")

    def check(self, name: str, value: object) -> None:
        """Raises ValueError unless `value` lies in the range."""
        kinds = (int,) if self.whole else (int, float)
        if isinstance(value, bool) or not isinstance(value, kinds):
            raise ValueError(f"{name} is {shown(value)}, must be {self}")
        low = value > self.least if self.above else value >= self.least
        if not (low and value <= self.most and value != math.inf):  # a NaN is in no range
            raise ValueError(f"{name} is {shown(value)}, must be {self}")


_MOST = 2**31 - 1  # the largest whole number that decoders take
RANGES: Mapping[str, Range] = {
    "temperature": Range(0.0, 2.0, neutral=(1.0,)),
    "top_k": Range(0, _MOST, whole=True, neutral=(0, 50)),  # 50: what transformers writes for want of one
    "top_p": Range(0.0, 1.0, above=True, neutral=(1.0,)),
    "min_p": Range(0.0, 1.0, neutral=(0.0,)),
    "top_h": Range(0.0, 1.0, above=True),
    "typical_p": Range(0.0, 1.0, above=True, neutral=(1.0,)),
    "epsilon_cutoff": Range(0.0, 1.0, neutral=(0.0,)),
    "eta_cutoff": Range(0.0, 1.0, neutral=(0.0,)),
    "repetition_penalty": Range(0.0, above=True, neutral=(1.0,)),
    "encoder_repetition_penalty": Range(0.0, above=True, neutral=(1.0,)),
    "presence_penalty": Range(-2.0, 2.0, neutral=(0.0,)),
    "frequency_penalty": Range(-2.0, 2.0, neutral=(0.0,)),
    "length_penalty": Range(-100.0, 100.0, neutral=(1.0,)),
    "diversity_penalty": Range(0.0, neutral=(0.0,)),
    "penalty_alpha": Range(0.0, 1.0, neutral=(0.0,)),
    "guidance_scale": Range(0.0, neutral=(1.0,)),
    "no_repeat_ngram_size": Range(0, _MOST, whole=True, neutral=(0,)),
    "encoder_no_repeat_ngram_size": Range(0, _MOST, whole=True, neutral=(0,)),
    "num_beams": Range(1, _MOST, whole=True, neutral=(1,)),
    "num_beam_groups": Range(1, _MOST, whole=True, neutral=(1,)),
    "num_return_sequences": Range(1, _MOST, whole=True, neutral=(1,)),
    "min_length": Range(0, _MOST, whole=True, neutral=(0,)),
    "min_new_tokens": Range(0, _MOST, whole=True, neutral=(0,)),
    "max_length": Range(1, _MOST, whole=True, neutral=(20,)),  # 20: what transformers writes
    "max_new_tokens": Range(1, _MOST, whole=True),
    "max_time": Range(0.0, above=True),
}
"""The numbers that generation_config.json may hold; any other value is refused, used here or not."""

_DRAWING = ("temperature", "top_k", "top_p", "min_p")  # nothing to a greedy reply
_PENALTIES = ("presence_penalty", "frequency_penalty", "repetition_penalty")  # those change a greedy reply, too
_READ = frozenset({"do_sample", "eos_token_id"})
_HARMLESS = frozenset({  # they change no reply of this server
    "pad_token_id", "bos_token_id", "decoder_start_token_id", "transformers_version", "_from_model_config",
    "_commit_hash", "_original_object_hash", "use_cache",
    "cache_implementation", "cache_config", "output_attentions", "output_scores",
    "output_hidden_states", "output_logits", "return_dict_in_generate", "return_legacy_cache", "low_memory",
    "compile_config", "disable_compile", "use_model_defaults", "num_assistant_tokens", "num_assistant_tokens_schedule",
    "assistant_confidence_threshold", "assistant_early_exit", "assistant_lookbehind", "target_lookbehind",
    "prompt_lookup_num_tokens", "max_matching_ngram_size", "is_assistant", "prefill_chunk_size", "early_stopping",
    "remove_invalid_values", "renormalize_logits", "continuous_batching_config", "model_type",
})  # fmt: skip


def read_generation_defaults(directory: Path) -> GenerationDefaults:
    """Returns what a model's files say of decoding; greedy if they say nothing.

    Raises TokenizerError, which names file, key, value and range, if generation_config.json is damaged or holds a
    number out of its range, or if an end token of it or of config.json is none of the vocabulary. So it does for what
    a GGUF file says of the same.
    """
    gguf = gguf_of(directory)
    if gguf is not None:
        said = sampling(gguf, TokenizerError)
        return _defaults(gguf.path, said, _end_tokens(gguf.path, said, len(gguf.tokens)))
    config, path = _config(directory), directory / FILE_NAME
    vocabulary = next((size for part in config if _counts(size := part.get("vocab_size"))), None)
    ends: set[int] = set()
    for part in config:
        ends |= _end_tokens(directory / "config.json", part, vocabulary)
    if not there(path, TokenizerError):
        return GenerationDefaults(stop_tokens=frozenset(ends))
    said = read_object(path, TokenizerError)
    return _defaults(path, said, ends | _end_tokens(path, said, vocabulary))


def _defaults(path: Path, said: Mapping[str, Any], ends: Set[int]) -> GenerationDefaults:
    """Returns the defaults that an object of generation_config.json's keys makes; `path`: the file that says it."""
    sampled = said.get("do_sample")
    if sampled is not None and not isinstance(sampled, bool):
        raise TokenizerError(f"{path}: cannot be used: do_sample is {shown(sampled)}, must be true or false")
    try:
        for name, limits in RANGES.items():
            if said.get(name) is not None:
                limits.check(name, said[name])
    except ValueError as error:
        raise TokenizerError(f"{path}: cannot be used: {error}") from error
    drawing = {"temperature": 1.0} | _given(said, _DRAWING) if sampled else {}
    return GenerationDefaults(
        **drawing,
        **_given(said, _PENALTIES),
        stop_tokens=frozenset(ends),
        unused=tuple(_unused(said, sampled=bool(sampled))),
    )


def _given(said: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: said[name] for name in names if said.get(name) is not None}


def _config(directory: Path) -> list[dict[str, Any]]:
    """Returns the objects of config.json that may name end tokens; none if there is no such file."""
    path = directory / "config.json"
    if not there(path, TokenizerError):
        return []
    said = read_object(path, TokenizerError)
    return [said, *(part for name in TEXT_PARTS if isinstance(part := said.get(name), dict))]


def _end_tokens(path: Path, said: Mapping[str, Any], vocabulary: int | None) -> set[int]:
    """Returns the ids under `eos_token_id`. Raises TokenizerError for what is no id of the vocabulary."""
    found = said.get("eos_token_id")
    listed = [] if found is None else found if isinstance(found, list) else [found]
    limit = "at least 0" if vocabulary is None else f"at least 0 and below the vocabulary's {vocabulary}"
    for token in listed:
        whole = isinstance(token, int) and not isinstance(token, bool)
        if not whole or token < 0 or (vocabulary is not None and token >= vocabulary):
            raise TokenizerError(
                f"{path}: cannot be used: eos_token_id holds {shown(token)}, each must be a whole number {limit}"
            )
    return set(listed)


def _unused(said: Mapping[str, Any], *, sampled: bool) -> list[str]:
    """Returns the settings that would change a reply elsewhere and do nothing here, with their values."""
    used = _READ | _HARMLESS | frozenset(_PENALTIES) | (frozenset(_DRAWING) if sampled else frozenset())
    found = []
    for name, value in said.items():
        idle = value in (None, False, [], {}, "") or (name in RANGES and value in RANGES[name].neutral)
        if name not in used and not idle:
            told = name if name.isidentifier() else shown(name)
            found.append(f"{told} {shown(value) if isinstance(value, (int, float)) else f'({named(value)})'}")
    return found


def _counts(size: object) -> bool:
    return isinstance(size, int) and not isinstance(size, bool) and size > 0
