"""The record of a server's last minutes. It is bounded, and has no clock, thread or engine of its own."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import replace

from controller.serving.status import EndedRequest, LoopStatus
from laser.server.controller_report import ControllerReport
from laser.server.dashboard.latency import latency, slos
from laser.server.dashboard.schema import Point, Status
from laser.server.engine_process.served import ServedModel
from laser.server.engine_process.tickets import EngineClient
from models.profile.savings import Gained

WINDOW_S = 300.0  # length of the record
COUNT_S = 10.0  # time over which arrivals are counted
POINTS = 600  # kept at most
ENDED = 4096  # ended requests kept at most …
TOLD = 500  # … and sent in one status at most


class StatusHistory:
    """Keeps the statuses of a server, numbered from 1."""

    def __init__(
        self,
        *,
        model: str,
        slo_s: float | None = None,
        gained: Callable[[], Gained | None] = lambda: None,
        knows: str | None = None,
    ) -> None:
        """`slo_s`: a reply's SLO, used if the controller has no SLOs; None: no SLO. `gained`: what was saved so far."""
        self.number = 0  # of the last look; 0: there was none
        self._model = model
        self._slo_s = slo_s
        self._gained = gained
        self._knows = knows
        self._began_s: float | None = None
        self._last: tuple[LoopStatus, ControllerReport] | None = None
        self._trouble: str | None = None
        self._replies = 0
        self._arrived: deque[tuple[float, int]] = deque()  # the loop's clock and arrival count, over the last COUNT_S
        self._points: deque[tuple[int, Point]] = deque(maxlen=POINTS)
        self._ended: deque[tuple[int, EndedRequest]] = deque(maxlen=ENDED)

    @classmethod
    def of(cls, served: ServedModel, engine: EngineClient) -> StatusHistory:
        """Returns the record of a model's server, empty."""
        return cls(model=served.model_id, slo_s=served.config.slo_s, gained=lambda: engine.gained, knows=served.knows)

    def add(self, status: LoopStatus, controller: ControllerReport) -> None:
        """Records a look at the server."""
        self.number += 1
        self._trouble = None
        self._last = status, controller
        if self._began_s is None:
            self._began_s = status.at_s
        began_s = self._began_s
        news = min(status.replies - self._replies, len(status.ended))
        self._replies = status.replies
        for each in status.ended[len(status.ended) - news :]:
            self._ended.append((self.number, replace(each, at_s=each.at_s - began_s)))
        point = Point(
            at_s=status.at_s - began_s,
            counted_rate=self._counted_rate(status),
            rate=controller.load.rate if controller.load else None,
            running=status.load.running,
            waiting=status.load.waiting,
            limits=controller.limits,
            token_price=controller.prices.token_now if controller.prices else None,
        )
        self._points.append((self.number, point))
        while self._points[0][1].at_s < point.at_s - WINDOW_S:
            self._points.popleft()
        while self._ended and self._ended[0][1].at_s < point.at_s - WINDOW_S:
            self._ended.popleft()

    def missed(self, trouble: str) -> None:
        """Records that a look at the server failed; the last status stays, with `trouble` among its problems."""
        self.number += 1
        self._trouble = trouble

    def status(self, since: int = 0) -> Status | None:
        """Returns the last status, with history and ended requests since look number `since`; None: no look yet."""
        if self._last is None:
            return None
        status, controller = self._last
        assert self._began_s is not None
        slo_s = slos(controller, self._slo_s)
        return Status(
            number=self.number,
            at_s=status.at_s - self._began_s,
            model=self._model,
            knows=self._knows,
            slo_s=slo_s,
            window_s=WINDOW_S,
            problems=[*([self._trouble] if self._trouble else ()), *controller.problems],
            controller=controller,
            load=status.load,
            drain_s=status.drain_s,
            turned_away=status.turned_away,
            gained=self._gained(),
            running=list(status.running),
            latency=latency([each for _, each in self._ended], slo_s),
            history=[point for number, point in self._points if number > since],
            ended=[each for number, each in self._ended if number > since][-TOLD:],
        )

    def _counted_rate(self, status: LoopStatus) -> float:
        """Returns the arrival rate counted over the last COUNT_S, or less at the beginning, 1/s."""
        seen = self._arrived
        seen.append((status.at_s, status.arrived))
        while len(seen) > 2 and seen[1][0] <= status.at_s - COUNT_S:
            seen.popleft()
        (then_s, then), (now_s, now) = seen[0], seen[-1]
        return (now - then) / (now_s - then_s) if now_s > then_s else 0.0
