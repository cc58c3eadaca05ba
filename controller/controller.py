"""The load-aware policy: estimates the load, sends solve requests, and looks up each class's operating point.

A look-up of the inner loop, at most every `inner_s`: count arrivals → take the solver's answer → look up the token
price for the number of requests in the system → choose a certified point of each class → set the limits, which every
running thought reads at its checkpoints. Every `outer_s`, or when the load has changed, the controller sends a new
solve request. This module has no threads, files or clocks: `tick` brings the time, and the caller hands in the solver,
the settings and a sink for decisions.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from controller.cells import CellGauge
from controller.decision_record import DecisionRecord
from controller.estimation.estimator import LoadEstimate, LoadEstimator
from controller.planning import bisection as fallback
from controller.planning.decision import Decision
from controller.planning.plan import Plan, Solver, SolveRequest, enough_rows
from controller.planning.races import has_races, racing
from controller.policy import Limits
from controller.risk.keeper import RiskKeeper
from controller.selection import Held, choose, limits_at, move, safe_points
from controller.settings import ControllerSettings, PriceSource, SettingsSource
from controller.status import ControllerStatus, DecisionBasis, DecisionSource, LookUp, Solves
from models.profile.certificate import Certificate
from models.profile.plant import Plant
from models.profile.profile import Profile
from models.profile.tables import OperatingPoint, PointId

log = logging.getLogger(__name__)

STEPS_A_SECOND = 10.0  # decode steps filtered per second of decoding, at most: filtering one takes some 50 µs


class Controller:
    """A Policy and a LoadObserver. All calls except `status` come from the engine's thread."""

    def __init__(
        self,
        profile: Profile,
        *,
        settings: SettingsSource,
        solver: Solver,
        max_batch: int | None = None,
        sink: Callable[[DecisionRecord], None] | None = None,
        complaints: Callable[[], str | None] = lambda: None,
    ) -> None:
        """`max_batch`: the engine's; None: the profile's. `complaints`: returns what is wrong with the sink, or None.

        `sink`: receives each recorded decision; None: none is recorded.
        """
        self._profile = profile
        self._tables = profile.tables()  # of certified points alone
        self._safe = safe_points(self._tables, profile.certificate.mean)
        plant = profile.plant_model()
        self._plant = plant if max_batch is None else replace(plant, max_batch=max_batch)
        self._index = {name: d for d, name in enumerate(profile.classes)}
        self._file = settings
        self._solver = solver
        self._sink = sink
        self._complaints, self._jumps = complaints, 0
        self._objective = settings.settings.objective.at(profile.reply_s)
        self._estimator = self._new_estimator(settings.settings)
        self._counts = [0.0] * len(profile.classes)
        self._last: float | None = None  # the loop's clock at the last look-up; None: none yet
        self._time = 0.0  # the controller's own clock: jumps of the loop's clock left out
        self._stepped_s = 0.0  # seconds of decoding since a step was last filtered
        self._plan: Plan | None = None  # the last one solved; None: none yet
        self._asked: SolveRequest | None = None  # the last request; None: one is due at once
        self._waiting_since: float | None = None  # the oldest unanswered request; None: none is unanswered
        self._solves = Solves()
        self._stand_in: tuple[float, Decision] | None = None  # the last price bisection; None: one is due
        self._failure: str | None = None  # of the last tick; None: it did not fail
        self._unbisected: str | None = None  # why this look-up's price bisection failed; None: it did not
        self._held: Held | None = None
        self._cells = CellGauge()
        self._limits: dict[str | None, Limits] = {}
        self.keeper: RiskKeeper | None = None  # None: there is no account of risk
        if profile.certificate.mean is not None:
            self.keeper = RiskKeeper(profile, settings.settings.account, time_s=lambda: self._time)
        self._hand_out(self._safe, self._safe)
        self._status = self._seen(
            LookUp(
                in_system=0,
                elapsed_s=0.0,
                estimate=self._estimator.estimate,
                objective=self._objective,
                basis=DecisionBasis(source=DecisionSource.SAFE_POINT),
                slo_steps=None,
                before=None,
                held=move(self._tables, self._objective, target=self._safe, before=None, elapsed_s=0.0),
            )
        )

    # --- Policy -----------------------------------------------------------------------------------------------------

    def limits(self, difficulty: str | None) -> Limits:
        """The certified point now in force for a class; an unknown class gets the hardest class's."""
        return self._limits.get(difficulty) or self._limits[None]

    # --- LoadObserver -----------------------------------------------------------------------------------------------

    def arrived(self, difficulty: str | None) -> None:
        self._counts[self._place(difficulty)] += 1.0

    def finished(self, difficulty: str | None, tokens: int) -> None:
        d = self._place(difficulty)
        point = self._points[d]
        if self._tables.points[point].race is not None:
            point = PointId(0)  # `tokens` are those of one thought, whoever raced
        predicted = float(self._tables.tokens[d, point])
        self._estimator.finished(self._tables.classes[d], tokens, predicted)

    def stepped(self, batch: int, context: float, seconds: float) -> None:
        if not 0.0 < seconds <= self._file.settings.gap_s:  # the clock has jumped or stood still
            self._estimator.rejected += 1
            return
        self._stepped_s += seconds
        if self._stepped_s * STEPS_A_SECOND >= 1.0:
            self._stepped_s = 0.0
            self._estimator.step(batch, context, seconds)

    @property
    def plans_memory(self) -> bool:
        return self._file.settings.memory

    def held(self, cells: int, of: int, sequences: int, *, growing: bool) -> None:
        self._cells.seen(cells, of, sequences, growing=growing)

    def tick(self, now: float, in_system: int) -> None:
        last = self._last
        if last is not None and 0.0 <= now - last < self._file.settings.inner_s:
            return
        if not math.isfinite(now):
            self._jumps += 1
            return
        self._last = now
        if last is None:
            elapsed = 0.0
        elif 0.0 <= now - last <= self._file.settings.gap_s:
            elapsed = now - last
        else:
            self._jumps += 1
            elapsed = -1.0  # unknown
        try:
            self._look(elapsed, in_system)
        except Exception as error:  # whatever fails here, certified limits must still bound the thoughts
            failure = f"the controller failed: {type(error).__name__}: {error}"
            if failure != self._failure:
                log.exception("the controller failed; it holds the safe point until it can decide again")
            self._failure = failure
            self._held = None
            safe = self._safe
            self._hand_out(safe, safe)
            self._status = replace(
                self._status,
                time_s=self._time,
                in_system=in_system,
                source=DecisionSource.SAFE_POINT,
                limits=self._named(safe),
                target=self._named(safe),
                price=None,
                slo_steps=None,
                decision=None,
                problems=(failure, *self._problems()),
            )

    # --- status -----------------------------------------------------------------------------------------------------

    @property
    def status(self) -> ControllerStatus:
        """What was decided at the last look-up. May be read from any thread."""
        return self._status

    @property
    def certified(self) -> tuple[OperatingPoint, ...]:
        """The points that may be handed out."""
        return self._tables.points

    @property
    def certificate(self) -> Certificate:
        """The certificate that allows the `certified` points."""
        priced = self._profile.priced
        return self._profile.certificate if priced is None or priced.certificate is None else priced.certificate

    # --- inner loop -------------------------------------------------------------------------------------------------

    def _look(self, elapsed: float, in_system: int) -> None:
        self._unbisected = None
        if self._file.refresh():
            self._resettle()
        settings = self._file.settings
        known = elapsed >= 0.0
        elapsed = elapsed if known else settings.inner_s
        self._time += elapsed
        if elapsed > 0.0:
            counts, self._counts = self._counts, [0.0] * len(self._counts)
            self._estimator.arrivals(counts if known else None, elapsed)
        self._take()
        estimate = self._estimator.estimate
        self._ask(estimate, settings)

        basis = self._basis(estimate, settings, in_system)
        before, steps = self._held, self._steps(estimate, in_system)
        if basis.price is None:
            target = self._safe
        else:
            target = choose(
                racing(self._tables, None if basis.request is None else basis.request.plant, in_system),
                self._objective,
                price=basis.price,
                work_ratio=estimate.work_ratio,
                before=None if before is None else before.target,
                floors=basis.floors,
                steps=steps,
                risk_price=basis.risk_price,
                mix=estimate.mix,
                cells=basis.cells,
            )
        held = move(self._tables, self._objective, target=target, before=before, elapsed_s=elapsed)
        self._held = held
        self._hand_out(held.points, held.target)
        self._failure = None
        look = LookUp(
            in_system=in_system,
            elapsed_s=elapsed,
            estimate=estimate,
            objective=self._objective,
            basis=basis,
            slo_steps=steps,
            before=before,
            held=held,
        )
        self._status = self._seen(look)
        if self._sink is not None and (in_system or before is None or held != before):
            self._sink(DecisionRecord.of(look, self._status, self._tables))

    def _take(self) -> None:
        """Takes the solver's answer, if there is one: a new plan, or a failure to report."""
        answer = self._solver.answer()
        if answer is None:
            return
        self._waiting_since = None
        if isinstance(answer, Exception):
            error = f"{type(answer).__name__}: {answer}"
            self._solves = replace(self._solves, failed=self._solves.failed + 1, error=error)
        elif not all(map(math.isfinite, answer.prices)):
            self._solves = replace(self._solves, failed=self._solves.failed + 1, error="a price is not finite")
        else:
            self._plan = answer
            solved = self._solves.solved + 1
            self._solves = replace(self._solves, solved=solved, error=None, solve_s=answer.solve_s)

    def _ask(self, estimate: LoadEstimate, settings: ControllerSettings) -> None:
        """Sends a solve request if `outer_s` has passed, or `soonest_s` and the load has changed by `change`."""
        asked = self._asked
        if asked is not None:
            since, step_time = self._time - asked.time_s, estimate.step_time
            changed = since >= settings.soonest_s and asked.differs(estimate.load, step_time, settings.change)
            if since < settings.outer_s and not changed:
                return
        request = SolveRequest(
            number=self._solves.asked + 1,
            time_s=self._time,
            load=estimate.load,
            plant=replace(self._plant, step_time=estimate.step_time),
            objective=self._objective,
            rows=enough_rows(settings.rows, self._plant.max_batch),
            allowance=None if self.keeper is None else self.keeper.allowance(estimate.rate),
            memory=self._cells.memory if self.plans_memory else None,
            races=settings.price is not PriceSource.JOINT_PROGRAM,
        )
        self._solver.ask(request)
        self._asked = request
        self._solves = replace(self._solves, asked=request.number)
        self._waiting_since = self._time if self._waiting_since is None else self._waiting_since

    def _basis(self, estimate: LoadEstimate, settings: ControllerSettings, in_system: int) -> DecisionBasis:
        """Returns the price from the last plan, else from the price bisection, else the safe point."""
        plan = self._plan
        if plan is not None and self._time - plan.request.time_s <= settings.stale_s:
            planned = plan.decision
            if settings.price is PriceSource.JOINT_PROGRAM:
                return self._based(DecisionSource.JOINT_PROGRAM, planned.prices.token, planned)
            found = self._based(DecisionSource.POLICY_MAP, plan.price(in_system), planned, risk=plan.risk)
            return replace(found, request=plan.mapped, cells=plan.cells(in_system))
        if self._stand_in is None or self._time - self._stand_in[0] >= min(settings.outer_s, settings.deadline_s):
            try:
                stand_in = fallback.decide(self._tables.alone(), self._objective, estimate.load, self._now(estimate))
                self._stand_in = self._time, stand_in
            except (ValueError, ArithmeticError) as error:
                self._unbisected = f"price bisection failed: {error}"
                return DecisionBasis(source=DecisionSource.SAFE_POINT)
        planned = self._stand_in[1]
        return self._based(DecisionSource.PRICE_BISECTION, planned.prices.token, planned)

    def _based(
        self, source: DecisionSource, price: float, planned: Decision, *, risk: float | None = None
    ) -> DecisionBasis:
        """Returns a basis with the price of risk: what kept risk is worth now, and what the plan's allowance costs.

        `risk`: the latter; None: by the joint program.
        """
        more = planned.prices.risk if risk is None else risk
        risk_price = 0.0 if self.keeper is None else self.keeper.worth + more
        return DecisionBasis(source=source, price=price, planned=planned, risk_price=risk_price)

    def _steps(self, estimate: LoadEstimate, in_system: int) -> tuple[float, ...] | None:
        """Returns the decode steps that each class's SLO leaves a request that arrives now; None: there is no SLO."""
        if not self._objective.slo_s:
            return None
        plant = self._now(estimate)
        tokens = self._tables.tokens[np.arange(len(self._points)), list(self._points)]
        usual = float((estimate.mix * estimate.work_ratio) @ tokens)
        return tuple(plant.steps_within(seconds, in_system, usual) for seconds in self._objective.slo_s)

    def _now(self, estimate: LoadEstimate) -> Plant:
        """Returns the plant with the estimated step time, and with the batch for which there is memory, if planned."""
        plant = replace(self._plant, step_time=estimate.step_time)
        return self._cells.within(plant, self._tables, estimate.load, self._points) if self.plans_memory else plant

    def _resettle(self) -> None:
        """Applies new settings. The estimates stay, unless the estimator's settings have changed."""
        settings = self._file.settings
        log.info("new controller settings are in force")
        self._objective = settings.objective.at(self._profile.reply_s)
        if settings.estimator != self._estimator_settings:
            self._estimator = self._new_estimator(settings)
        if self.keeper is not None:
            self.keeper.settle(settings.account)
        self._asked = self._stand_in = None

    def _new_estimator(self, settings: ControllerSettings) -> LoadEstimator:
        self._estimator_settings = settings.estimator
        step_time = replace(settings.estimator.step_time, initial=self._plant.step_time)
        return LoadEstimator(self._profile.classes, replace(settings.estimator, step_time=step_time))

    def _place(self, difficulty: str | None) -> int:
        return self._index.get(difficulty, len(self._index) - 1) if difficulty is not None else len(self._index) - 1

    def _named(self, points: tuple[PointId, ...]) -> tuple[Limits, ...]:
        """Returns points as limits. Only this method makes limits, of the tables' points, which are all certified."""
        return limits_at(self._tables, points)

    def _hand_out(self, points: tuple[PointId, ...], target: tuple[PointId, ...]) -> None:
        """Puts points in force, on their way to the target."""
        self._points = points
        self._limits = self._by_class(points)
        if self.keeper is not None:
            self.keeper.expect(self._limits, self._by_class(target))

    def _by_class(self, points: tuple[PointId, ...]) -> dict[str | None, Limits]:
        named = self._named(points)
        return {**dict(zip(self._profile.classes, named, strict=True)), None: named[-1]}

    def _problems(self) -> tuple[str, ...]:
        """Returns everything that is wrong now, in words, but for a failure of the controller itself."""
        settings = self._file.settings
        waiting = None if self._waiting_since is None else self._time - self._waiting_since
        said = [self._file.error and f"settings: {self._file.error}; the former ones stay", self._complaints()]
        if self._solves.error is not None:
            said.append(f"the solver failed: {self._solves.error}")
        if waiting is not None and waiting > settings.deadline_s:
            said.append(f"the solver has not answered for {waiting:.1f} s")
        if self._plan is not None and self._time - self._plan.request.time_s > settings.stale_s:
            said.append(f"the policy map is older than {settings.stale_s:g} s")
        if settings.price is PriceSource.JOINT_PROGRAM and has_races(self._tables):
            said.append(f"price is {settings.price}, the same for any number of requests: no thoughts race")
        return tuple(each for each in (*said, self._unbisected) if each)

    def _seen(self, look: LookUp) -> ControllerStatus:
        since, plan = self._waiting_since, self._plan
        return ControllerStatus(
            time_s=self._time,
            classes=self._profile.classes,
            in_system=look.in_system,
            estimate=look.estimate,
            source=look.basis.source,
            limits=self._named(look.held.points),
            target=self._named(look.held.target),
            price=look.basis.price,
            slo_s=look.objective.slo_s,
            slo_steps=look.slo_steps,
            decision=look.basis.planned,
            solves=replace(
                self._solves,
                waiting_s=None if since is None else self._time - since,
                age_s=None if plan is None else self._time - plan.request.time_s,
            ),
            rejected=self._estimator.rejected,
            jumps=self._jumps,
            problems=self._problems(),
            risk=None if self.keeper is None else self.keeper.status(look.basis.risk_price),
        )
