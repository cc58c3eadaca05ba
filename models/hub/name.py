"""The name of a model on a hub, ORG/NAME[:QUANT][@REVISION], and the name that a path of the hub's cache stands for."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from models.files.strict_yaml import ByName

FORM = "ORG/NAME[:QUANT][@REVISION]"
LONGEST = 96  # characters of ORG/NAME

_PART = r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?"
_NAME = re.compile(
    rf"(?P<repository>{_PART}/{_PART})(?::(?P<quant>[A-Za-z0-9_.-]+))?(?:@(?P<revision>[A-Za-z0-9_./-]+))?"
)
_SPLIT = re.compile(r"-\d{5}-of-\d{5}$")
_LABEL = re.compile(
    r"(?:^|[-._/])((?:UD-)?(?:I?Q\d+(?:_[0-9A-Z]+)*|TQ\d(?:_\d+)?|MXFP4(?:_MOE)?|NVFP4|B?F16|FP16|F32|FP32))(?=$|[-._/])",
    re.IGNORECASE,
)

FOLDER = "models--"  # how a hub's cache calls a model's folder: models--ORG--NAME
_SNAPSHOTS = "snapshots"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelName:
    """What ORG/NAME[:QUANT][@REVISION] says."""

    repository: str  # ORG/NAME
    quant: str | None = None  # which GGUF file of the repository; None: not said
    revision: str | None = None  # branch, tag or commit; None: the repository's default branch

    def __str__(self) -> str:
        quant = "" if self.quant is None else f":{self.quant}"
        return f"{self.repository}{quant}{'' if self.revision is None else f'@{self.revision}'}"


def read_name(said: str) -> ModelName | None:
    """Returns the name that a text is; None: it has not the form of one, as most paths have not."""
    found = _NAME.fullmatch(said)
    if found is None:
        return None
    repository, revision = found["repository"], found["revision"]
    if len(repository) > LONGEST or "--" in repository or ".." in repository or repository.endswith(".git"):
        return None
    if repository.lower().endswith(".gguf"):  # a file that is not there
        return None
    if revision is not None and (".." in revision or revision.startswith("/")):
        return None
    return ModelName(repository=repository, quant=found["quant"], revision=revision)


def model_path(said: str, folder: Path) -> Path:
    """Returns the path that a file in `folder` means by a model: a path from there, or a name as it stands."""
    path = folder / said
    if not os.path.lexists(path) and read_name(said) is not None:
        return Path(said)
    return path if read_name(path.as_posix()) is None else path.absolute()  # folder/said may look like a name, too


ModelPath = Annotated[Path, ByName(find=model_path)]
"""As the type of a field, it makes the strict reader accept a model's name there, and paths as ever."""


def called(model: Path) -> str:
    """Returns what a model is called: ORG/NAME in a hub's cache, with :QUANT for a GGUF file; else the path's name."""
    path = Path(os.path.abspath(model))  # a link is not followed: in the cache it leads to a file called by its hash
    parts = path.parts
    for place, part in enumerate(parts[:-1]):
        if part.startswith(FOLDER) and parts[place + 1] == _SNAPSHOTS and len(parts) > place + 2:
            repository = repository_of(part)
            within = "/".join(parts[place + 3 :])
            return f"{repository}:{quant_of(within)}" if within.lower().endswith(".gguf") else repository
    return path.name


def repository_of(folder: str) -> str:
    """Returns the repository, ORG/NAME, of a folder's name in a hub's cache."""
    return folder.removeprefix(FOLDER).replace("--", "/", 1)


def stem_of(file: str) -> str:
    """Returns the path of a GGUF file without its ending and without the number of its part."""
    return _SPLIT.sub("", file[: -len(".gguf")] if file.lower().endswith(".gguf") else file)


def quant_of(file: str) -> str:
    """Returns the quantisation that a GGUF file's path names, in capitals; its stem, where it names none."""
    stem = stem_of(file)
    base = stem.rpartition("/")[2]
    labels = _LABEL.findall(base) or _LABEL.findall(stem)
    return labels[-1].upper() if labels else base
