"""Writes findings as a report: text tables in Markdown, one self-contained HTML page, and JSON."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from experiments.statistics import Difference, Proportion
from experiments.table import Table, explained
from experiments.trials.experiment import Backend, Experiment
from experiments.trials.findings import Findings, PolicyFound, WorkloadFound
from experiments.trials.paired import Estimate, Paired
from experiments.trials.trial import described
from experiments.trials.verdict import verdict
from models.files.replacement import replacing

FIGURE = "report.png"


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """Tables under a heading."""

    title: str
    text: str
    tables: tuple[Table, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A whole report."""

    title: str
    machine: str  # what served, and how fast it decodes
    lead: tuple[str, ...]  # what it means, in sentences
    facts: tuple[tuple[str, str], ...]
    sections: tuple[Section, ...]


def report(name: str, found: Findings) -> Report:
    """Builds the report of an experiment's findings under the experiment's name."""
    one = found.experiment
    return Report(
        title=f"{name}: {_BACKENDS[one.backend]}" + (f", {one.synthetic.name}" if one.synthetic else ""),
        machine=found.machine,
        lead=tuple(verdict(found)),
        facts=tuple(_facts(one, found)),
        sections=_explained([*_overview(found), *(_section(one, workload) for workload in found.workloads)]),
    )


def _explained(sections: Sequence[Section]) -> tuple[Section, ...]:
    """Returns the sections with each column explained below the first table that has it."""
    told = iter(explained(table for section in sections for table in section.tables))
    return tuple(replace(section, tables=tuple(next(told) for _ in section.tables)) for section in sections)


