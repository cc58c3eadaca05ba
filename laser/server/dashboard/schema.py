"""The response of GET /laser/status, and each event of GET /laser/events."""

from __future__ import annotations

from pydantic import BaseModel

from controller.serving.status import EndedRequest, RunningRequest
from engine.base import EngineLoad
from laser.server.controller_report import ControllerReport, Estimated, LimitsReport
from models.profile.savings import Gained


class Point(BaseModel):
    """One second of the record."""

    at_s: float  # since the record began
    counted_rate: float  # requests/s that arrived in the last seconds, counted
    rate: Estimated | None  # requests/s, as estimated by the controller; null: there is no controller
    running: int  # requests in the engine
    waiting: int  # requests in the queue
    limits: dict[str, LimitsReport]  # limits in force, by class; `any`: the same for all classes
    token_price: float | None  # correct answers per token; null: no price is known


class Attainment(BaseModel):
    """How a class's requests that ended within the window kept the SLO now in force."""

    slo_s: float  # the longest that a reply should take
    requests: int  # failed ones included
    within: float  # share of `requests` within the SLO; failed ones count as late


class Latency(BaseModel):
    """How the requests went that ended within the window; null: none did."""

    requests: int  # failed ones included
    failed: int  # requests that failed
    mean_s: float | None  # from arrival to the last token, of requests that did not fail
    p95_s: float | None  # 95th percentile of the same
    mean_thought_tokens: float | None  # length of a thought, mean; null: there was none
    within_slo: float | None  # share of the requests that have an SLO; null: none has
    slo: dict[str, Attainment]  # by class; `any`: requests without a class
    exits: dict[str, int]  # number of thoughts by exit reason


class Status(BaseModel):
    """All that the dashboard shows. In events, `history` and `ended` hold what is new since the last one."""

    number: int  # of this look at the server
    at_s: float  # since the record began
    model: str  # name of the served model
    knows: str | None = None  # what the model can be asked, in words; null: it is not the bundled one
    slo_s: dict[str, float]  # SLOs in force, by class; `any`: one for all; empty: none
    window_s: float  # length of the record
    problems: list[str]  # in words; empty: all is well
    controller: ControllerReport  # what the policy makes of the load
    load: EngineLoad  # requests queued before the engine count as waiting, too
    drain_s: float  # until all waiting requests have started
    turned_away: int  # requests since the server's start
    gained: Gained | None = None  # what was saved since the start; null: there is no profile, or no reply yet
    running: list[RunningRequest]  # including queued ones, oldest first
    latency: Latency  # how the requests of the window went
    history: list[Point]  # the record, one point for each second
    ended: list[EndedRequest]  # `at_s` since the record began
