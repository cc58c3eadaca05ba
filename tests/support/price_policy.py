"""A policy that closes every thought by a price, for the server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from controller.policies.definition import Made, constant
from controller.policy import Limits
from models.profile.levers.index import IndexLimit


@dataclass(frozen=True, slots=True, kw_only=True)
class Pricing:
    """Closes thoughts that are a quarter sure, from twelve tokens on."""

    kind: ClassVar[str] = "pricing"

    @property
    def limits(self) -> Limits:
        return Limits(index=IndexLimit(price=0.001, median=12.0, ages=(1.0,), bars=(None, 0.25)))

    def make(self, context: object) -> Made:
        return constant(self.limits)
