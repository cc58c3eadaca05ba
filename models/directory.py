"""The files of a model directory: each that is there must be a file that can be read, before a library reads it.

A model may also be one GGUF file, whose further files lie beside it: NAME.gguf, NAME.profile.json, NAME.laser.yaml.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from models.files.json_file import read_object, read_plain, shown
from models.gguf.model import GGUFModel, find_gguf, read_model, stem_of

TOKENIZER = "tokenizer.json"
MOST_BYTES = {
    "config.json": 16 << 20,
    "generation_config.json": 4 << 20,
    "tokenizer_config.json": 64 << 20,
    "special_tokens_map.json": 16 << 20,
    "added_tokens.json": 16 << 20,
    TOKENIZER: 512 << 20,  # the largest that are public have 35 MB
    "chat_template.json": 4 << 20,
}
"""The JSON objects that libraries read of a model directory besides the weights' index, and the most bytes of each."""
MOST_TOKENS = 1 << 24  # of a vocabulary; a table has a row for every id up to the highest
TEMPLATE = "chat_template.jinja"
TEMPLATE_BYTES = 4 << 20
OWN_FORMAT = "laser.yaml"
ELSE = OWN_FORMAT, "profile.json"  # read by readers of their own, where they are files


def gguf_of(model: Path) -> GGUFModel | None:
    """Returns the GGUF model that a path means: such a file, or a directory's only one; None: safetensors are meant.

    Raises GGUFError if the file is damaged or no language model, or if a directory holds several.
    """
    file = find_gguf(model)
    return None if file is None else read_model(file)


def beside(model: Path, name: str) -> Path:
    """Returns where the file `name` of a model lies: in the model's directory, or beside its one file."""
    return model / name if model.is_dir() else model.with_name(f"{stem_of(model)}.{name}")


def check_place(model: Path, error: type[Exception]) -> None:
    """Raises `error` if there is neither a directory nor a file at a model's path."""
    if not model.is_dir() and not model.is_file():
        raise error(f"{model}: is not a directory or a GGUF file")


def check_directory(directory: Path, error: type[Exception]) -> None:
    """Raises `error`, naming the file, if a file that is read of a model directory is there and cannot be read."""
    for name, most_bytes in MOST_BYTES.items():
        if there(directory / name, error):
            said = read_object(directory / name, error, most_bytes=most_bytes)
            if name == TOKENIZER:
                _check_ids(directory / name, said, error)
    if there(directory / TEMPLATE, error):
        read_plain(directory / TEMPLATE, error, most_bytes=TEMPLATE_BYTES)
    for name in ELSE:
        there(directory / name, error)


def _check_ids(path: Path, said: Mapping[str, Any], error: type[Exception]) -> None:
    """Raises `error` for an id of a token that no vocabulary reaches; what is no id at all, tokenizers tells."""
    model, added = said.get("model"), said.get("added_tokens")
    vocabulary = model.get("vocab") if isinstance(model, dict) else None
    ids = list(vocabulary.values()) if isinstance(vocabulary, dict) else []
    ids += [token.get("id") for token in added if isinstance(token, dict)] if isinstance(added, list) else []
    highest = max((each for each in ids if isinstance(each, int)), default=0)
    if highest >= MOST_TOKENS:
        raise error(f"{path}: a token has the id {shown(highest)}, must be below {MOST_TOKENS}")


def there(path: Path, error: type[Exception]) -> bool:
    """Returns whether a file stands at `path`. Raises `error` if something else does: a directory, a broken link."""
    try:
        if path.is_file():
            return True
        if path.is_dir():
            raise error(f"{path}: is a directory, must be a file")
        if path.exists():
            raise error(f"{path}: is no regular file")
        if path.is_symlink():
            raise error(f"{path}: is a link to what is not there, {path.readlink()}")
    except OSError as problem:
        raise error(f"{path}: cannot be read: {problem.strerror}") from problem
    return False
