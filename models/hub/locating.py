"""From the name of a model to its files on this machine: those in the cache, those that are missing, and why."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from models.directory import INDEX
from models.files.json_file import read_object
from models.files.nearest import meant, nearest
from models.hub.client import COMMIT, Hub, Listing
from models.hub.files import Choice, ChoiceError, chosen, listed
from models.hub.name import FORM, ModelName
from models.hub.problems import HubError, UnknownModelError, UnreachableError
from models.hub.sizes import in_bytes
from models.hub.transfer import HubFile

Note = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Located:
    """Where a model is on this machine, or what is to be fetched for it."""

    name: ModelName
    choice: Choice
    commit: str
    directory: Path | None  # None: some of the files are missing
    files: tuple[HubFile, ...] = ()  # of the model, where some are missing
    missing: int = 0  # bytes that are to be fetched
    instead: Located | None = None  # what the cache holds whole, of another commit; None: nothing

    @property
    def size(self) -> int:
        """The bytes of all files, where some are missing."""
        return sum(file.size for file in self.files)

    @property
    def path(self) -> Path:
        """The model: its directory, or the first file of a GGUF model."""
        assert self.directory is not None, "what is missing is fetched first"
        return self.directory / self.choice.weights


def locate(name: ModelName, hub: Hub, note: Note) -> Located:
    """Finds a model by its name; asks the hub, unless the cache holds the very commit that is asked for.

    Where the hub does not answer or refuses, what the cache holds serves, and `note` is told. Raises HubError.
    """
    cached, why = _cached(name, hub)
    if cached is not None and name.revision is not None and COMMIT.fullmatch(name.revision):
        return cached
    try:
        listing = hub.listing(name) if cached is not None or hub.offline else hub.listed(name)
    except HubError as error:
        if cached is None:
            raise _told(error, name, hub, why) from error
        return _serving(cached, error, note)
    try:
        found = _listed(name, hub, listing, note)
    except HubError as error:
        if cached is None:
            raise
        return _serving(cached, error, note)
    return replace(found, instead=cached) if found.directory is None else found


def no_model(path: Path, hub: Hub) -> HubError:
    """Returns the error of a path that does not exist and is no name of a model, with the name that is most like it."""
    known = {repository.rpartition("/")[2].lower(): repository for repository in hub.repositories()}
    close = nearest(path.name.lower(), known)
    like = "" if close is None else f"; did you mean `{known[close]}`?"
    return HubError(f"{path}: is neither a path that exists nor a model's name, {FORM}{like}")


def fetch(located: Located, hub: Hub, advance: Callable[[int], None], note: Note) -> Located:
    """Fetches what is missing of a model; if that fails, what the cache holds of another commit serves.

    Calls `advance` with the bytes that have come. Raises HubError.
    """
    try:
        directory = hub.fetch(located.name, located.commit, located.files, advance, note)
    except HubError as error:
        if located.instead is None:
            raise
        return _serving(located.instead, error, note)
    return replace(located, directory=directory)


def _serving(cached: Located, error: HubError, note: Note) -> Located:
    """Returns what the cache holds, and tells why that serves."""
    since = time.strftime("%Y-%m-%d", time.localtime(cached.path.stat().st_mtime))
    why = str(error).removeprefix(f"{cached.name}: ")
    note(f"{cached.name}: {why}: what the cache holds serves, revision {cached.commit[:8]} of {since}")
    return cached


def _listed(name: ModelName, hub: Hub, listing: Listing, note: Note) -> Located:
    """Returns what a model is made of by the hub's listing."""
    try:
        choice = chosen(listing.files, name.quant)
    except ChoiceError as error:
        raise HubError(f"{name} {error}") from error
    if choice.note:
        note(f"{name}: {choice.note}")
    directory = hub.directory(name, listing.commit)
    files = tuple(listing.files[path] for path in choice.files)
    for file in files:
        if not file.within:
            raise HubError(f"{name}: the hub lists {file.path!r}, which is no path within a repository")
        if not file.whole:
            raise HubError(f"{name}: the hub lists {file.path} without size and hash")
    if all(file.complete(directory / file.path) for file in files):
        with suppress(HubError):  # the model is here
            hub.remember(name, listing.commit)
        return Located(name=name, choice=choice, commit=listing.commit, directory=directory)
    missing = hub.missing(name, files)
    hub.check_room(name, missing)
    of = "" if missing == sum(file.size for file in files) else f", {in_bytes(missing)} of them missing"
    what = f"{len(files)} file{'s' * (len(files) != 1)}, {in_bytes(sum(file.size for file in files))}"
    note(f"{name}: revision {listing.commit[:8]}, {what}{of}; they go to {hub.cache}")
    return Located(name=name, choice=choice, commit=listing.commit, directory=None, files=files, missing=missing)


def _cached(name: ModelName, hub: Hub) -> tuple[Located | None, str]:
    """Returns the model as the cache holds it whole; else None, and what is wrong with what it holds."""
    why = ""
    for directory in hub.snapshots(name):
        files = {path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file()}
        try:
            choice = chosen(files, name.quant)
        except ChoiceError as error:
            why = why or f"what the cache holds of it {error}"
            continue
        absent = _absent(directory, files)
        if choice.weights or not absent:
            return Located(name=name, choice=choice, commit=directory.name, directory=directory), ""
        why = why or f"what the cache holds of it lacks {listed(absent)}"
    return None, why


def _absent(directory: Path, files: set[str]) -> list[str]:
    """Returns the safetensors files that the index of a directory names and that are not there."""
    if INDEX not in files:
        return []
    places = read_object(directory / INDEX, HubError).get("weight_map")
    return sorted(set(places.values()) - files) if isinstance(places, dict) else []


def _told(error: HubError, name: ModelName, hub: Hub, why: str) -> HubError:
    """Returns the error of a model that the cache does not hold, with what may have been meant."""
    known = hub.repositories()
    like = "" if name.repository in known else meant(name.repository, known)
    if isinstance(error, UnreachableError):
        held = why or "the cache does not hold it, nor is there such a path"
        return UnreachableError(f"{name}: {error}, and {held}{like}")
    if isinstance(error, UnknownModelError):
        return UnknownModelError(f"{error}; nor is there a path {name}{like}")
    return error
