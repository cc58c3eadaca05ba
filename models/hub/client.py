"""A hub of models and its cache on this machine, through huggingface_hub: what a repository holds, and its files."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from huggingface_hub import HfApi, constants, get_token, hf_hub_download
from huggingface_hub.errors import LocalEntryNotFoundError, RevisionResolutionError
from huggingface_hub.file_download import repo_folder_name
from huggingface_hub.utils import WeakFileLock, build_hf_headers  # type: ignore[attr-defined]  # exported lazily

from models.hub.name import FOLDER, ModelName, repository_of
from models.hub.problems import FORBIDDEN, FULL, HubError, UnreachableError, disk_trouble, told_as
from models.hub.sizes import in_bytes
from models.hub.transfer import HubFile, Patience, Transfer, held

T = TypeVar("T")

COMMIT = re.compile(r"[0-9a-f]{40}")
_CREDENTIALS = re.compile("//[^/]*@")  # of an address, which messages leave out

ANSWER_S = 10.0  # for the hub to begin an answer
LIBRARY = "laser"  # what the hub is told that asks
SPARE = 64 << 20  # bytes that must stay free on the cache's disk


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """What a repository holds at one commit."""

    commit: str
    files: Mapping[str, HubFile]  # by path


def cache_folder() -> Path:
    """Returns where the hub's files are kept on this machine, as HF_HUB_CACHE or HF_HOME says."""
    return Path(constants.HF_HUB_CACHE).expanduser().resolve()


