"""Looks for fields of a request that nobody reads here, so that none is dropped in silence."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from functools import cache
from typing import Any

from pydantic_core import InitErrorDetails, PydanticCustomError, ValidationError

from laser.server.api.dialects import Indifferent, Read, Refused, Treatment

MOST = 32  # names that no API knows, in one request
LEAST = 4  # characters of a name that may be a slip of another: `m` is no slip of `n`
OFF: tuple[object, ...] = (None, False, 0, "", {}, [])
INSIDE: Mapping[str, tuple[str, ...]] = {  # fields that hold objects, of an object at a place
    "messages": ("content", "tool_calls"),
    "messages.content": ("content",),
    "messages.tool_calls": ("function",),
    "input": ("content",),
    "output_config": ("format",),
    "tools": ("function",),
    "tool_choice": ("function", "allowed_tools", "tools"),
    "tool_choice.allowed_tools": ("tools",),
    "input.function_call_output": ("output",),
}
KINDS: Mapping[str, tuple[str, ...]] = {"input": ("function_call", "function_call_output")}  # `type` tells the fields
Place = tuple[str | int, ...]
Places = Mapping[str, Mapping[str, Treatment]]


def unread(body: Mapping[Any, Any], known: Mapping[str, Treatment], own: frozenset[str]) -> dict[str, None]:
    """Returns the names of a body's own fields that nobody reads and that change nothing, in the order of the body.

    `known`: what the endpoint does with fields; `own`: those of its model. Raises ValidationError for a field that
    would change the reply, for a name that is one slip away from a known one, and for more than MOST names that no API
    knows.
    """
    found: dict[str, None] = {}
    _look(body, known, own, "", (), found)
    return found


def unread_inside(body: Mapping[Any, Any], own: frozenset[str], places: Places, found: dict[str, None]) -> None:
    """Does the same for the objects in the body's fields, whose fields are `places`; adds what it finds to `found`."""
    for name in body.keys() & own & places.keys():
        _look_into(body[name], name, (name,), places, found)


def refuse_others(given: Mapping[Any, Any], known: Collection[str]) -> None:
    """Raises ValidationError for the first name that is not among `known`, with the one that is meant or with all."""
    for name, value in given.items():
        if name not in known:
            meant = slip_of(str(name), known)
            instead = f"did you mean {meant}?" if meant is not None else f"must be one of {', '.join(known)}"
            raise _refusal((str(name),), value, f"there is no such field; {instead}")


def _look_into(value: Any, path: str, place: Place, places: Places, found: dict[str, None]) -> None:
    """Looks at a field's object or list of objects, if the names in it are known."""
    known = places.get(path)
    if known is None:
        return
    plain = frozenset(name for name, treatment in known.items() if treatment is Read.READ)
    if isinstance(value, dict):
        _look(value, known, plain, path, place, found)
        for inner in INSIDE.get(path, ()):
            if type(value.get(inner)) in (list, dict):
                _look_into(value[inner], f"{path}.{inner}", (*place, inner), places, found)
    elif isinstance(value, list):
        for number, each in enumerate(value):  # there may be a hundred thousand
            if type(each) is not dict:
                continue
            if (kind := each.get("type")) in KINDS.get(path, ()):
                _look_into(each, f"{path}.{kind}", (*place, number), places, found)
                continue
            if not each.keys() <= plain:
                _look(each, known, plain, path, (*place, number), found)
            for inner in INSIDE.get(path, ()):
                if type(each.get(inner)) in (list, dict):
                    _look_into(each[inner], f"{path}.{inner}", (*place, number, inner), places, found)


def _look(
    given: Mapping[Any, Any],
    known: Mapping[str, Treatment],
    plain: frozenset[str],
    path: str,
    place: Place,
    found: dict[str, None],
) -> None:
    """Adds to `found` what nobody reads of one object's fields; `plain`: those that are read."""
    if given.keys() <= plain:
        return
    for name, value in given.items():
        treatment = known.get(name)
        if treatment is Read.READ or treatment is Indifferent.UNSAID:
            continue
        if isinstance(treatment, Refused):
            if not treatment.spares(value):
                raise _refusal((*place, name), value, _why(treatment))
            continue
        said = f"{path}.{name}" if path else str(name)
        if treatment is Indifferent.TOLD:
            if not any(value is off or (value == off and type(value) is type(off)) for off in OFF):
                found[said] = None
            continue
        if said in found:
            continue
        meant = slip_of(str(name), known)
        if meant is not None:
            raise _refusal((*place, name), value, f"there is no such field; did you mean {meant}?")
        if len(found) >= MOST:
            raise _refusal((*place, name), value, f"no API knows it, nor {MOST} before it; must be at most {MOST}")
        found[said] = None


def _why(treatment: Refused) -> str:
    """Returns why a field is refused, and what the client may do."""
    usual = "".join(f", {json.dumps(value)}" for value in treatment.usual)
    told = f" ({treatment.instead})" if treatment.instead else ""
    return f"not done here{told}; must be left out, null{usual}"


def _refusal(place: Place, value: object, why: str) -> ValidationError:
    line = InitErrorDetails(type=PydanticCustomError("refused", "{why}", {"why": why}), loc=place, input=value)
    return ValidationError.from_exception_data("request", [line])


# --- slips


def slip_of(name: str, known: Collection[str]) -> str | None:
    """Returns the known name that `name` is one slip away from; None: there is none.

    A slip is a character added, dropped or replaced, two neighbours swapped, or another way of joining the words.
    """
    by_length = _index(frozenset(known))
    if not LEAST <= len(name) <= MOST_CHARACTERS:
        return None
    for shorter in (_joined(name), *_shortened(name)):
        for candidate in by_length.get(shorter, ()):
            if _joined(candidate) == _joined(name) or one_slip(name, candidate):
                return candidate
    return None


MOST_CHARACTERS = 48  # longer than any known name, with one added


@cache
def _index(known: frozenset[str]) -> Mapping[str, tuple[str, ...]]:
    """Returns known names by themselves with one character dropped: a slip of a name shares one of these with it."""
    found: dict[str, list[str]] = {}
    for name in sorted(known):
        if len(name) >= LEAST:
            for shorter in {_joined(name), *_shortened(name)}:
                found.setdefault(shorter, []).append(name)
    return {shorter: tuple(names) for shorter, names in found.items()}


def _shortened(name: str) -> set[str]:
    return {name, *(name[:at] + name[at + 1 :] for at in range(len(name)))}


def _joined(name: str) -> str:
    return name.replace("_", "").replace("-", "").lower()


def one_slip(given: str, meant: str) -> bool:
    """Whether `given` is `meant` with one character added, dropped or replaced, or with two neighbours swapped."""
    shorter = min(len(given), len(meant))
    start = next((at for at in range(shorter) if given[at] != meant[at]), shorter)
    end = next((at for at in range(shorter - start) if given[-1 - at] != meant[-1 - at]), shorter - start)
    left, right = given[start : len(given) - end], meant[start : len(meant) - end]
    return max(len(left), len(right)) <= 1 or (len(left) == 2 and left == right[::-1])
