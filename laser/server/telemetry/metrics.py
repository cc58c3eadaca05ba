"""Prometheus metrics: `laser_*`, and optionally the `vllm:` names that dashboards and routers know."""

from __future__ import annotations

import asyncio
import platform
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from controller.serving.request import Close, ExitReason, Outcome
from controller.status import DecisionSource
from engine.base import FinishReason
from laser.server.api.openapi import STATUSES
from laser.server.api.surfaces import SURFACES
from laser.server.controller_report import ControllerReport
from laser.server.engine_process.served import ServedModel
from laser.server.engine_process.tickets import EngineClient
from laser.version import VERSION
from models.profile.savings import Gained
from models.profile.tables import NEVER

SECONDS = (
    0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0,
    640.0, 1280.0, 2560.0, 5120.0, 7200.0,
)  # fmt: skip
NOBODY = -1  # a process that there is not: nothing is told of it
KINDS = ("prompt", "reasoning", "answer", "forced", "withdrawn", "probe", "raced")  # of tokens
LAG_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0)
TOKEN_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gauge:
    """A value that is read at every scrape."""

    name: str
    help: str
    labels: tuple[tuple[str, str], ...] = ()
    value: float


class Metrics:
    """Counters and histograms of one server; every scrape gets the gauges from `gauges`."""

    def __init__(
        self,
        model: str,
        gauges: Callable[[], list[Gauge]],
        *,
        vllm: bool = False,
        engine: Callable[[], int | None] = lambda: None,
    ) -> None:
        """`engine` returns the id of the engine's own process; None: it has none."""
        # a series more for each counter and histogram, which no rule or picture reads
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry()
        self._registry.register(_Gauges(gauges))
        ProcessCollector(registry=self._registry)  # memory, CPU time, open files, start: process_*, on Linux
        own = ProcessCollector("laser_engine", pid=lambda: engine() or NOBODY, registry=None)  # the same of another one
        self._registry.register(own)
        self._answers = Counter("laser_http_responses", "HTTP responses.", ("path", "status"), registry=self._registry)
        self._replies = Counter(
            "laser_replies",
            "Replies, by why the reply and its thought ended.",
            ("finish_reason", "exit_reason"),
            registry=self._registry,
        )
        self._gone = Counter("laser_replies_abandoned", "Replies whose client has gone.", registry=self._registry)
        self._turned_away = Counter(
            "laser_turned_away", "Requests answered 429, and streams that ended so.", registry=self._registry
        )
        self._rows = Counter(
            "laser_token_rows",
            "Tokens: of prompts, thoughts, answers, forced, withdrawn, of probes, of thoughts that lost a race; "
            "abandoned replies count, too.",
            ("kind",),
            registry=self._registry,
        )
        self._averted = Counter(
            "laser_averted_markers",
            "Markers of thinking that the model chose behind a closed thought, by who closed it.",
            ("close",),
            registry=self._registry,
        )
        for close in Close:
            self._averted.labels(close.value)  # a series that begins at 0
        self._model = model
        self._vllm = _VllmCounters(self._registry) if vllm else None
        self._lag = Histogram(
            "laser_event_loop_lag_seconds", "How late the event loop is.", buckets=LAG_SECONDS, registry=self._registry
        )
        self._queue = self._histograms("queue_seconds", "request_queue_time_seconds", "Until a request begins.")
        self._ttft = self._histograms("ttft_seconds", "time_to_first_token_seconds", "Until the first token.")
        self._tpot = self._histograms(
            "tpot_seconds", "inter_token_latency_seconds", "For a further token, mean of a reply.", TOKEN_SECONDS
        )
        self._total = self._histograms("e2e_seconds", "e2e_request_latency_seconds", "Until the last token.")
        self._begin_at_zero()

    @classmethod
    def of(cls, served: ServedModel, engine: EngineClient) -> Metrics:
        """Returns the metrics of a model's server."""
        vllm = served.config.vllm_metrics
        return cls(served.model_id, lambda: gauges(served, engine, vllm=vllm), vllm=vllm, engine=lambda: engine.pid)

    def answered(self, path: str, status: int) -> None:
        """Counts an HTTP response."""
        self._answers.labels(path, str(status)).inc()
        if status == 429:
            self._turned_away.inc()

    def lagged(self, seconds: float) -> None:
        """Records that the event loop made a call `seconds` late."""
        self._lag.observe(seconds)

    def abandoned(self) -> None:
        """Counts a reply whose client has gone before the reply was complete."""
        self._gone.inc()

    def left(self, outcome: Outcome) -> None:
        """Records what a reply has cost whose client has gone."""
        self._count_rows(outcome)

    def _count_rows(self, outcome: Outcome) -> None:
        thought = outcome.thought
        self._averted.labels(outcome.close.value).inc(outcome.averted)
        counts = (
            outcome.sent_tokens,
            thought.tokens,
            outcome.decoded_tokens - thought.tokens,
            outcome.put_in + outcome.put_before,
            thought.withdrawn_tokens,
            thought.probe_rows,
            outcome.raced_rows,
        )
        for kind, tokens in zip(KINDS, counts, strict=True):
            self._rows.labels(kind).inc(max(0, tokens))

    def ended(self, outcome: Outcome, *, streamed: bool = False) -> None:
        """Records a reply that has ended. `streamed`: it has a status already, and it is 200."""
        thought = outcome.thought
        self._replies.labels(outcome.finish_reason.value, str(thought.exit_reason or "none")).inc()
        if streamed and outcome.retry_after_s is not None and not outcome.choice:
            self._turned_away.inc()
        self._count_rows(outcome)
        if outcome.finish_reason is FinishReason.ERROR:
            return
        self._observe(self._queue, outcome.queue_s)
        self._observe(self._total, outcome.total_s)
        if outcome.ttft_s is not None:
            self._observe(self._ttft, outcome.ttft_s)
            if outcome.completion_tokens > 1 and outcome.width == 1:  # a race tells all its tokens at its end
                further = outcome.completion_tokens - 1
                self._observe(self._tpot, max(0.0, outcome.total_s - outcome.ttft_s) / further)
        if self._vllm is not None:
            self._vllm.prompt.labels(self._model).inc(outcome.sent_tokens)
            self._vllm.generated.labels(self._model).inc(outcome.generated_tokens)
            self._vllm.success.labels(self._model, outcome.finish_reason.value).inc()

    def text(self) -> bytes:
        """Returns all metrics in Prometheus' text format."""
        return generate_latest(self._registry)

    def _begin_at_zero(self) -> None:
        """Creates what the known values of labels stand for, so that even the first event is seen as an increase."""
        for path, status in product((surface.path for surface in SURFACES), (200, *STATUSES, 499)):
            self._answers.labels(path, str(status))
        for finish, why in product(FinishReason, ("none", *ExitReason)):
            self._replies.labels(finish.value, str(why))
        for kind in KINDS:
            self._rows.labels(kind)
        if self._vllm is not None:
            self._vllm.prompt.labels(self._model)
            self._vllm.generated.labels(self._model)
            for finish in FinishReason:
                self._vllm.success.labels(self._model, finish.value)
        for _, *aliases in (self._queue, self._ttft, self._tpot, self._total):
            for alias in aliases:
                alias.labels(self._model)

    def _histograms(self, own: str, vllm: str, help: str, buckets: tuple[float, ...] = SECONDS) -> list[Histogram]:
        """Creates a histogram under LASER's name and, if enabled, one under vLLM's name."""
        made = [Histogram(f"laser_{own}", help, buckets=buckets, registry=self._registry)]
        if self._vllm is not None:
            made.append(Histogram(f"vllm:{vllm}", help, ("model_name",), buckets=buckets, registry=self._registry))
        return made

    def _observe(self, histograms: list[Histogram], value: float) -> None:
        own, *aliases = histograms
        own.observe(value)
        for alias in aliases:
            alias.labels(self._model).observe(value)


