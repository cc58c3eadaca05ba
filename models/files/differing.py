"""How a message tells that a file was made from other inputs: values as they are, hashes in words."""

from __future__ import annotations

import json
from typing import Any

HASHED = "_sha256"  # what the keys of hashes end with
OTHERS = {
    "weights_sha256": "other weights",
    "thinking_sha256": "another thinking format",
    "chat_template_sha256": "another chat template",
    "questions_sha256": "other questions",
    "profile_sha256": "another profile",
    "records_sha256": "other records",
    "synthetic_sha256": "another made model",
    "file_sha256": "another file of arrivals",
}


def told_apart(key: str, theirs: Any, ours: Any, *, holder: str) -> str:
    """Returns in words that a file has `theirs` under a key where `holder` has `ours`; no hash is shown."""
    if key.endswith(HASHED):
        return f"{_other(key)} than {holder} has"
    shown, expected = _shown(theirs), _shown(ours)
    if shown == expected and isinstance(theirs, dict) and isinstance(ours, dict):  # but for a hash in them
        hashed = [name for name in ours if name.endswith(HASHED) and theirs.get(name) != ours[name]]
        return f"{_other(hashed[0] if hashed else key)} for {key} than {holder} has"
    return f"{key} {shown}, {holder} has {expected}"


def _other(key: str) -> str:
    return OTHERS.get(key, f"another {key.removesuffix(HASHED)}")


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        value = {name: each for name, each in value.items() if not name.endswith(HASHED)}
    return json.dumps(value, ensure_ascii=False)[:200]
