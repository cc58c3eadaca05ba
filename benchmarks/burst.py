"""Sends a burst of requests to a live server, and shows the load-aware policy's response over time and as a figure.

The server is `laser serve` in its own process. Questions are sent over HTTP as a Poisson process, open loop: calm, then
several times the rate, then calm again. /laser/controller is read twice a second.

With --simulated the serving loop, the controller and its solver run in virtual time on a simulated engine that has the
profile's step times and repeats what calibration recorded: the same on every machine.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks.support import report
from controller.controller import Controller
from controller.policies.restricted import within_one_corner
from controller.settings import SettingsFile
from engine.simulated.machine import VirtualClock, profiled_machine
from experiments.evaluation.questions import bundled_questions
from experiments.request_record import RequestRecord
from experiments.simulation.recording import read_recording
from experiments.simulation.simulation import punctual_controller, simulate
from experiments.trials.live import drive
from experiments.trials.trial import Requests
from experiments.workloads import Step
from laser.cli.terminal.demo_traffic import MAX_TOKENS
from laser.server.controller_report import report as controller_report
from laser.server.policy_choice import ChosenPolicy
from laser.server_process import serving
from models.chat_model import load_chat_model
from models.profile.profile import FILE_NAME, read_profile
from models.reasoner import bundled_model

COLOURS = ("#3b8f5a", "#d9722e", "#1f5fa8")  # of the classes, easiest first
TRUE, MUTED, SHADE = "#222222", "#8a8a8a", "#f3e3c3"
EVERY_S = 0.5  # between two reads of /laser/controller
LAST = 10  # number of last finished requests whose mean latency is shown


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """The arrivals: calm, burst, calm."""

    calm: float  # requests/s
    factor: float  # burst rate over calm rate
    calm_s: float  # before the burst, and again after the burst
    burst_s: float

    @property
    def total_s(self) -> float:
        return 2 * self.calm_s + self.burst_s

    @property
    def arrivals(self) -> Step:
        return Step(rate=self.calm, factor=self.factor, at_s=self.calm_s, until_s=self.calm_s + self.burst_s)

    def rate(self, at_s: float) -> float:
        """Returns the arrival rate at `at_s`, requests/s."""
        return self.calm * (self.factor if self.calm_s <= at_s < self.calm_s + self.burst_s else 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One read of /laser/controller."""

    at_s: float
    controller: dict[str, Any]
    latency_s: float | None  # mean of the LAST finished requests; None: there is none


@dataclass(slots=True)
class BurstRun:
    """The samples and the finished requests of a run."""

    samples: list[Sample] = field(default_factory=list)
    done: list[RequestRecord] = field(default_factory=list)


async def drive_and_watch(url: str, traffic: Traffic, rng: np.random.Generator) -> BurstRun:
    """Sends the traffic to a server, and samples its controller until the last request has ended."""
    questions = bundled_questions(40, seed=int(rng.integers(2**31)))
    times = traffic.arrivals.arrivals(traffic.total_s, rng)
    requests = Requests(times=times, questions=rng.integers(len(questions), size=len(times)))
    run, began = BurstRun(), asyncio.get_running_loop().create_future()

    async def watch() -> None:
        async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
            began_s = await began
            while True:
                seen = (await client.get("/laser/controller")).raise_for_status().json()
                last = [one.latency_s for one in run.done[-LAST:] if one.error is None]
                sample = Sample(
                    at_s=time.monotonic() - began_s, controller=seen, latency_s=statistics.mean(last) if last else None
                )
                run.samples.append(sample)
                print(line(sample, traffic), flush=True)
                await asyncio.sleep(EVERY_S)

    watching = asyncio.create_task(watch())
    await drive(url, questions, requests, MAX_TOKENS, run.done.append, begin=lambda: began.set_result(time.monotonic()))
    await asyncio.sleep(max(0.0, began.result() + traffic.total_s - time.monotonic()))
    watching.cancel()
    return run


@dataclass(slots=True, kw_only=True)
class Watched:
    """A load observer that samples the controller which it passes everything on to."""

    controller: Controller
    traffic: Traffic
    run: BurstRun

    def arrived(self, difficulty: str | None) -> None:
        self.controller.arrived(difficulty)

    def finished(self, difficulty: str | None, tokens: int) -> None:
        self.controller.finished(difficulty, tokens)

    def stepped(self, batch: int, context: float, seconds: float) -> None:
        self.controller.stepped(batch, context, seconds)

    def tick(self, now: float, in_system: int) -> None:
        self.controller.tick(now, in_system)
        samples = self.run.samples
        if now <= self.traffic.total_s and (not samples or now >= samples[-1].at_s + EVERY_S):
            chosen = ChosenPolicy(name="load-aware", policy=self.controller)
            seen = controller_report(chosen).model_dump(mode="json")
            samples.append(Sample(at_s=now, controller=seen, latency_s=None))
            print(line(samples[-1], self.traffic), flush=True)


