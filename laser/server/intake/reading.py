"""Reads a request's body: measures its raw bytes, parses them, validates what they say, and bounds its texts."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from itertools import accumulate
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from laser.server.api.errors import BadRequest, ErrorCode, clipped, validation_error
from laser.server.intake.bounds import TextBounds

LARGE = 256 * 1024  # bytes: a larger body is read in a process of its own
PLAIN_OPENINGS = 2_000  # objects and lists of a body that is read at once
PLAIN_COMMAS = 4_000

M = TypeVar("M", bound=BaseModel)

_TEXT = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)', re.DOTALL)  # linear: nothing in it is tried twice
_STEPS = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
_OTHERS = bytes(set(range(256)) - set(_STEPS))


@dataclass(frozen=True, slots=True, kw_only=True)
class Structure:
    """How much there is in a JSON document, counted on its bytes."""

    openings: int  # objects and lists
    commas: int
    depth: int  # 0: neither object nor list

    def plain(self, times: int = 1) -> bool:
        """Whether it is read within milliseconds, or within so many `times` that."""
        return self.openings <= times * PLAIN_OPENINGS and self.commas <= times * PLAIN_COMMAS


@dataclass(frozen=True, slots=True, kw_only=True)
class MostStructure:
    """The most that a body may hold."""

    openings: int = 16_384  # the objects of more messages would hold up the collector
    values: int = 1_048_576
    depth: int = 64

    def check(self, found: Structure) -> None:
        """Raises BadRequest if a body holds more."""
        for what, count, most in (
            ("objects and lists", found.openings, self.openings),
            ("values", found.openings + found.commas, self.values),
            ("levels of objects and lists", found.depth, self.depth),
        ):
            if count > most:
                message = f"the body is not parsed: it has {count} {what}, must be at most {most}"
                raise BadRequest(message, code=ErrorCode.JSON)


MOST_STRUCTURE = MostStructure()


def structure(raw: bytes) -> Structure:
    """Measures a document in a time linear in its length, without a Python step for each byte. Texts do not count."""
    counted = _counts(raw)
    if counted.plain() and counted.openings <= MOST_STRUCTURE.depth:
        return counted  # an upper bound will do, since texts may only add to it
    bare = _TEXT.sub(b"", raw)
    counted = _counts(bare)
    if counted.openings > MOST_STRUCTURE.openings:
        return counted
    brackets = bare.translate(None, _OTHERS)
    depth = max(accumulate(map(_STEPS.__getitem__, brackets)), default=0)
    return Structure(openings=counted.openings, commas=counted.commas, depth=depth)


def plain_structure(raw: bytes) -> Structure | None:
    """Returns the structure of a body that is read within milliseconds, found out in as few; None: it is not."""
    if len(raw) > LARGE or not _counts(raw).plain(8):
        return None
    measured = structure(raw)
    return measured if measured.plain() else None


def _counts(raw: bytes) -> Structure:
    openings = raw.count(b"[") + raw.count(b"{")
    return Structure(openings=openings, commas=raw.count(b","), depth=min(openings, MOST_STRUCTURE.depth))


def read(raw: bytes, model: type[M], bounds: TextBounds, measured: Structure | None = None) -> M:
    """Returns what a body asks for. `measured`: its structure; None: it is measured here.

    Raises BadRequest, naming the value and the limit, if it cannot be read.
    """
    MOST_STRUCTURE.check(structure(raw) if measured is None else measured)
    said = _parsed(raw)
    if not isinstance(said, dict):
        raise BadRequest("the body must be a JSON object")
    try:
        asked = model.model_validate(said)
    except ValidationError as error:
        raise validation_error(error.errors(include_url=False), content_type="application/json") from None
    bounds.check(asked)
    return asked


def _parsed(raw: bytes) -> object:
    try:
        return json.loads(raw.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        why = f"it must be UTF-8, and byte {error.start} is not"
    except json.JSONDecodeError as error:
        why = f"{error.msg} at character {error.pos}"
    except RecursionError:
        why = "objects and lists are too deep in one another"
    except ValueError as error:  # an integer of thousands of digits
        why = clipped(str(error))
    raise BadRequest(f"the body is not JSON: {why}", code=ErrorCode.JSON)
