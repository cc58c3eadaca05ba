"""What can go wrong between a hub and its cache, as one line that says what to do. A token is never in it."""

from __future__ import annotations

import errno
import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from pathlib import Path

import httpx2
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, OfflineModeIsEnabled, RevisionNotFoundError

from models.errors import LaserError
from models.foreign import in_one_line
from models.hub.name import ModelName

RETRIED = frozenset({408, 429, 500, 502, 503, 504})  # a later try may succeed
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})  # what a full disk or a quota says
FORBIDDEN = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
BAD_TOKEN = (
    "Invalid credentials in Authorization header"  # of a 401; other such answers are of models that are not there
)
SHORT = 120  # characters of a foreign message

_RATE_LIMIT = re.compile(r"\bt=(\d+)")  # seconds until the limit is lifted, in the header RateLimit


class HubError(LaserError):
    """A model cannot be had from the hub or its cache."""


class UnreachableError(HubError):
    """The hub does not answer, or not now; what is in the cache may serve."""

    def __init__(self, message: str, *, wait_s: float | None = None) -> None:
        """`wait_s`: seconds that the hub asks to wait; None: it does not say."""
        super().__init__(message)
        self.wait_s = wait_s


class RefusedError(HubError):
    """The hub does not give the model to this user, or has no such model."""


class UnknownModelError(RefusedError):
    """The hub knows no model of this name, or does not say that it does."""


def told_as(error: Exception, name: ModelName, endpoint: str, token: str | None) -> HubError:
    """Returns what an error of the hub's client means for who asked for `name`; `token`: the one that was sent."""
    match error:
        case HubError():
            return error
        case OfflineModeIsEnabled():
            return UnreachableError("HF_HUB_OFFLINE is set")
        case HfHubHTTPError():
            return _answered(error, name, endpoint, token)
        case httpx2.TimeoutException():
            return UnreachableError(f"{endpoint} does not answer in time")
        case httpx2.ReadError() | httpx2.WriteError() | httpx2.RemoteProtocolError():
            return UnreachableError(f"the connection to {endpoint} was cut")
        case httpx2.TransportError() | OSError():
            return UnreachableError(f"{endpoint} cannot be reached ({plain(error, token)})")
        case _:
            return HubError(f"{name}: {endpoint} gave an answer that cannot be used: {plain(error, token)}")


def _answered(error: HfHubHTTPError, name: ModelName, endpoint: str, token: str | None) -> HubError:
    """Returns what an answer with an error's status means."""
    status, headers = error.response.status_code, error.response.headers
    code, said = headers.get("X-Error-Code"), headers.get("X-Error-Message") or ""
    page = f"{endpoint}/{name.repository}"
    if isinstance(error, GatedRepoError):
        if token is None:
            return RefusedError(
                f"{name} is gated: accept its terms at {page}, then set HF_TOKEN to a token of that account"
            )
        return RefusedError(f"{name} is gated, and the account of your token has no access: ask for it at {page}")
    if isinstance(error, RevisionNotFoundError):
        return RefusedError(f"{name.repository} has no revision {name.revision or 'main'}")
    if status == 401 and said == BAD_TOKEN:
        return RefusedError(f"{name}: {endpoint} does not accept your token: set another in HF_TOKEN, or none")
    if code == "RepoNotFound" or (status in (401, 404) and code != "EntryNotFound"):
        private = "or it is private: then set HF_TOKEN" if token is None else "or your token may not see it"
        return UnknownModelError(f"{name.repository}: {endpoint} has no such model, {private}")
    if status == 404:
        return RefusedError(f"{name}: a file that the hub lists is missing there ({error.response.url.path})")
    if status in RETRIED:
        wait_s = asked_wait_s(headers)
        if status == 429:
            until = "" if wait_s is None else f", for {wait_s:.0f} s"
            more = "; HF_TOKEN may allow more" if token is None else ""
            return UnreachableError(f"{endpoint} limits how much is asked of it (429){until}{more}", wait_s=wait_s)
        return UnreachableError(f"{endpoint} fails ({status})", wait_s=wait_s)
    what = f": {plain(said, token)}" if said else ""
    return RefusedError(f"{name}: {endpoint} refuses ({status}){what}")


def asked_wait_s(headers: Mapping[str, str]) -> float | None:
    """Returns the seconds that the hub asks to wait, by Retry-After or RateLimit; None: it does not ask."""
    said = headers.get("Retry-After", "").strip()
    if said.isdigit():
        return float(said)
    if said:
        try:
            return max(0.0, parsedate_to_datetime(said).timestamp() - time.time())
        except ValueError:
            pass
    limit = _RATE_LIMIT.search(headers.get("RateLimit", ""))
    return None if limit is None else float(limit[1])


def disk_trouble(error: OSError, name: ModelName, cache: Path) -> HubError:
    """Returns what an error of the cache's files means."""
    if error.errno in FULL:
        return HubError(
            f"{name}: the disk of {cache} is full, or a quota is: what has come is kept; make room and run again, or "
            "set HF_HOME to a folder on another disk"
        )
    if error.errno in FORBIDDEN:
        return HubError(f"{name}: {cache} cannot be written ({error.strerror}): set HF_HOME to a folder of yours")
    return HubError(f"{name}: the cache {cache} cannot be used: {in_one_line(error)}")


def plain(said: object, token: str | None) -> str:
    """Returns a foreign message in one short line, without the token."""
    text = in_one_line(said) if isinstance(said, BaseException) else " ".join(str(said).split())
    if token:
        text = text.replace(token, "…")
    return text if len(text) <= SHORT else text[: SHORT - 1] + "…"
