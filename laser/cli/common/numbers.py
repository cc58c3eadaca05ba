"""Numbers of options, which must be finite: no comparison refuses what is not a number."""

from __future__ import annotations

import math
from typing import Any

import click


class FiniteRange(click.FloatRange):
    """A range of numbers; nan and, unless `infinite`, inf are refused, which click takes wherever a bound is open."""

    def __init__(self, *arguments: Any, infinite: bool = False, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.infinite = infinite

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        found = super().convert(value, param, ctx)
        if math.isnan(found) or (math.isinf(found) and not self.infinite):
            self.fail(f"{found} is not a {'' if self.infinite else 'finite '}number.", param, ctx)
        return found
