"""The models on this machine: the bundled one and those of the hub's cache, and which engine serves each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from engine.inventory import inventory
from engine.registry import refusals
from models.errors import LaserError
from models.hub.cache import CacheContents, CachedModel
from models.hub.name import quant_of
from models.reasoner import bundled_model


@dataclass(frozen=True, slots=True, kw_only=True)
class ShelvedModel:
    """A model on this machine."""

    name: str | None  # what `--model` takes for it; None: the bundled one, which needs no name
    path: Path  # its directory or file
    size: int  # bytes
    stored: str  # number format or quantisation of its weights; "": not known
    engines: tuple[str, ...]  # that serve it here; that which `auto` takes comes first
    why: str = ""  # no engine serves it, in words; "": one does


def shelf(contents: CacheContents) -> list[ShelvedModel]:
    """Returns the bundled model and those in the cache; loads none of them."""
    bundled = bundled_model()
    size = sum(file.stat().st_size for file in bundled.glob("*.safetensors"))
    first = _shelved(None, bundled, size)
    return [first, *(_cached(one) for one in contents.models)]


def _cached(one: CachedModel) -> ShelvedModel:
    if not one.why:
        return _shelved(str(one.name), one.path, one.size)
    return ShelvedModel(name=str(one.name), path=one.path, size=one.size, stored="", engines=(), why=one.why)


def _shelved(name: str | None, path: Path, size: int) -> ShelvedModel:
    refused = refusals(path)
    engines = tuple(kind for kind, why in refused.items() if why is None)
    why = "" if engines else next(iter(refused.values())) or ""
    return ShelvedModel(name=name, path=path, size=size, stored=_stored(path), engines=engines, why=why)


def _stored(path: Path) -> str:
    """Returns how a model's weights are stored; "": its files do not tell."""
    if path.suffix == ".gguf":
        return quant_of(path.name)
    try:
        return inventory(path).stored
    except LaserError:
        return ""
