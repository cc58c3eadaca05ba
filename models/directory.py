"""The files of a model directory: each that is there must be a file that can be read, before a library reads it."""

from __future__ import annotations

from pathlib import Path

from models.files.json_file import read_object, read_plain

MOST_BYTES = {
    "config.json": 16 << 20,
    "generation_config.json": 4 << 20,
    "tokenizer_config.json": 64 << 20,
    "special_tokens_map.json": 16 << 20,
    "added_tokens.json": 16 << 20,
    "tokenizer.json": 512 << 20,  # the largest that are public have 35 MB
    "chat_template.json": 4 << 20,
}
"""The JSON objects that libraries read of a model directory besides the weights' index, and the most bytes of each."""
TEMPLATE = "chat_template.jinja"
ELSE = "laser.yaml", "profile.json"  # read by readers of their own, where they are files


def check_directory(directory: Path, error: type[Exception]) -> None:
    """Raises `error`, naming the file, if a file that is read of a model directory is there and cannot be read."""
    for name, most_bytes in MOST_BYTES.items():
        if there(directory / name, error):
            read_object(directory / name, error, most_bytes=most_bytes)
    if there(directory / TEMPLATE, error):
        read_plain(directory / TEMPLATE, error, most_bytes=4 << 20)
    for name in ELSE:
        there(directory / name, error)


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
