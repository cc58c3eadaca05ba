"""The shape of GET /laser/status, and of each event of GET /laser/events."""

from __future__ import annotations

from pydantic import BaseModel

from controller.view import Ended, Running
from engine.base import Load
from laser.controller_schema import ControllerReport, Estimated, LimitsReport


class Point(BaseModel):
    """One second of the record."""

    at_s: float  # since the record began
    counted_rate: float  # requests/s that came in the last seconds, counted
    rate: Estimated | None  # requests/s as the controller believes; null: nobody estimates
    running: int  # requests that are decoded
    waiting: int
    limits: dict[str, LimitsReport]
    token_price: float | None  # correct answers per token


class Latency(BaseModel):
    """How the requests went that ended within the window; null: none did."""

    requests: int  # failed ones included
    failed: int
    mean_s: float | None  # from arrival to the last token, of those that did not fail
    p95_s: float | None
    mean_thought_tokens: float | None
    within_slo: float | None  # share of all, failed ones counted as late; null also where there is no SLO
    exits: dict[str, int]  # thoughts by why they ended


class Status(BaseModel):
    """All that the dashboard shows. In events, `history` and `ended` hold what is new since the last one."""

    number: int  # of this look at the server
    at_s: float  # since the record began
    model: str
    slo_s: float | None  # that a reply should take at most
    window_s: float  # that is remembered
    problems: list[str]  # in words; empty: all is well
    controller: ControllerReport
    load: Load
    running: list[Running]  # queued ones too, oldest first
    latency: Latency
    history: list[Point]
    ended: list[Ended]  # `at_s` since the record began
