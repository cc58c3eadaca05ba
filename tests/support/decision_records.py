"""Decisions as a log of version 0.1 holds them, written before records had a type, and records made from them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from controller.decision_record import DecisionRecord

LOGGED = Path(__file__).with_name("decisions.jsonl")  # of driven_controller.PROFILE: one by bisection, one by the map


def logged(number: int) -> dict[str, Any]:
    """The line of this number, from 0, as JSON."""
    said: dict[str, Any] = json.loads(LOGGED.read_text("utf-8").splitlines()[number])
    return said


def bisected(**changes: Any) -> DecisionRecord:
    """The decision by price bisection, with changes."""
    return replace(DecisionRecord.from_json(logged(0), 3), **changes)