def simulate_and_watch(
    model: Path | None, traffic: Traffic, rng: np.random.Generator, settings: Path | None = None
) -> BurstRun:
    """Serves the traffic in virtual time, and samples the controller. `model` None: the bundled one."""
    directory = model or bundled_model()
    profile, known = read_recording(load_chat_model(directory), directory, directory / FILE_NAME)
    machine, clock = profiled_machine(profile), VirtualClock()
    times = traffic.arrivals.arrivals(traffic.total_s, rng)
    asked = rng.integers(len(known.questions), size=len(times)).tolist()
    controller = punctual_controller(
        within_one_corner(profile),
        SettingsFile(settings, len(profile.classes)),
        clock=clock,
        max_batch=machine.max_batch,
    )
    watched = Watched(controller=controller, traffic=traffic, run=BurstRun())
    print(heading(profile.classes))
    watched.run.done += simulate(known, times, asked, machine=machine, clock=clock, policy=controller, observer=watched)
    return watched.run


def heading(classes: Sequence[str]) -> str:
    """Returns the table's header."""
    by_class = "   ".join(f"{name:^13}" for name in classes)
    return f"{'s':>6} {'true':>6} {'rate/s':>14} {'in system':>10}   {by_class}   {'mean s':>7}   who"


def line(sample: Sample, traffic: Traffic) -> str:
    """Formats a sample as one row of the table."""
    seen = sample.controller
    limits = "   ".join(f"{_threshold(each):>6} {_budget(each):>6}" for each in seen["limits"].values())
    load = seen["load"]
    rate = f"{load['rate']['value']:6.2f} ± {load['rate']['sigma']:5.2f}" if load else "-"
    count = load["in_system"] if load else "-"
    latency = "-" if sample.latency_s is None else f"{sample.latency_s:.2f}"
    problems = f" ({'; '.join(seen['problems'])})" if seen["problems"] else ""
    return (
        f"{sample.at_s:6.1f} {traffic.rate(sample.at_s):6.2f} {rate:>14} {count:>10}   {limits}   {latency:>7}   "
        f"{seen['rung'] or seen['policy']}{problems}"
    )


def _threshold(limits: dict[str, Any]) -> str:
    return "never" if limits["threshold"] is None else f"{limits['threshold']:.2f}"


def _budget(limits: dict[str, Any]) -> str:
    return "none" if limits["budget"] is None else str(limits["budget"])


def summary(run: BurstRun, traffic: Traffic) -> dict[str, Any]:
    """Summarises the run by phase."""
    begin, end = traffic.calm_s, traffic.calm_s + traffic.burst_s
    phases = {"before": (0.0, begin), "burst": (begin, end), "after": (end, traffic.total_s)}
    found: dict[str, Any] = {}
    for name, (low, high) in phases.items():
        done = [one for one in run.done if low <= one.at_s < high and one.error is None]
        if done:
            latencies = [one.latency_s for one in done]
            found[name] = {
                "requests": len(done),
                "mean_latency_s": round(statistics.mean(latencies), 3),
                "p95_latency_s": round(float(np.quantile(latencies, 0.95)), 3),
                "mean_rows": round(statistics.mean(one.rows for one in done), 1),
                "accuracy": round(statistics.mean(bool(one.right) for one in done), 3),
            }
    found["failed"] = sum(one.error is not None for one in run.done)
    found["problems"] = sorted({problem for sample in run.samples for problem in sample.controller["problems"]})
    return found


def draw(path: Path, run: BurstRun, traffic: Traffic, note: str = "") -> None:
    """Draws the run as a figure: load, limits and latency over one time axis; `note` goes behind its title."""
    figure = Figure(figsize=(11, 10), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(4, 1, sharex=True)
    for axes in panels:
        axes.axvspan(traffic.calm_s, traffic.calm_s + traffic.burst_s, color=SHADE, zorder=0, label="burst")
        axes.grid(color="#dddddd", linewidth=0.5)
    panels[0].set_title(f"A burst, and what the controller makes of it{note}")
    _draw_load(panels[0], run, traffic)
    _draw_limits(panels[1], panels[2], run)
    _draw_latency(panels[3], run)
    panels[-1].set_xlabel("time, s")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="png", dpi=120)


def _draw_load(axes: Axes, run: BurstRun, traffic: Traffic) -> None:
    loads = [(sample.at_s, sample.controller["load"]) for sample in run.samples if sample.controller["load"]]
    axes.set_ylabel("arrival rate, requests/s")
    fine = np.linspace(0.0, traffic.total_s, 1000)
    axes.plot(fine, [traffic.rate(float(at)) for at in fine], color=TRUE, linestyle="--", label="true rate")
    if loads:
        times = [at for at, _ in loads]
        rate = np.array([load["rate"]["value"] for _, load in loads])
        sigma = np.array([load["rate"]["sigma"] for _, load in loads])
        axes.plot(times, rate, color=COLOURS[2], label="estimate ± σ")
        axes.fill_between(times, np.maximum(rate - sigma, 0.0), rate + sigma, color=COLOURS[2], alpha=0.2, linewidth=0)
        beside = axes.twinx()
        beside.plot(times, [load["in_system"] for _, load in loads], color=MUTED, linewidth=1)
        beside.set_ylabel("requests in the system (grey)", color=MUTED)
        beside.set_ylim(bottom=0)
    axes.set_ylim(bottom=0)
    axes.legend(loc="upper left", fontsize=9)


