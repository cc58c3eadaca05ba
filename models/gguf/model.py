"""A GGUF file as a model: which files it is made of, and what its metadata say of the network."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from models.files.json_file import shown
from models.gguf.errors import GGUFError
from models.gguf.header import DescribedTensor, GGUFHeader, Value, read_header

SUFFIX = ".gguf"
PROJECTOR = "mmproj"  # how the names of files begin that hold the part of a model that sees or hears
SAFETENSORS = "*.safetensors"
MOST_FILES = 1_000
MOST_NUMBER = 1 << 32  # of a dimension
MOST_LAYERS = 10_000
_PART = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})")
TOLD = 4  # files that an error lists before it counts the others

NO_LANGUAGE_MODEL: Mapping[str, str] = {
    "clip": "the part of a model that sees or hears (mmproj)",
    **dict.fromkeys(
        (
            "bert", "modern-bert", "nomic-bert", "nomic-bert-moe", "neo-bert", "jina-bert-v2", "jina-bert-v3",
            "eurobert", "gemma-embedding", "llama-embed", "t5encoder",
        ),
        "a model of embeddings",
    ),
    **dict.fromkeys(
        ("flux", "sd1", "sdxl", "sd3", "wan", "lumina2", "aura", "hidream", "cosmos", "ltxv", "hyvid", "qwen_image"),
        "a model of images",
    ),
    **dict.fromkeys(("wavtokenizer-dec", "whisper", "qwen3tts", "pockettts"), "a model of sound"),
    **dict.fromkeys(("dream", "llada", "llada-moe", "rnd1"), "a model that writes by diffusion, in no order"),
    **dict.fromkeys(("eagle3", "dflash", "gemma4-assistant"), "a draft for another model"),
    "t5": "a model with an encoder",
}  # fmt: skip
"""Architectures that write no text token by token, and what they are."""
KINDS = {"adapter": "an adapter, which must be merged into a model's weights", "mmproj": NO_LANGUAGE_MODEL["clip"]}
"""Values of general.type that are no model, and what they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GGUFModel:
    """A model of one GGUF file, or of the files that it is split into."""

    path: Path  # of the first file
    parts: tuple[GGUFHeader, ...]

    @property
    def metadata(self) -> Mapping[str, Value]:
        """Every key with its value."""
        return self.parts[0].metadata

    @property
    def tensors(self) -> Iterator[DescribedTensor]:
        """The tensors of all files."""
        return (tensor for part in self.parts for tensor in part.tensors)

    @property
    def bytes(self) -> int:
        """The bytes of all tensors, without what lies between them."""
        return sum(tensor.bytes for tensor in self.tensors)

    @property
    def files(self) -> tuple[Path, ...]:
        """All files, the first one first."""
        return tuple(part.path for part in self.parts)

    @property
    def name(self) -> str:
        """The model's name: its file's, without what tells the parts."""
        return stem_of(self.path)

    @property
    def architecture(self) -> str:
        """The family of networks, as llama.cpp calls it."""
        return self.text("general.architecture") or ""

    @property
    def context(self) -> int:
        """The tokens of a sequence that the model was trained for."""
        return self.number(f"{self.architecture}.context_length", 1)

    @property
    def tokens(self) -> tuple[str, ...]:
        """The text of each token by id, as the vocabulary spells it; an empty one has a name, that of llama.cpp.

        Raises GGUFError if the file has no vocabulary.
        """
        listed = self.metadata.get("tokenizer.ggml.tokens")
        if not isinstance(listed, tuple) or not listed or not isinstance(listed[0], str):
            raise GGUFError(f"{self.path}: holds no vocabulary: tokenizer.ggml.tokens must list the tokens")
        return tuple(str(text) or f"[EMPTY_{number}]" for number, text in enumerate(listed))  # all are of one type

    @property
    def token_types(self) -> tuple[int, ...]:
        """The type of each token by id; all are normal where the file says nothing."""
        key, count = "tokenizer.ggml.token_type", len(self.tokens)
        return self.numbers(key, count) if key in self.metadata else (1,) * count

    def token(self, key: str, count: int) -> int | None:
        """Returns the token id under a key; None: there is none below `count`."""
        number = self.metadata.get(key)
        if isinstance(number, bool) or not isinstance(number, int):
            return None
        return number if 0 <= number < count else None

    def text(self, key: str) -> str | None:
        """Returns the text under a key; None: there is none. Raises GGUFError if the value is none."""
        value = self.metadata.get(key)
        if value is not None and not isinstance(value, str):
            raise GGUFError(f"{self.path}: {key} is {shown(value)}, must be a text")
        return value

    def number(self, key: str, least: int, default: int | None = None, *, most: int = MOST_NUMBER) -> int:
        """Returns the whole number under a key; `default` None: there must be one.

        Raises GGUFError if it is no whole number, missing, below `least` or above `most`.
        """
        value = self.metadata.get(key, default)
        if value is None:
            raise GGUFError(f"{self.path}: is damaged: it lacks {key}")
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise GGUFError(f"{self.path}: {key} is {shown(value)}, must be a whole number in {least}…{most}")
        return value

    @property
    def layers(self) -> int:
        """The number of layers."""
        return self.number(f"{self.architecture}.block_count", 1, most=MOST_LAYERS)

    def numbers(self, key: str, count: int) -> tuple[int, ...]:
        """Returns `count` whole numbers: those listed under a key, or the one there for each.

        Raises GGUFError if the key is missing or holds anything else.
        """
        value = self.metadata.get(key)
        if not isinstance(value, tuple):
            return (self.number(key, 0),) * count
        whole = [each for each in value if isinstance(each, int) and not isinstance(each, bool) and each >= 0]
        if len(whole) != count or len(value) != count:
            raise GGUFError(f"{self.path}: {key} is {shown(value)}, must be {count} whole numbers")
        return tuple(whole)


