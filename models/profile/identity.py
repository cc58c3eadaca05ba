"""Which model, with which thinking format, a profile was measured on."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from models.directory import gguf_of
from models.files.envelope import sha256_of
from models.hub.name import called
from models.thinking import ThinkingFormat


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelIdentity:
    """The model and thinking format that a profile was measured on."""

    name: str  # of the model: its directory's, or ORG/NAME of a hub
    weights_sha256: str  # of all its safetensors or GGUF files, by name
    thinking_sha256: str  # of its thinking format


def weights_sha256(directory: Path) -> dict[str, str]:
    """Returns the hash of each file of a model's weights, by name; reads the whole files."""
    found, gguf = {}, gguf_of(directory)
    for file in sorted(directory.glob("*.safetensors")) if gguf is None else gguf.files:
        with file.open("rb") as opened:
            found[file.name] = hashlib.file_digest(opened, "sha256").hexdigest()
    return found


def identify(
    directory: Path, thinking: ThinkingFormat, name: str | None = None, *, files: Mapping[str, str] | None = None
) -> ModelIdentity:
    """The identity of the model in a directory; `name` None: what it is called there.

    `files`: what `weights_sha256` returned; None: it is called.
    """
    weights = hashlib.sha256()
    for file, digest in (weights_sha256(directory) if files is None else files).items():
        weights.update(file.encode() + b"\0" + bytes.fromhex(digest))
    return ModelIdentity(
        name=name or called(directory),
        weights_sha256=weights.hexdigest(),
        thinking_sha256=thinking_sha256(thinking),
    )


LATER: dict[str, Any] = {
    **dict.fromkeys(("also", "seams", "unshown", "switches"), ()),
    **dict.fromkeys(("closing", "effort"), None),
    "unasked": True,
}
"""Keys of a thinking format that came after the first profiles, and the values at which it is what it was."""


def thinking_sha256(thinking: ThinkingFormat) -> str:
    """The hash that identifies a thinking format."""
    said = asdict(thinking)
    for unused in ("conclusions", "family", "tools"):  # no thought is served by them
        del said[unused]
    for uncertified in ("landings", "choice", "boxes"):  # calibration asks for answers in boxes, and uses none of them
        del said[uncertified]
    for later, usual in LATER.items():  # keys that older profiles do not know
        if said[later] == usual:
            del said[later]
    return sha256_of(said)