class Hub:
    """A hub and its cache."""

    def __init__(
        self,
        *,
        endpoint: str | None = None,
        cache: Path | None = None,
        offline: bool | None = None,
        patience: Patience | None = None,
    ) -> None:
        """None: as the environment says, by HF_ENDPOINT, HF_HOME or HF_HUB_CACHE, and HF_HUB_OFFLINE.

        Raises HubError for a token that no request can carry.
        """
        self.endpoint = endpoint or constants.ENDPOINT
        self._shown = _CREDENTIALS.sub("//", self.endpoint)
        self.cache = cache_folder() if cache is None else cache
        self.offline = constants.is_offline_mode() if offline is None else offline
        self.patience = patience or Patience()
        self._token = None if constants.HF_HUB_DISABLE_IMPLICIT_TOKEN else _checked(get_token())
        self._api = HfApi(endpoint=self.endpoint, token=self._token or False, library_name=LIBRARY)

    def listing(self, name: ModelName) -> Listing:
        """Asks the hub what a repository holds. Raises HubError, UnreachableError if that may be otherwise later."""
        if self.offline:
            raise UnreachableError("HF_HUB_OFFLINE is set")
        try:
            found = self._api.model_info(name.repository, revision=name.revision, timeout=ANSWER_S, files_metadata=True)
            if found.siblings is None or not COMMIT.fullmatch(found.sha or ""):
                raise ValueError("it lists no files of a commit")
            files = {
                one.rfilename: HubFile(
                    path=one.rfilename,
                    size=-1 if one.size is None else one.size,
                    digest=one.lfs.sha256 if one.lfs is not None else one.blob_id or "",
                )
                for one in found.siblings
            }
        except Exception as error:  # whatever a server that is no hub answers
            raise told_as(error, name, self._shown, self._token) from None  # its text may hold the token
        return Listing(commit=str(found.sha), files=files)

    def directory(self, name: ModelName, commit: str) -> Path:
        """Returns the directory that shows a commit's files by their paths, whether it is there or not."""
        return self._folder(name) / "snapshots" / commit

    def snapshots(self, name: ModelName) -> list[Path]:
        """Returns the directories that may hold a model, whole or not: first what the revision stands for.

        Where no revision is asked for, others follow, the newest first.
        """
        commit = self._known(name)
        first = [] if commit is None else [self.directory(name, commit)]
        others: list[Path] = []
        if name.revision is None:
            folder = self._folder(name) / "snapshots"
            there = [path for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []
            others = sorted(there, key=lambda path: path.stat().st_mtime, reverse=True)
        return [path for path in dict.fromkeys([*first, *others]) if path.is_dir()]

    def repositories(self) -> list[str]:
        """Returns the repositories of models that the cache holds something of."""
        found = sorted(self.cache.glob(f"{FOLDER}*")) if self.cache.is_dir() else []
        return [repository_of(path.name) for path in found]

    def _blob(self, name: ModelName, file: HubFile) -> Path:
        """Returns the path in the cache of a file's content, whether it is there or not."""
        return self._folder(name) / "blobs" / file.digest

    def missing(self, name: ModelName, files: Sequence[HubFile]) -> int:
        """Returns the bytes of files that are not in the cache yet."""
        return sum(file.size - held(self._blob(name, file), file) for file in files)

    def check_room(self, name: ModelName, size: int) -> None:
        """Raises HubError if the cache's disk has no room for `size` bytes more."""
        place = next(folder for folder in (self.cache, *self.cache.parents) if folder.exists())
        free = shutil.disk_usage(place).free
        if size + SPARE > free:
            raise HubError(
                f"{name} takes {in_bytes(size)} more on the disk of {self.cache}, which has {in_bytes(free)} left: "
                "make room, or set HF_HOME to a folder on another disk"
            )

    def fetch(
        self,
        name: ModelName,
        commit: str,
        files: Sequence[HubFile],
        advance: Callable[[int], None],
        note: Callable[[str], None],
    ) -> Path:
        """Brings files of a commit into the cache, and returns the directory that shows them by their paths.

        Calls `advance` with the bytes that have come, `note` with a line for what is tried again. Raises HubError.
        """
        transfer = Transfer(
            name=name,
            commit=commit,
            endpoint=self.endpoint,
            shown=self._shown,
            token=self._token,
            headers=build_hf_headers(token=self._token or False, library_name=LIBRARY),
            cache=self.cache,
            patience=self.patience,
            advance=advance,
            note=note,
        )
        try:
            for file in files:
                blob = self._blob(name, file)
                lock = self.cache / ".locks" / self._folder(name).name / f"{file.digest}.lock"
                lock.parent.mkdir(parents=True, exist_ok=True)
                with WeakFileLock(lock):
                    if not file.complete(blob):
                        blob.unlink(missing_ok=True)
                        transfer.bring(file, blob)
                self._patiently(name, partial(self._link, name, commit, file))
            self.remember(name, commit)
        except OSError as error:
            raise disk_trouble(error, name, self.cache) from error
        return self.directory(name, commit)

    def remember(self, name: ModelName, commit: str) -> None:
        """Notes in the cache which commit a branch or tag stands for, so that it is found without the hub."""
        if self._known(name) != commit:
            self._patiently(
                name,
                partial(self._api.resolve_revision, name.repository, revision=name.revision, cache_dir=self.cache),
            )

    def listed(self, name: ModelName) -> Listing:
        """Returns the listing of a repository as `listing`, and asks again while the hub fails."""
        return self._patiently(name, partial(self.listing, name))

    def _patiently(self, name: ModelName, call: Callable[[], T]) -> T:
        """Calls until the call succeeds or patience ends. Raises HubError."""
        tries = 0
        while True:
            try:
                return call()
            except Exception as error:  # whatever a server that is no hub answers
                if isinstance(error, OSError) and error.errno in FULL | FORBIDDEN:  # of the cache's disk
                    raise disk_trouble(error, name, self.cache) from error
                problem = told_as(error, name, self._shown, self._token)
            tries += 1
            if self.offline or not self.patience.wait(tries, problem):
                raise problem

    def _link(self, name: ModelName, commit: str, file: HubFile) -> None:
        """Shows a file's content, which the cache holds, under its path in the snapshot of a commit."""
        try:
            hf_hub_download(
                name.repository,
                file.path,
                revision=commit,
                endpoint=self.endpoint,
                cache_dir=self.cache,
                token=self._token or False,
                library_name=LIBRARY,
            )
        except LocalEntryNotFoundError as error:
            raise (error.__cause__ if isinstance(error.__cause__, Exception) else error) from None

    def _known(self, name: ModelName) -> str | None:
        """Returns the commit that a revision stood for when the hub was asked last; None: it never was."""
        try:
            found = self._api.resolve_revision(
                name.repository, revision=name.revision, cache_dir=self.cache, local_files_only=True
            )
        except RevisionResolutionError:
            return None
        return found.resolved

    def _folder(self, name: ModelName) -> Path:
        return self.cache / repo_folder_name(repo_id=name.repository, repo_type="model")


def _checked(token: str | None) -> str | None:
    """Returns a token. Raises HubError for one that no request can carry; its characters are not told."""
    if token is not None and not (token.isascii() and token.isprintable() and " " not in token):
        raise HubError("the token in HF_TOKEN, or that of `hf auth login`, holds characters that no token has")
    return token
