"""Which files of a repository a model is made of: safetensors and what belongs to them, or one GGUF model. Pure.

Neither pickles nor code are ever among them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from functools import partial

from models.directory import INDEX, MOST_BYTES, ONE_FILE, OWN_FORMAT, TEMPLATE, TOKENIZER
from models.errors import LaserError
from models.files.nearest import meant
from models.hub.name import quant_of, stem_of

CONFIG = "config.json"
TEXTS = (*MOST_BYTES, TEMPLATE, OWN_FORMAT, INDEX)
"""The files that are fetched besides safetensors, where they are there."""
PREFERRED = (
    "Q4_K_M", "UD-Q4_K_XL", "Q4_K_S", "Q4_0", "Q4_1", "IQ4_NL", "IQ4_XS", "MXFP4", "MXFP4_MOE", "Q5_K_M", "Q5_K_S",
    "Q6_K", "Q8_0", "F16", "BF16", "F32",
)  # fmt: skip
"""The quantisations of which the first that is there is taken where nobody says which."""
MOST_TOLD = 12  # quantisations that an error lists

_PART = re.compile(r"-(\d{5})-of-(\d{5})\.gguf$", re.IGNORECASE)
_SHARD = re.compile(r"-\d{5}-of-\d{5}\.safetensors$")
_NO_MODEL = re.compile(r"(^|[-._/])(mmproj|imatrix)([-._/]|$)", re.IGNORECASE)  # part of an image model; a measurement
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")


class ChoiceError(LaserError):
    """A repository has no files that make the model asked for; the message goes on from the repository's name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The files of one model."""

    files: tuple[str, ...]  # paths in the repository
    weights: str  # the first GGUF file; "": the weights are safetensors, and the model is their directory
    quant: str = ""  # of the GGUF file; "": safetensors
    note: str = ""  # why this quantisation; "": it was named, or there is one only


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """A GGUF model among others of a repository, of one file or of several parts."""

    quant: str
    stem: str
    files: tuple[str, ...]
    parts: int  # that it must have

    @property
    def complete(self) -> bool:
        """Whether all of its parts are there."""
        return len(self.files) == self.parts


def chosen(files: Collection[str], quant: str | None = None) -> Choice:
    """Returns the files of the model that a repository has, or that of its GGUF files which `quant` names.

    Raises ChoiceError if there is no such model, or several.
    """
    found = variants(files)
    if quant is not None:
        if not found:
            raise ChoiceError(f"has no GGUF files, of which {quant!r} could be one: leave ':{quant}' out")
        return _gguf(_named(found, quant), files, "")
    if _weights(files):
        return _safetensors(files)
    if found:
        return _preferred(found, files)
    raise ChoiceError(_why_none(files))


def all_models(files: Collection[str]) -> list[Choice | ChoiceError]:
    """Returns every model that a repository's files make, and for weights that make none the reason."""
    found: list[Choice | ChoiceError] = []
    if _weights(files):
        found.append(_or_why(partial(_safetensors, files)))
    found += [_or_why(partial(_gguf, one, files, "")) for one in variants(files)]
    return found or [ChoiceError(_why_none(files))]


def _or_why(choose: Callable[[], Choice]) -> Choice | ChoiceError:
    try:
        return choose()
    except ChoiceError as error:
        return error


def variants(files: Iterable[str]) -> list[Variant]:
    """Returns the GGUF models among the files of a repository, by path; parts of a split one are together."""
    groups: dict[str, list[str]] = {}
    for file in sorted(files):
        if file.lower().endswith(".gguf") and not _NO_MODEL.search(stem_of(file)):
            groups.setdefault(stem_of(file), []).append(file)
    found = []
    for stem, group in groups.items():
        part = _PART.search(group[0])
        parts = 1 if part is None else int(part[2])
        found.append(Variant(quant=quant_of(group[0]), stem=stem, files=tuple(group), parts=parts))
    return found


