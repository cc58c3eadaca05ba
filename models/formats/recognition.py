"""Which thinking format a model has: the one named, the one beside it, its family's, else what its texts say."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from models.directory import MOST_BYTES, gguf_of
from models.files.json_file import read_object
from models.files.strict_yaml import ConfigError, read
from models.formats.form import FamilySigns, ThinkingFormat
from models.hub.name import called
from models.thinking import format_file, format_names, format_source, read_format

PLAIN = "plain"
USUAL = ThinkingFormat()  # as configs/models/default.yaml says it
CONFIG = "config.json"
ARCHITECTURE = "general.architecture"  # keys of a GGUF file
NAMES = "general.name", "general.basename", "general.finetune", "general.base_model.0.name"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSigns:
    """What a model's files say of its family, in plain texts."""

    types: tuple[str, ...] = ()  # model_type and architectures of config.json, general.architecture of a GGUF file
    names: tuple[str, ...] = ()  # the directory's or the file's, and those in the metadata
    template: str = ""  # the chat template; empty: there is none
    tokens: Collection[str] = ()  # the vocabulary's texts


@dataclass(frozen=True, slots=True, kw_only=True)
class FormatChoice:
    """A thinking format, and in words how it was come by."""

    form: ThinkingFormat
    source: str
    name: str | None = None  # of `format_names`; None: it is no shipped one


def choose_format(model: Path, override: Path | None, signs: Callable[[], ModelSigns]) -> FormatChoice:
    """Returns the format `override`, a file or a name; else the model's `laser.yaml`; else what the signs say.

    Raises ConfigError if there is no such format, or its file is at fault.
    """
    form = read_format(model, override)
    if form is not None:
        return FormatChoice(form=form, source=format_source(model, override))
    return recognise(signs())


def recognise(signs: ModelSigns) -> FormatChoice:
    """Returns the format of the family that the signs tell, of several the one that more or longer signs tell.

    If no family is told: the usual format, if the chat template or the vocabulary has its markers; else the plain one.
    """
    told = {name: why for name, form in _families().items() if (why := _told(form.family, signs))}
    if told:
        name = max(told, key=lambda each: (len(told[each]), *_weight(each), each))
        return FormatChoice(form=_families()[name], source=f"{name}, told by {' and '.join(told[name])}", name=name)
    marks = USUAL.open, USUAL.closers[0]
    if all(mark in signs.template for mark in marks) or all(mark in signs.tokens for mark in marks):
        return FormatChoice(form=USUAL, source="the default, since none is named")
    both = " and ".join(marks)
    source = f"{PLAIN}: no family is told by its files, and neither chat template nor vocabulary has {both}"
    return FormatChoice(form=_plain(), source=source, name=PLAIN)


def doubt(form: ThinkingFormat, signs: ModelSigns) -> str:
    """Returns in words why a model may not write a format's closing marker; "": nothing speaks against it."""
    if form.plain or form.in_the_open or any(one in signs.template or one in signs.tokens for one in form.closers):
        return ""
    markers = " or ".join(form.closers)
    return f"neither chat template nor vocabulary has {markers}: a model that never writes it thinks until its budget"


def signs_of(model: Path, template: str | None, tokens: Collection[str]) -> ModelSigns:
    """Returns what a model's directory or GGUF file says.

    `template` None: there is no chat template. Raises ConfigError if config.json cannot be read, GGUFError if a value
    of the file is no text.
    """
    gguf = gguf_of(model)
    if gguf is not None:
        types: tuple[object, ...] = (gguf.text(ARCHITECTURE),)
        names: tuple[object, ...] = (called(model), gguf.name, *(gguf.text(key) for key in NAMES))
    else:
        file = model / CONFIG
        said = read_object(file, ConfigError, most_bytes=MOST_BYTES[CONFIG]) if file.is_file() else {}
        architectures = said.get("architectures")
        types = (said.get("model_type"), *(architectures if isinstance(architectures, list) else ()))
        names = (called(model.resolve()), said.get("_name_or_path"))
    return ModelSigns(
        types=tuple(each for each in types if isinstance(each, str)),
        names=tuple(each for each in names if isinstance(each, str) and each),
        template=template or "",
        tokens=tokens,
    )


@cache
def _families() -> dict[str, ThinkingFormat]:
    """The shipped formats that a family is recognised for, by name."""
    return {name: form for name in format_names() if (form := read(format_file(name), ThinkingFormat)).family}


@cache
def _plain() -> ThinkingFormat:
    return read(format_file(PLAIN), ThinkingFormat)


def _told(family: FamilySigns | None, signs: ModelSigns) -> tuple[str, ...]:
    """Returns the signs that hold, in words; none if one does not."""
    if family is None:
        return ()
    why = []
    if family.types:
        found = next((each for each in signs.types if _bare(each) in map(_bare, family.types)), None)
        if found is None:
            return ()
        why.append(f"its type {found}")
    if family.names:
        found = next((each for each in signs.names if any(_bare(name) in _bare(each) for name in family.names)), None)
        if found is None:
            return ()
        why.append(f"its name {Path(found).name}")
    if family.template:
        if not all(text in signs.template for text in family.template):
            return ()
        why.append("its chat template")
    return tuple(why)


def _weight(name: str) -> tuple[bool, int]:
    """Returns what counts between families of as many signs: whether a name is one, and how long the template's are."""
    family = _families()[name].family
    return (False, 0) if family is None else (bool(family.names), sum(map(len, family.template)))


def _bare(name: str) -> str:
    """Returns a name as all writers of it agree: its letters and digits, in small ones."""
    return re.sub(r"[\W_]+", "", name).casefold()
