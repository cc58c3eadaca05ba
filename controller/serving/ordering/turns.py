"""Whose turn it is: which waiting request begins next, and which running thoughts pause for it.

Where pauses are on, running, paused and waiting requests share one order: at a full batch the next request of the
queue takes the place of the running thought that stands furthest behind it, if both are of the same tenant and
priority. A paused thought goes on at a turn of its own: its tenant is not charged for what is left of it until then,
and a place that frees goes to it or to the queue's head as the queue would choose between two that wait. So turns
between tenants and priorities stay the queue's where memory does not bind, the batch stays as full as without pauses,
and nobody is overtaken by more than the order allows.

A paused thought keeps its memory, which alone bounds how many are paused, unless the engine names a number
(`Capabilities.most_paused`). Where memory binds, turns are not the queue's: what one tenant's paused thoughts hold,
another's request may have to wait for, until enough of them have ended. Nobody knows of it when they pause, and to
keep room for the largest request that may come would mean that none pauses: in most caches that is all cells.

No thought pauses while the batch has a place. A step of b rows takes a + c·b: without the row of one the others gain
c·(b − 1) a step, and that one loses a for each row that it makes up later, and those beside it then lose c again. So it
would pay only where c·(b − 1) > a and nobody comes meanwhile, as no loop can know.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

from controller.policy import Limits
from controller.serving.active import ActiveRequest
from controller.serving.admission import Admission
from controller.serving.engine_requests import EngineRequests
from controller.serving.fair_queue import Claim
from controller.serving.ordering.order import Order, OrderError
from controller.serving.ordering.remaining import RowForecast
from controller.serving.request import ReasoningRequest
from models.profile.profile import Profile

OrderName = Literal["first come", "head start", "shortest first"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingOrder:
    """In which order requests are served."""

    order: Order = field(default_factory=Order)
    forecast: RowForecast | None = None  # None: nothing is known of requests' rows, as first come needs
    # running thoughts pause for waiting ones before them; refused by an engine that cannot
    pauses: bool = False

    def __post_init__(self) -> None:
        if self.forecast is None and (self.order.head_start_s or self.pauses):
            raise OrderError("a head start and pauses need a forecast of requests' rows, which a profile gives")

    @property
    def name(self) -> OrderName:
        """How requests are ordered."""
        if not self.order.head_start_s:
            return "first come"
        return "head start" if math.isfinite(self.order.head_start_s) else "shortest first"

    @property
    def words(self) -> str:
        """The order and its bound in words."""
        pauses = ", running ones pause for it" if self.pauses else ""
        match self.name:
            case "first come":
                return "first come, first served"
            case "head start":
                longer = f"longer ones that came up to {self.order.head_start_s:.3g} s before it"
                return f"a request predicted short may overtake {longer}{pauses}"
            case _:
                return f"shortest first, without a bound on the wait{pauses}"

    @classmethod
    def of(cls, profile: Profile | None, *, head_start_s: float, pauses: bool = False) -> ServingOrder:
        """Returns the order by what a profile tells of requests' rows. Raises OrderError.

        `profile` None: it tells nothing, so that there is no order but first come, first served.
        """
        if pauses and not head_start_s:
            raise OrderError("pauses is true, but head_start_s is 0: nobody goes before those that came first")
        if profile is None or not head_start_s:
            return cls(order=Order(head_start_s=head_start_s))
        forecast = RowForecast.of(profile)
        order = Order(head_start_s=head_start_s, usual_rows=forecast.usual_rows)
        return cls(order=order, forecast=forecast, pauses=pauses)


class ServingTurns:
    """Gives the turns of the requests of one loop."""

    def __init__(
        self, serving: ServingOrder | None, *, foreseen: Callable[[ReasoningRequest], Limits],
        admission: Admission[ActiveRequest], in_engine: EngineRequests,
    ) -> None:  # fmt: skip
        """`serving` None: first come, first served; `foreseen`: returns the limits of a request that comes now.

        Raises UnsupportedError if thoughts are to pause in an engine that cannot have them pause.
        """
        serving = serving or ServingOrder()
        self._order = serving.order
        self._forecast = serving.forecast
        self._foreseen = foreseen
        self._admission = admission
        self._in_engine = in_engine
        self._pauses = serving.pauses
        if serving.pauses:
            in_engine.need_pauses()

    def claim(self, request: ReasoningRequest, usual_rows: float | None, now: float) -> Claim:
        """Returns the claim of a request that is submitted now, with its place in the order and its expected cost.

        `usual_rows`: those of a reply, of late; None: none has ended yet.
        """
        expected = min(request.max_tokens, usual_rows or request.max_tokens)
        cost = len(request.prompt) + request.choices * expected
        rows = 0.0
        if self._forecast is not None:
            rows = self._forecast.rows(request.difficulty, self._foreseen(request), length=request.claim.length)
        place = self._order.place(now - request.waited_s, min(rows, float(request.max_tokens)))
        return replace(request.claim, cost=cost, place=place)

    def next(self, step: int) -> ActiveRequest | None:
        """Takes the request out of the queue that begins now, and returns it; None: none does. `step`: the loop's."""
        running = self._make_up(step) if self._pauses else len(self._in_engine)
        head = self._admission.head()
        if head is None:
            return None
        if self._pauses and not self._admission.slot_free(running):
            running -= self._make_way(head, step)
        return self._admission.next(running, lambda lead: self._in_engine.fits(lead.together.cells))

    def _make_up(self, step: int) -> int:
        """Has paused thoughts go on whose turn it is; returns the number of requests that run or are about to."""
        paused = [active for active in self._in_engine if active.paused]
        running = len(self._in_engine) - len(paused)
        while paused:
            first = min(paused, key=self._rank)
            if not first.ending and not (self._admission.slot_free(running) and not self._head_goes_before(first)):
                break
            self._admission.go_on(first.claim, first.deferred)
            self._in_engine.resume(first, step)
            paused.remove(first)
            running += 1
        return running

    def _make_way(self, head: ActiveRequest, step: int) -> int:
        """Pauses the running thought that stands furthest behind the queue's head; returns how many: 1, or 0.

        None pauses where the engine could not begin the head even so.
        """
        if not self._in_engine.may_pause or not self._in_engine.has_room(head.together.cells):
            return 0
        behind = [(self._place(active), active.id, active) for active in self._in_engine if _may_pause(active, head)]
        place, _, last = max(behind, default=(-math.inf, 0, head))
        if place <= head.claim.place:
            return 0
        left = min(self._left(last), max(0.0, last.claim.cost - last.cost))  # it was charged for no more than that
        self._in_engine.pause(last, step)
        last.defer(self._admission.defer(last.claim, left))
        return 1

    def _rank(self, paused: ActiveRequest) -> tuple[bool, float, int, float, int]:
        """Returns what paused thoughts go on by, the smallest first: as the queue orders those that wait in it."""
        start = self._admission.start(paused.claim)
        return not paused.ending, start, paused.claim.priority, self._place(paused), paused.id

    def _head_goes_before(self, paused: ActiveRequest) -> bool:
        """Whether the queue's head begins before a paused thought goes on."""
        head = self._admission.head()
        if head is None or not self._in_engine.has_room(head.together.cells):
            return False
        if head.claim.tenant != paused.claim.tenant:
            return self._admission.start(head.claim) < self._admission.start(paused.claim)
        mine, its = self._place(paused), head.claim
        return (its.priority, its.place) < (paused.claim.priority, mine)

    def _place(self, active: ActiveRequest) -> float:
        """Returns the place of a request that the engine has, by what it still needs; the first, if its end is due."""
        if self._forecast is None or active.ending:
            return -math.inf
        return self._order.place(active.submitted_s, self._left(active))

    def _left(self, active: ActiveRequest) -> float:
        """Returns the rows that a request which the engine has still needs, about."""
        assert self._forecast is not None, "pauses need a forecast"
        request = active.request
        rows = self._forecast.rows(
            request.difficulty, active.in_force, length=active.claim.length, attained=float(active.rows)
        )
        return min(rows, float(active.room))


def _alike(one: ActiveRequest, other: ActiveRequest) -> bool:
    """Whether the order compares two requests."""
    return (one.claim.tenant, one.claim.priority) == (other.claim.tenant, other.claim.priority)


def _may_pause(active: ActiveRequest, head: ActiveRequest) -> bool:
    """Whether a request that the engine has may pause for the queue's head: a thought that goes on and has time."""
    alone = active.request.choices == len(active.together) == 1 and active.deadline_s is None
    going_on = active.thinking and active.tokens > 0 and active.exit_reason is None and not active.ending
    return alone and going_on and active.probe is None and not active.paused and _alike(active, head)