def write(directory: Path, made: Report, found: Findings, *, missing: str | None = None) -> list[Path]:
    """Writes report.md, report.html and report.json, and returns the paths of all files.

    The figure must already exist, unless `missing` says why there is none.
    """
    picture = None if missing else base64.b64encode((directory / FIGURE).read_bytes()).decode()
    environment = Environment(
        loader=PackageLoader("experiments.trials"),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["md"] = markdown
    shared = {"report": made, "figure": FIGURE, "picture": picture, "missing": missing}
    texts = {
        "report.md": environment.get_template("report.md").render(shared),
        "report.html": environment.get_template("report.html").render(shared),
        "report.json": json.dumps(_plain(found), ensure_ascii=False, allow_nan=False, indent=1) + "\n",
    }
    for file, text in texts.items():
        with replacing(directory / file) as draft:
            draft.write_text(text, encoding="utf-8")
    return [directory / file for file in (*texts, *([] if missing else [FIGURE]))]


def markdown(text: str) -> str:
    """Returns a text as Markdown shows it letter by letter, in one line."""
    escaped = re.sub(r"[\\`*_<>|~$&#]|(?<=\])\(", lambda found: f"\\{found[0]}", text)
    return " ".join(escaped.split())


_BACKENDS = {Backend.LIVE: "measured on a live server", Backend.SIMULATED: "simulated"}


def _facts(one: Experiment, found: Findings) -> Iterable[tuple[str, str]]:
    slo = found.slo
    if one.synthetic is not None:
        yield "synthetic", f"{one.synthetic.name}: made from published figures, nothing here was measured on a model"
    for said in {str(origin.get("served")): origin.get("served") for origin in found.origins}.values():
        if isinstance(said, dict):  # trials of earlier releases do not say
            yield from ((name, str(said[name])) for name in ("model", "engine", "profile") if name in said)
    yield "trials", f"{found.complete} of {found.trials} complete; seeds {', '.join(map(str, one.seeds))}"
    counted = f"; those of the first {one.warmup_s:g} s are not counted" if one.warmup_s else ""
    yield "requests", f"arrive within {one.duration_s:g} s of each trial{counted}"
    yield from (("note", note) for note in found.notes)
    yield "in time", f"within {slo.easy:g} s (easy), {slo.medium:g} s (medium), {slo.hard:g} s (hard) of arrival"
    yield "utility", f"accuracy less {100 * found.latency_weight:.2g} points for each second of mean latency"
    yield (
        "intervals",
        "95 %: Wilson's for shares, over requests; a paired bootstrap over questions for accuracy lost; a paired "
        "bootstrap over questions for the accuracy that a policy changes, over blocks of n^⅔ consecutive requests for "
        "all else",
    )
    if one.backend is Backend.LIVE:
        yield "machine", "of each trial its own speed: intervals leave that out, see its column"
    if one.backend is Backend.SIMULATED:
        yield "repeated", "questions come again and answer alike, so Wilson's intervals are too narrow"
    for origin in found.origins:
        versions = origin.get("versions")
        said = ", ".join(
            f"{name} {number}" for name, number in (versions if isinstance(versions, dict) else {}).items()
        )
        processor, cores, date, commit = (
            origin.get(name, "unknown") for name in ("processor", "cores", "date", "commit")
        )
        yield "ran on", f"{processor}, {cores} cores, from {date}; commit {commit}; {said}"


def _overview(found: Findings) -> Iterable[Section]:
    if len(found.workloads) < 2:
        return
    baseline = found.experiment.baseline
    tables = [
        _across(
            found,
            f"Mean latency against {baseline}, %",
            lambda one, _: _percent(one.against[baseline].latency) if baseline in one.against else "–",
        ),
        _across(
            found,
            f"In time against {baseline}, points",
            lambda one, _: _points(one.against[baseline].in_time) if baseline in one.against else "–",
        ),
        _across(
            found,
            f"Accuracy lost against {found.experiment.full_thought}, points",
            lambda one, _: _lost(one.lost) if one.lost is not None else "–",
        ),
        _across(
            found,
            "Utility against the best constant threshold and budget in hindsight, points",
            lambda one, of: (
                _points(one.against[of.best_constant].utility, digits=2)
                if of.best_constant is not None and of.best_constant in one.against
                else "–"
            ),
        ),
    ]
    yield Section(title="Overview", text="", tables=tuple(tables))


def _across(found: Findings, title: str, cell: Callable[[PolicyFound, WorkloadFound], str]) -> Table:
    rows = []
    for name in found.experiment.policy_names:
        cells = [cell(of.policies[name], of) if name in of.policies else "not run" for of in found.workloads]
        rows.append((name, *cells))
    workloads = tuple(of.name for of in found.workloads)
    return Table(title=title, header=("policy", *workloads), rows=tuple(rows), names=workloads)


def _section(experiment: Experiment, of: WorkloadFound) -> Section:
    shown = _shown(experiment, of)
    text = f"{of.requests} requests, {of.questions} different questions."
    if speeds := [speed for one in of.policies.values() for speed in one.speeds]:
        text += f" The machine's speed over the profile's was {min(speeds):.2f} to {max(speeds):.2f}."
    if of.best_constant is not None:
        tried = [one.name for one in experiment.all_policies if one.constant and one.name in of.policies]
        text += (
            f" Best constant threshold and budget in hindsight, by utility, of {', '.join(tried)}: {of.best_constant}"
        )
        text += f"; best constant threshold alone: {of.best_threshold}." if of.best_threshold else "."
    references = [
        reference
        for reference in dict.fromkeys((experiment.baseline, of.best_constant))
        if reference is not None and reference in of.policies
    ]
    tables = [_service(shown), _accuracy(experiment, shown), *(_against(reference, shown) for reference in references)]
    return Section(title=of.name, text=text, tables=tuple(tables))


def _shown(experiment: Experiment, of: WorkloadFound) -> list[PolicyFound]:
    """Returns the policies that the experiment names, and the best of those that were run for hindsight."""
    names = [*experiment.policy_names, of.best_threshold, of.best_constant]
    return [of.policies[name] for name in dict.fromkeys(names) if name is not None and name in of.policies]


def _service(shown: list[PolicyFound]) -> Table:
    rows = []
    for one in shown:
        o = one.outcome
        rows.append(
            (
                one.name,
                *(f"{seconds:.2f}" for seconds in (o.latency.mean, o.latency.p50, o.latency.p95, o.latency.p99)),
                f"{o.first_answer.mean:.2f}",
                _share(o.in_time),
                f"{o.goodput:.2f}",
                f"{o.tokens:.0f}",
                f"{o.probe_rows:.0f}",
                f"{100 * o.utility:.2f}",
                str(o.failed),
                *([] if not one.speeds else [" ".join(f"{speed:.2f}" for speed in one.speeds)]),
            )
        )
    header: tuple[str, ...] = (
        "policy", "latency s", "p50", "p95", "p99", "first answer s", "in time %", "goodput /s", "tokens", "of probes",
        "utility", "failed",
    )  # fmt: skip
    if any(one.speeds for one in shown):
        header += ("speed",)
    return Table(title="Service", header=header, rows=tuple(rows))


def _accuracy(experiment: Experiment, shown: list[PolicyFound]) -> Table:
    benchmarks = list(shown[0].outcome.benchmarks)
    rows = [
        (
            one.name,
            _share(one.outcome.accuracy),
            *(_share(one.outcome.benchmarks[name]) for name in benchmarks),
            "–" if one.lost is None else _lost(one.lost),
            "–" if one.worst is None else f"{one.worst[0]} {_lost(one.worst[1])}",
        )
        for one in shown
    ]
    return Table(
        title="Accuracy, %",
        header=("policy", "all", *benchmarks, "lost, points", "worst benchmark, points lost"),
        rows=tuple(rows),
        note=f"Lost is against {experiment.full_thought}, on the same requests; a negative loss is a gain.",
        names=tuple(benchmarks),
    )


def _against(reference: str, shown: list[PolicyFound]) -> Table:
    def cells(change: Paired) -> tuple[str, ...]:
        return (
            _percent(change.latency),
            _points(change.in_time),
            _points(change.accuracy),
            _percent(change.tokens),
            _points(change.utility, digits=2),
        )

    return Table(
        title=f"Against {reference}",
        header=("policy", "mean latency %", "in time, points", "accuracy, points", "tokens %", "utility, points"),
        rows=tuple((one.name, *cells(one.against[reference])) for one in shown if reference in one.against),
    )


def _share(of: Proportion) -> str:
    return f"{100 * of.share:.1f} [{100 * of.low:.1f}, {100 * of.high:.1f}]"


def _lost(of: Difference) -> str:
    return f"{of.points_lost:+.1f} [{of.low:+.1f}, {of.high:+.1f}]"


def _points(of: Estimate | None, digits: int = 1) -> str:
    if of is None:
        return "–"
    return f"{of.value:+.{digits}f} [{of.low:+.{digits}f}, {of.high:+.{digits}f}]"


def _percent(of: Estimate | None) -> str:
    if of is None:
        return "–"
    return _points(Estimate(value=100 * of.value, low=100 * of.low, high=100 * of.high))


def _plain(found: Findings) -> dict[str, Any]:
    return {
        "experiment": described(found.experiment),
        "complete": found.complete,
        "trials": found.trials,
        "origins": list(found.origins),
        "workloads": {
            of.name: {
                "requests": of.requests,
                "best_threshold": of.best_threshold,
                "best_constant": of.best_constant,
                "policies": {name: asdict(one) for name, one in of.policies.items()},
            }
            for of in found.workloads
        },
    }
