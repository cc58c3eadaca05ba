"""The bounds of settings, as the settings tell them themselves: a class is given impossible values and complains."""

from __future__ import annotations

import dataclasses
import itertools
import re
import typing
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any

from laser.reference.shown import kinds_in, options
from models.errors import faults_of

TRIALS: dict[type, tuple[Any, ...]] = {
    int: (-2, 0, 10**9),
    float: (-2.0, float("inf"), 0.0, 1e12),
    str: ("", "\n", "x" * 1000),
}
LIMIT = re.compile(r" (?P<verb>is|are|has|have|sums to)\b(?: (?:\d+|an?) (?P<what>\w+))?.*?, must (?P<limit>[^:]*)")
CHOICES = 6  # kinds of a registry that are tried, where a class refuses some
SAMPLES: tuple[dict[type, Any], ...] = (
    {int: 1, float: 1.0, str: "first-name", bool: False, Path: Path(__file__)},
    {int: 3, float: 3.0, str: "other-name", bool: False, Path: Path(__file__)},
)
"""What required fields are made of. A limit that depends on it is that of another field, and is not told."""


def bounds(kind: type) -> dict[str, str]:
    """Returns what each field of a configuration dataclass must be, by name; a field without bounds is left out."""
    made = [one for sample in SAMPLES if (one := example(kind, sample)) is not None]
    hints = typing.get_type_hints(kind, include_extras=True)
    found = {}
    for field in dataclasses.fields(kind):
        told: dict[str, None] = {}
        for trial in _trials(hints[field.name]) if field.init else ():
            limits = {_limit(one, field.name, trial) for one in made}
            told |= dict.fromkeys(limit for limit in limits if limit and len(limits) == 1)
        if told:
            found[field.name] = ", ".join(told)
    return found


def _trials(hint: Any) -> list[Any]:
    found: list[Any] = []
    for one in options(hint):
        if typing.get_origin(one) is tuple:
            found += [(), *((trial,) for trial in _trials(typing.get_args(one)[0]))]
        found += TRIALS.get(one, ())
    return found


def _limit(made: Any, name: str, trial: Any) -> str | None:
    """Returns what a class says that a field must be when it refuses a value; None: it does not, or of other fields."""
    try:
        dataclasses.replace(made, **{name: trial})
    except (ValueError, ArithmeticError, TypeError) as error:
        own = [line for line in faults_of(error) if re.match(rf"{re.escape(name)}\b", line)]
        said = LIMIT.search(own[0]) if own else None
        if said is not None:
            limit = re.sub(r"(\b[a-z_]+), [-\d.e+]+$", r"`\1`", said["limit"].strip())
            limit = re.sub(r"^must (be|lie|have) ", "", f"must {limit}")
            if said["verb"] == "sums to":
                return f"their sum {limit}"
            return f"{limit} {said['what']}" if said["what"] and limit[-1:].isdigit() else limit
    return None


def example(kind: type, sample: Mapping[type, Any]) -> Any:
    """Returns some valid object of a configuration dataclass, defaults kept where it can be; None: none was found."""
    hints = typing.get_type_hints(kind, include_extras=True)
    required, others = list[str](), list[str]()
    for field in dataclasses.fields(kind):
        given = field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
        (others if given else required).append(field.name)
    for further in (None, *others):  # some classes need one of several fields that may all be left out
        names = [name for name in (*required, further) if name is not None]
        for choice in range(CHOICES):
            try:
                return kind(**{name: _some(hints[name], choice, sample) for name in names})
            except (ValueError, TypeError, AttributeError):
                continue
    return None


def _some(hint: Any, choice: int, sample: Mapping[type, Any]) -> Any:
    """Returns a value of a type; `choice`: which kind of a registry."""
    one, kinds = options(hint)[0], kinds_in(hint)
    if kinds is not None:
        names = list(kinds.names)
        return example(kinds.find(next(itertools.islice(itertools.cycle(names), choice, None))), sample)
    if typing.get_origin(one) is tuple:
        return (_some(typing.get_args(one)[0], choice, sample),)
    if isinstance(one, type) and issubclass(one, Enum):
        return next(iter(one))
    if dataclasses.is_dataclass(one):
        return example(typing.cast(type, one), sample)
    return sample.get(one)
