"""What the hub's cache on this machine holds, without asking anybody."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import scan_cache_dir
from huggingface_hub.errors import CacheNotFound

from models.hub.files import Choice, ChoiceError, all_models
from models.hub.name import ModelName, read_name

DEFAULT = "main"  # the revision of a name that says none


@dataclass(frozen=True, slots=True, kw_only=True)
class CachedModel:
    """A model in the cache, or what the cache holds of one."""

    name: ModelName  # by which `--model` finds it
    path: Path  # the directory of its revision, or its first GGUF file
    size: int  # bytes
    why: str = ""  # it cannot be used as it is; "": it is whole


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheContents:
    """All models of a cache."""

    place: Path
    models: tuple[CachedModel, ...]  # by name
    unfinished: int = 0  # bytes of files that have come in part


def cache_contents(place: Path) -> CacheContents:
    """Returns what the cache at `place` holds; nothing, if there is no cache."""
    try:
        found = scan_cache_dir(place)
    except (CacheNotFound, ValueError):
        return CacheContents(place=place, models=())
    models: list[CachedModel] = []
    for repository in found.repos:
        if repository.repo_type != "model" or read_name(repository.repo_id) is None:  # the first models had no ORG
            continue
        for revision in repository.revisions:
            files = {
                file.file_path.relative_to(revision.snapshot_path).as_posix(): file.size_on_disk
                for file in revision.files
            }
            called = _called(revision.refs, revision.commit_hash)
            models += _models(repository.repo_id, called, revision.snapshot_path, files)
    return CacheContents(
        place=place,
        models=tuple(sorted(models, key=lambda one: str(one.name).lower())),
        unfinished=sum(file.size_on_disk for file in found.incomplete_files),
    )


def _called(refs: frozenset[str], commit: str) -> str | None:
    """Returns the revision by which a name finds a commit; None: a name that says none does."""
    return None if DEFAULT in refs else min(refs, default=commit)


def _models(repository: str, revision: str | None, directory: Path, files: dict[str, int]) -> Iterator[CachedModel]:
    """Yields the models that the files of a revision, with their sizes, make."""
    for one in all_models(files):
        match one:
            case Choice():
                yield CachedModel(
                    name=ModelName(repository=repository, quant=one.quant or None, revision=revision),
                    path=directory / one.weights,
                    size=sum(files[file] for file in one.files),
                )
            case ChoiceError():
                name = ModelName(repository=repository, revision=revision)
                yield CachedModel(name=name, path=directory, size=sum(files.values()), why=f"{name} {one}")