class _VllmCounters:
    def __init__(self, registry: CollectorRegistry) -> None:
        label = ("model_name",)
        self.prompt = Counter("vllm:prompt_tokens", "Tokens of prompts.", label, registry=registry)
        self.generated = Counter("vllm:generation_tokens", "Tokens of replies.", label, registry=registry)
        self.success = Counter("vllm:request_success", "Replies.", (*label, "finished_reason"), registry=registry)


class _Gauges(Collector):
    def __init__(self, gauges: Callable[[], list[Gauge]]) -> None:
        self._gauges = gauges

    def collect(self) -> Iterator[Metric]:
        families: dict[str, GaugeMetricFamily] = {}
        for gauge in self._gauges():
            family = families.get(gauge.name)
            if family is None:
                labels = [name for name, _ in gauge.labels]
                family = families[gauge.name] = GaugeMetricFamily(gauge.name, gauge.help, labels=labels)
            family.add_metric([value for _, value in gauge.labels], gauge.value)
        yield from families.values()


def gauges(served: ServedModel, engine: EngineClient, *, vllm: bool) -> list[Gauge]:
    """Returns the engine's load, the queue, and the load-aware controller's estimates and limits."""
    queue, load = engine.queue, engine.load
    usage = load.cells_reserved / load.cells_total
    found = [
        _build(served),
        Gauge(name="laser_running", help="Requests in the engine.", value=queue.running),
        Gauge(name="laser_waiting", help="Requests in the queue.", value=queue.waiting),
        Gauge(name="laser_drain_seconds", help="Until all that wait have begun.", value=queue.drain_s),
        Gauge(name="laser_kv_cache_usage", help="Share of the KV cache that is reserved.", value=usage),
        Gauge(
            name="laser_engine_restarts",
            help="Times that the engine's process has been started again.",
            value=engine.restarts,
        ),
    ]
    if vllm:
        model = (("model_name", served.model_id),)
        for name, help, value in (
            ("vllm:num_requests_running", "Requests in the engine.", float(queue.running)),
            ("vllm:num_requests_waiting", "Requests in the queue.", float(queue.waiting)),
            ("vllm:kv_cache_usage_perc", "Share of the KV cache that is reserved; 1 is all.", usage),
        ):
            found.append(Gauge(name=name, help=help, labels=model, value=value))
    return [*found, *saved(engine.gained), *_controlled(engine.controller)]