def stem_of(path: Path) -> str:
    """Returns the name of a GGUF file without its ending and without what tells the parts of a split model."""
    found = _PART.fullmatch(path.stem)
    return found["stem"] if found else path.stem


def find_gguf(model: Path) -> Path | None:
    """Returns the GGUF file that a model's path means: the file there, of whatever kind, or a directory's only one.

    None: the path is a directory of another kind. A directory that holds safetensors is one of these, whatever lies
    beside. Raises GGUFError if it cannot be read, or holds several models in GGUF files.
    """
    try:
        if model.is_file():
            return model
        if not model.is_dir() or any(model.glob(SAFETENSORS)):
            return None
        found = sorted(each for each in model.glob(f"*{SUFFIX}") if not each.name.startswith(PROJECTOR))
    except OSError as error:
        raise GGUFError(f"{model}: cannot be read: {error.strerror}") from error
    first = [each for each in found if (part := _PART.fullmatch(each.stem)) is None or int(part["number"]) == 1]
    if len(first) > 1:
        others = f" and {len(first) - TOLD} more" if len(first) > TOLD else ""
        named = ", ".join(each.name for each in first[:TOLD])
        raise GGUFError(f"{model}: holds {len(first)} models, {named}{others}: give one of the files")
    return next(iter(first or found), None)


def read_model(path: Path) -> GGUFModel:
    """Returns the model in a GGUF file, and in the others that it is split into.

    Raises GGUFError if a file is missing or damaged, or if the model writes no text: an adapter, a projector, and
    models of embeddings, images and sound.
    """
    try:
        about = path.stat()
    except OSError as error:
        raise GGUFError(f"{path}: cannot be read: {error.strerror}") from error
    return _read_model(path, about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns)


@lru_cache(maxsize=2)
def _read_model(path: Path, *_unchanged: int) -> GGUFModel:
    """Reads a model; one that has not changed is read once, since a large vocabulary takes a quarter of a second."""
    first = read_header(path)
    count = first.metadata.get("split.count", 1)
    if not isinstance(count, int) or not 0 <= count <= MOST_FILES:
        raise GGUFError(f"{path}: split.count is {shown(count)}, must be a whole number, at most {MOST_FILES}")
    names = _names(first, count)
    _check_kind(first)
    model = GGUFModel(path=path, parts=(first, *_others(names, count)))
    if not first.tensors and count <= 1:
        raise GGUFError(f"{path}: holds no tensor, only a vocabulary")
    wanted = first.metadata.get("split.tensors.count")
    if count > 1 and wanted != (found := sum(1 for _ in model.tensors)):
        raise GGUFError(f"{path}: split.tensors.count is {shown(wanted)}, the {count} files hold {found}")
    return model


def _check_kind(header: GGUFHeader) -> None:
    """Raises GGUFError for what is no language model."""
    path, kind, name = (
        header.path,
        header.metadata.get("general.type", "model"),
        header.metadata.get("general.architecture"),
    )
    if kind != "model":
        what = KINDS.get(str(kind), f"of general.type {shown(kind)}")
        raise GGUFError(f"{path}: is no model, but {what}")
    if not isinstance(name, str) or not name:
        raise GGUFError(f"{path}: is damaged: general.architecture is {shown(name)}, must name one")
    if name in NO_LANGUAGE_MODEL:
        raise GGUFError(f"{path}: is {NO_LANGUAGE_MODEL[name]} ({name}), must be a language model")


def _names(first: GGUFHeader, count: int) -> list[Path]:
    """Returns the further files of a split model. Raises GGUFError if one is missing, or `first` is not the first."""
    path, number = first.path, first.metadata.get("split.no", 0)
    if count <= 1:
        return []
    named = _PART.fullmatch(path.stem)
    if named is None or int(named["count"]) != count:
        ours = f"NAME-00001-of-{count:05}{SUFFIX}"
        raise GGUFError(f"{path}: is one of {count} parts of a model, must be called {ours}, and the others alike")
    parts = [path.with_name(f"{named['stem']}-{i:05}-of-{count:05}{SUFFIX}") for i in range(1, count + 1)]
    if number != 0 or int(named["number"]) != 1:
        raise GGUFError(f"{path}: is not the first part of a model in {count} files, give {parts[0].name}")
    missing = [part.name for part in parts if not part.is_file()]
    if missing:
        more = f" and {len(missing) - TOLD} more" if len(missing) > TOLD else ""
        raise GGUFError(f"{path}: the model has {count} files, missing: {', '.join(missing[:TOLD])}{more}")
    return parts[1:]


def _others(names: list[Path], count: int) -> Iterator[GGUFHeader]:
    """Reads the further files of a split model. Raises GGUFError if one is not the part that its name says."""
    for i, part in enumerate(names, start=1):
        header = read_header(part)
        if header.metadata.get("split.no") != i or header.metadata.get("split.count") != count:
            raise GGUFError(f"{part}: is not part {i + 1} of {count}, as its name says")
        yield header
