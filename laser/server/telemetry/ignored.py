"""Tells of request fields that are ignored: each once in the log, and all of a request's in a header of its reply."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from urllib.parse import quote

from laser.server.api.headers import ResponseHeader

log = logging.getLogger(__name__)

HEADER = ResponseHeader.IGNORED
NAMES = 256  # that the log tells of, in the server's life
SHOWN = 16  # names in one header
CHARACTERS = 64  # of a name that are shown


class IgnoredFields:
    """Request fields that were ignored since the server's start."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    def headers(self, names: Sequence[str]) -> dict[str, str]:
        """Returns the header that names a request's ignored fields, none without any, and logs names that are new."""
        if not names:
            return {}
        shown = [_shown(name) for name in names]
        for name in shown:
            if name not in self._told and len(self._told) < NAMES:
                self._told.add(name)
                log.warning(
                    "the request field %s is ignored: no API that is known here has it, or it is not done", name
                )
        more = [f"and-{len(shown) - SHOWN}-more"] if len(shown) > SHOWN else []
        return {ResponseHeader.IGNORED: ", ".join(shown[:SHOWN] + more)}


def _shown(name: str) -> str:
    """Returns a client's name in visible ASCII without commas, at most CHARACTERS of it."""
    cut = name[:CHARACTERS] + ("..." if len(name) > CHARACTERS else "")
    return quote(cut, safe="._-[]", errors="backslashreplace")
