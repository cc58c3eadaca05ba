"""Policy `load-table`: the table of `controller.policies.load_table` over a profile's budgets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from controller.policies.definition import Made, PolicyContext
from controller.policies.load_table import LoadTable, spread


@dataclass(frozen=True, slots=True, kw_only=True)
class StaticTable:
    """Stops thoughts at a budget that falls with the number of requests, from a table; to compare with.
    Needs a profile.
    """

    kind: ClassVar[str] = "load-table"
    needs_profile: ClassVar[bool] = True

    def make(self, context: PolicyContext) -> Made:
        table = LoadTable(spread(context.certified(self.kind).budgets, context.max_batch))
        return Made(policy=table, observer=table)