def _controlled(report: ControllerReport) -> Iterator[Gauge]:
    """Yields what a load-aware controller believes and does; of another policy, nothing."""
    if report.load is None:
        return
    yield Gauge(name="laser_arrival_rate", help="Requests/s, believed.", value=report.load.rate.value)
    if report.prices is not None and report.prices.token_now is not None:
        price = report.prices.token_now
        yield Gauge(name="laser_token_price", help="Correct answers that a token costs.", value=price)
    yield from _risk(report)
    for name, limits in report.limits.items():
        label = (("difficulty", name),)
        threshold = NEVER if limits.threshold is None else limits.threshold
        yield Gauge(name="laser_threshold", help="Confidence that closes a thought.", labels=label, value=threshold)
        budget = float("inf") if limits.budget is None else float(limits.budget)
        yield Gauge(name="laser_budget_tokens", help="Thinking tokens.", labels=label, value=budget)
    yield from controller_health(report)


def _risk(report: ControllerReport) -> Iterator[Gauge]:
    """Yields the account of risk; without one, nothing."""
    account = report.risk
    if account is None:
        return
    for name, help, value in (
        ("laser_risk_spent", "Charged to the account of risk so far, as a sum over requests.", account.spent),
        (
            "laser_risk_requests",
            "Requests that the account of risk has charged, but for those that left.",
            account.requests,
        ),
        ("laser_risk_charged", "Mean charge of a request so far; stays at most at the policy's risk.", account.charged),
        ("laser_risk_left", "Risk saved, to be spent in bursts.", account.left),
        ("laser_risk_most", "Risk that may be saved.", account.most),
        ("laser_risk_price", "Correct answers that a unit of risk costs now.", account.price),
        ("laser_risk_refused", "Requests held to stricter limits, since the account was short.", account.refused),
        ("laser_risk_topped_up", "Running thoughts charged again, for laxer limits.", account.topped_up),
    ):
        yield Gauge(name=name, help=help, value=float(value))


def _build(served: ServedModel) -> Gauge:
    labels = (
        ("version", VERSION),
        ("python", platform.python_version()),
        ("engine", served.engine),
        ("model", served.model_id),
    )
    return Gauge(name="laser_build_info", help="Always 1; its labels tell what serves.", labels=labels, value=1.0)


def controller_health(report: ControllerReport) -> Iterator[Gauge]:
    """Yields whether the controller decides as it should."""
    problems = float(len(report.problems))
    yield Gauge(name="laser_controller_problems", help="What is wrong; /laser/controller has words.", value=problems)
    for rung in DecisionSource:
        label, decides = (("rung", rung.value),), float(report.rung is rung)
        yield Gauge(name="laser_controller_rung", help="1 for what decides now.", labels=label, value=decides)
    if report.solver is None:
        return
    for name, help, value in (
        ("laser_controller_plan_age_seconds", "Age of the last plan.", report.solver.age_s),
        ("laser_controller_solve_seconds", "Duration of the last solve.", report.solver.solve_s),
    ):
        if value is not None:
            yield Gauge(name=name, help=help, value=value)


def saved(gained: Gained | None) -> list[Gauge]:
    """Returns what was saved since the start, as gauges, since an estimate may fall; None: there is no estimate."""
    if gained is None:
        return []
    help = "Replies whose savings are estimated, since the start."
    found = [Gauge(name="laser_estimated_saved_replies", help=help, value=gained.replies)]
    for against, one in (("full_thought", gained.full_thought), (f"fixed_{gained.fixed_threshold:g}", gained.fixed)):
        if one is None:
            continue
        for bound in ("mean", "low", "high"):
            label = (("against", against), ("bound", bound))
            ending = "" if bound == "mean" else f"_{bound}"
            for name, help, value in (
                ("tokens", "Token rows saved since the start, estimated.", getattr(one, f"tokens{ending}")),
                ("decode_seconds", "The engine's time saved, estimated.", getattr(one, f"seconds{ending}")),
            ):
                found.append(Gauge(name=f"laser_estimated_saved_{name}", help=help, labels=label, value=value))
    return found


EVERY_S = 0.05


async def watch_lag(observe: Callable[[float], None], every_s: float = EVERY_S) -> None:
    """Calls `observe` every `every_s`, without end, with the seconds by which the event loop woke late."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + every_s
        await asyncio.sleep(every_s)
        observe(max(0.0, loop.time() - due))
