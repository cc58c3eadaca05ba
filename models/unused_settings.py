"""The sampling settings of a model's generation_config.json that are not used here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

NEUTRAL: dict[str, tuple[Any, ...]] = {  # settings that are not done, and the values with which nothing is to be done
    "min_p": (0,),
    "top_h": (),
    "typical_p": (1,),
    "epsilon_cutoff": (0,),
    "eta_cutoff": (0,),
    "repetition_penalty": (1,),
    "encoder_repetition_penalty": (1,),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "no_repeat_ngram_size": (0,),
    "encoder_no_repeat_ngram_size": (0,),
    "bad_words_ids": ([],),
    "force_words_ids": ([],),
    "suppress_tokens": ([],),
    "begin_suppress_tokens": ([],),
    "forced_bos_token_id": (),
    "forced_eos_token_id": (),
    "sequence_bias": ({}, []),
    "exponential_decay_length_penalty": (),
    "guidance_scale": (1,),
    "watermarking_config": (),
    "num_beams": (1,),
    "penalty_alpha": (0,),
    "dola_layers": (),
    "token_healing": (False,),
    "stop_strings": ([], ""),
    "min_length": (0,),
    "min_new_tokens": (0,),
    "max_new_tokens": (),
    "max_time": (),
}
DRAWN: dict[str, Any] = {
    "temperature": 1,
    "top_k": 50,
    "top_p": 1,
}  # used with do_sample; at these nothing is asked for


def unused_settings(directory: Path) -> dict[str, Any]:
    """Returns the settings, with their values, that would change replies and are not used; none if the file is bad."""
    try:
        said = json.loads((directory / "generation_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}  # missing, or refused by whoever reads the rest of it
    if not isinstance(said, dict):
        return {}
    given = {name: value for name, value in said.items() if value is not None}
    unused = {name: given[name] for name, usual in NEUTRAL.items() if name in given and given[name] not in usual}
    if not given.get("do_sample"):
        unused |= {name: given[name] for name, usual in DRAWN.items() if name in given and given[name] != usual}
    return unused


def told(unused: dict[str, Any]) -> str:
    """Returns unused settings in one line, each value cut."""
    return ", ".join(f"{name} {_short(value)}" for name, value in unused.items())


def _short(value: Any, limit: int = 40) -> str:
    text = json.dumps(value)
    return text if len(text) <= limit else f"{text[:limit]}…"