def _named(found: list[Variant], quant: str) -> Variant:
    """Returns the one variant that `quant` names: by its quantisation, by the file's stem, or without its `UD-`."""
    said = quant.lower().removesuffix(".gguf")
    ways: tuple[Callable[[Variant], set[str]], ...] = (
        lambda one: {one.quant.lower()},
        lambda one: {one.stem.lower(), one.stem.lower().rpartition("/")[2]},
        lambda one: {one.quant.lower().removeprefix("ud-")},
    )
    for names in ways:
        those = [one for one in found if said in names(one)]
        if len(those) > 1:
            files = ", ".join(one.stem.rpartition("/")[2] for one in those)
            raise ChoiceError(f"has {len(those)} models in {quant}: name one of them instead of {quant}: {files}")
        if those:
            return those[0]
    known = _quants(found)
    raise ChoiceError(f"has no {quant}, it has {listed(known)}{meant(quant.upper(), known)}")


def _preferred(found: list[Variant], files: Collection[str]) -> Choice:
    """Returns the choice among several quantisations that nobody has made."""
    whole = [one for one in found if one.complete] or found
    if len(whole) == 1:
        return _gguf(whole[0], files, "")
    for quant in PREFERRED:
        those = [one for one in whole if one.quant == quant]
        if len(those) == 1:
            return _gguf(those[0], files, f"{quant}, since no QUANT is given; there are {listed(_quants(found))}")
    raise ChoiceError(f"has several GGUF models: name one, :QUANT, of {listed(_quants(found))}")


def _gguf(one: Variant, files: Collection[str], note: str) -> Choice:
    if not one.complete:
        raise ChoiceError(f"has {len(one.files)} of the {one.parts} parts of {one.stem}.gguf")
    beside = f"{one.stem}.{OWN_FORMAT}"  # where the thinking format of a GGUF file is read
    return Choice(
        files=(*one.files, *([beside] if beside in files else [])), weights=one.files[0], quant=one.quant, note=note
    )


def _quants(found: list[Variant]) -> list[str]:
    """Returns the names by which the variants are told from one another."""
    quants = [one.quant for one in found]
    return [one.quant if quants.count(one.quant) == 1 else one.stem.rpartition("/")[2] for one in found]


def _weights(files: Collection[str]) -> tuple[str, ...]:
    """Returns the safetensors files of a model that engines read; (): there is none."""
    flat = sorted(file for file in files if file.endswith(".safetensors") and "/" not in file)
    if INDEX in files:
        shards = [file for file in flat if _SHARD.search(file) and not file.startswith("consolidated")]
        return tuple(shards or [file for file in flat if not file.startswith(("consolidated", "adapter_"))])
    return (ONE_FILE,) if ONE_FILE in flat else ()


def _safetensors(files: Collection[str]) -> Choice:
    missing = [name for name in (CONFIG, TOKENIZER) if name not in files]
    if missing:
        raise ChoiceError(f"has no {' and no '.join(missing)}, which a model in safetensors needs here")
    return Choice(files=(*(name for name in TEXTS if name in files), *_weights(files)), weights="")


def _why_none(files: Collection[str]) -> str:
    """Returns why a repository has no weights that are read here."""
    if any(file.startswith("adapter_model.") for file in files):
        return "holds an adapter, which must be merged into the weights of its model"
    pickles = sorted(file for file in files if file.endswith(_PICKLES))
    if pickles:
        return f"has weights as pickles only ({pickles[0]}), which may run code: safetensors or GGUF is needed"
    others = sorted(file for file in files if file.endswith((".safetensors", ".gguf")))
    seen = f"; of such files it has {listed(others)}" if others else ""
    return f"has no weights that are read here, {ONE_FILE}, {INDEX} or a .gguf file{seen}"


def listed(names: Collection[str]) -> str:
    """Returns names as a list, the first MOST_TOLD of them."""
    first = list(names)[:MOST_TOLD]
    return ", ".join(first) + (f" and {len(names) - MOST_TOLD} more" if len(names) > MOST_TOLD else "")