def _draw_limits(thresholds: Axes, budgets: Axes, run: BurstRun) -> None:
    thresholds.set_ylabel("threshold, confidence")
    budgets.set_ylabel("thinking budget, tokens")
    times = [sample.at_s for sample in run.samples]
    names = list(run.samples[0].controller["limits"])
    styles = ("-", "--", ":")
    for number, name in enumerate(names):
        limits = [sample.controller["limits"][name] for sample in run.samples]
        style: dict[str, Any] = {"color": COLOURS[number % 3], "linestyle": styles[number % 3], "label": name}
        style |= {"drawstyle": "steps-post", "linewidth": 2}
        never = [1.01 if each["threshold"] is None else each["threshold"] for each in limits]
        none = [MAX_TOKENS if each["budget"] is None else each["budget"] for each in limits]
        thresholds.plot(times, never, **style)
        budgets.plot(times, none, **style)
    budgets.set_ylim(0, 1.1 * MAX_TOKENS)
    _key(thresholds, "above 1: never probed")
    _key(budgets, f"{MAX_TOKENS}: no budget")


def _draw_latency(axes: Axes, run: BurstRun) -> None:
    axes.set_ylabel("latency of each request, s")
    names = sorted({one.difficulty or "any" for one in run.done}, key=["easy", "medium", "hard", "any"].index)
    for number, name in enumerate(names):
        ones = [one for one in run.done if (one.difficulty or "any") == name and one.error is None]
        axes.scatter(
            [one.at_s for one in ones], [one.latency_s for one in ones], s=14, color=COLOURS[number % 3], label=name
        )
    axes.set_ylim(bottom=0)
    _key(axes, "by time of arrival")


def _key(axes: Axes, title: str) -> None:
    """Puts a legend beside the panel, where it hides nothing."""
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), fontsize=9, title=title, title_fontsize=8)


async def serve_and_drive(arguments: Sequence[str], traffic: Traffic, rng: np.random.Generator) -> BurstRun:
    """Starts `laser serve`, sends it the traffic, and ends it."""
    async with serving(["serve", "--port", "0", *arguments]) as served:
        async with httpx.AsyncClient(base_url=served.url, trust_env=False) as client:
            seen = (await client.get("/laser/controller")).raise_for_status().json()
        print(heading(list(seen["limits"])))
        return await drive_and_watch(served.url, traffic, rng)


def capacity(model: Path | None) -> float:
    """Returns the requests/s with full thought by the model's profile. `model` None: the bundled model."""
    return read_profile((model or bundled_model()) / FILE_NAME).full_thought_rate


def main() -> None:
    """Command line: run, print, draw."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.burst", description=__doc__)
    parser.add_argument("--model", type=Path, help="model directory with a profile (default: the bundled model)")
    parser.add_argument("--policy", default="load-aware", help="as of laser serve")
    parser.add_argument("--controller", type=Path, help="settings of the load-aware policy, YAML")
    parser.add_argument("--decision-log", type=Path, help="JSON Lines file for the decisions")
    parser.add_argument(
        "--rate", type=float, help="calm, requests/s (default: 30 %% of what full thoughts leave room for)"
    )
    parser.add_argument("--factor", type=float, default=5.0, help="of the burst's rate over the calm one")
    parser.add_argument("--calm", type=float, default=25.0, help="s before the burst, and after it")
    parser.add_argument("--burst", type=float, default=25.0, help="s")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--max-batch", type=int, help="as of laser serve")
    parser.add_argument("--simulated", action="store_true", help="in virtual time, on the profile's machine")
    parser.add_argument("--out", type=Path, default=Path("burst"), help="JSON and PNG files, without their endings")
    options = parser.parse_args()
    if options.simulated and (options.policy != "load-aware" or options.decision_log or options.max_batch):
        parser.error("--simulated has the load-aware policy, the profile's batch and no decision log")
    options.rate = options.rate or 0.3 * capacity(options.model)
    traffic = Traffic(calm=options.rate, factor=options.factor, calm_s=options.calm, burst_s=options.burst)
    arguments = ["--policy", options.policy]
    for name in ("model", "controller", "decision_log", "max_batch"):
        if (value := getattr(options, name)) is not None:
            arguments += [f"--{name.replace('_', '-')}", str(value)]
    ran = report.circumstances("benchmarks.burst", options.seed)
    rng = np.random.default_rng(options.seed)
    if options.simulated:
        run = simulate_and_watch(options.model, traffic, rng, options.controller)
    else:
        run = asyncio.run(serve_and_drive(arguments, traffic, rng))
    found = summary(run, traffic)
    for name, value in found.items():
        print(f"{name}: {value}")
    results = {"summary": found, "traffic": asdict(traffic), **asdict(run)}
    report.write(options.out.with_suffix(".json"), ran, results)
    draw(options.out.with_suffix(".png"), run, traffic, ", simulated" if options.simulated else "")
    print(f"{options.out.with_suffix('.json')}, {options.out.with_suffix('.png')}")


if __name__ == "__main__":
    main()
