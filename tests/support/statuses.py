"""What a server shows of itself, made by hand."""

from __future__ import annotations

from dataclasses import replace

from controller.serving.request import ExitReason
from controller.serving.status import EndedRequest, LoopStatus
from engine.base import EngineLoad, FinishReason
from laser.server.controller_report import ControllerReport, LimitsReport, RiskReport
from laser.server.dashboard.history import StatusHistory
from laser.server.dashboard.schema import Status
from models.profile.savings import Gained, Saved

CONTROLLER = ControllerReport(policy="fixed", note=None, limits={"any": LimitsReport(threshold=0.9, budget=None)})

SAVED = Saved(
    share=0.291, tokens=12_345.0, tokens_low=11_111.0, tokens_high=13_579.0, seconds=41.2, seconds_low=37.1,
    seconds_high=45.3,
)  # fmt: skip
GAINED = Gained(
    replies=120, level=0.95, paired=True, full_thought=SAVED, fixed_threshold=0.95,
    fixed=replace(SAVED, share=-0.01, tokens=-99.0, tokens_low=-1_300.0, tokens_high=1_102.0),
)  # fmt: skip


def ended(
    number: int,
    at_s: float,
    total_s: float = 1.0,
    reason: FinishReason = FinishReason.STOP,
    difficulty: str | None = None,
) -> EndedRequest:
    return EndedRequest(
        number=number,
        at_s=at_s,
        difficulty=difficulty,
        finish_reason=reason,
        exit_reason=None if reason is FinishReason.ERROR else ExitReason.CONFIDENCE,
        confidence=0.95,
        threshold=0.9,
        budget=None,
        thought_tokens=40,
        tokens=50,
        probes=2,
        queue_s=0.0,
        total_s=total_s,
    )


def loop_status(at_s: float, *, arrived: int = 0, finished: int = 0, last: tuple[EndedRequest, ...] = ()) -> LoopStatus:
    load = EngineLoad(running=0, waiting=0, probing=0, cells_reserved=0, cells_total=100)
    return LoopStatus(
        at_s=at_s,
        load=load,
        drain_s=0.0,
        turned_away=0,
        arrived=arrived,
        finished=finished,
        replies=finished,
        running=(),
        ended=last,
    )


ACCOUNT = RiskReport(
    risk=0.02, peak=0.1, requests=400, spent=6.9, charged=0.0172, left=1.1, most=2.0, refused=3, topped_up=1, price=0.45
)


def made_status(count: int = 30, gained: Gained | None = None, controller: ControllerReport = CONTROLLER) -> Status:
    """A server's status after some requests."""
    history = StatusHistory(model="m", slo_s=2.0, gained=lambda: gained)
    last = tuple(ended(number, float(number), total_s=number / 10, difficulty="easy") for number in range(1, count + 1))
    history.add(loop_status(count + 1.0, arrived=count, finished=count, last=last), controller)
    status = history.status()
    assert status is not None
    return status
