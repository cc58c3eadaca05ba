"""What a GGUF file says of decoding, in the words of generation_config.json."""

from __future__ import annotations

import json
from typing import Any

from models.files.json_file import named
from models.gguf.ends import end_tokens
from models.gguf.keys import GENERATION
from models.gguf.model import GGUFModel

PREFIX = "general.sampling."
NAMES = {"temp": "temperature", "penalty_repeat": "repetition_penalty"}  # of keys that are called otherwise there
IDLE = frozenset({"sequence", "penalty_last_n", "mirostat_tau", "mirostat_eta", "xtc_threshold"})
"""Keys that change nothing by themselves."""
DIGITS = 6  # of a number that the file stores in 32 bits


def sampling(model: GGUFModel, error: type[Exception]) -> dict[str, Any]:
    """Returns what the file says of sampling, and its end tokens under `eos_token_id`.

    A file that LASER has written carries generation_config.json itself; in others it is keys of GGUF's standard.
    Raises GGUFError if the file has no vocabulary, `error` if what it carries is no JSON object.
    """
    carried = model.text(GENERATION)
    if carried is not None:
        try:
            said = json.loads(carried)
        except (ValueError, RecursionError) as problem:
            raise error(f"{model.path}: {GENERATION} is not JSON: {problem}") from problem
        if not isinstance(said, dict):
            raise error(f"{model.path}: {GENERATION} is {named(said)}, must be a JSON object")
        return said
    found: dict[str, Any] = {}
    for key, value in model.metadata.items():
        name = key.removeprefix(PREFIX)
        if key.startswith(PREFIX) and name not in IDLE:
            found[NAMES.get(name, name)] = round(value, DIGITS) if isinstance(value, float) else value
    ends = sorted(end_tokens(model))
    return {"do_sample": True, **found, "eos_token_id": ends} if found else {"eos_token_id": ends}
