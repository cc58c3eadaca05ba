"""Every page of the reference, by its name."""

from __future__ import annotations

import asyncio
import typing
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, cast

from controller.decision_record import DecisionRecord
from controller.policies.registry import KINDS, POLICIES, find
from controller.serving.signals.base import SIGNALS
from controller.settings import ControllerSettings
from engine.registry import ENGINES, options_of
from experiments.analysis.policy_table import PolicyTable
from experiments.calibration.traces import BudgetChoice, ClosedReply, ThoughtTrace
from experiments.evaluation import question_files
from experiments.evaluation.question_files import QuestionKey
from experiments.request_record import RequestRecord
from experiments.trials.experiment import Experiment
from experiments.workloads import AnyWorkload, recorded
from experiments.workloads.recorded import RateColumn
from laser.handbook import Chapter, Page
from laser.reference.commands import commands_page
from laser.reference.served import api_page, measured, metrics_page
from laser.reference.settings import SettingsPage, registry, values
from laser.server.app import create_app
from laser.server.config import ServeConfig
from laser.server.keys import KeyFile
from laser.server.service import Service
from laser.server.telemetry.logs import LogFormat
from laser.server.telemetry.request_log import LogField
from models.comments import told
from models.files import envelope
from models.files.envelope import Head
from models.plugins import load_named
from models.profile.profile import Profile
from models.thinking import ThinkingFormat

MADE = "This page is made from the code by `python -m laser.reference`. `laser docs WORD` finds a line of it."
ROOTS: dict[str, tuple[type, str]] = {
    "serve": (ServeConfig, "serve.yaml: `laser serve --config`"),
    "controller": (ControllerSettings, "controller.yaml: `laser serve --controller`"),
    "keys": (KeyFile, "keys.yaml: `laser serve --keys`"),
    "experiment": (Experiment, "An experiment: `laser experiment run FILE`"),
    "thinking": (ThinkingFormat, "Thinking format: laser.yaml, or `--thinking`"),
}
"""The classes that a YAML file fills, by the page that tells them."""
WORKLOADS = {kind.kind: kind for kind in typing.get_args(AnyWorkload)}


def elsewhere(own: str) -> dict[Any, str]:
    """Returns the pages of classes and registries that have one, but for page `own`."""
    found: dict[Any, str] = {kind: page for page, (kind, _) in ROOTS.items()}
    found |= {KINDS.field: "policies", "engine": "engines", **dict.fromkeys(WORKLOADS.values(), "workloads")}
    return {key: page for key, page in found.items() if page != own}


def _settings(page: str) -> Page:
    kind, title = ROOTS[page]
    found = SettingsPage(elsewhere(page))
    found.add(kind, "Keys")
    return Page(title=title, text=MADE, chapters=tuple(found.chapters))


def _policies() -> Page:
    found = SettingsPage(elsewhere("policies"))
    kinds = {kind: find(kind) for kind in POLICIES}
    signals = {name: cast(type, load_named(place)) for name, place in SIGNALS.items()}
    every = [
        registry(
            kinds, "Policies", "What decides when a thought is stopped: `policy` in a file, `--policy` of a command."
        ),
        registry(
            signals, "Exit signals", "What closes a thought under the policy `signal`, or one's own by module:Name."
        ),
    ]
    found.kinds(kinds, "")
    return Page(title="Policies and exit signals", text=MADE, chapters=(*every, *found.chapters))


def _engines() -> Page:
    found = SettingsPage(elsewhere("engines"))
    kinds = {kind: options_of(kind) for kind in ENGINES}
    every = registry(kinds, "Engines", "What decodes: `engine` in a file, `--engine` of a command.")
    found.kinds(kinds, "")
    return Page(title="Engines", text=MADE, chapters=(every, *found.chapters))


def _workloads() -> Page:
    found = SettingsPage(elsewhere("workloads"))
    every = registry(
        WORKLOADS, "Workloads", "When requests come: `arrivals` of an experiment, `laser simulate --workload`."
    )
    found.kinds(WORKLOADS, "")
    return Page(title="Workloads", text=MADE, chapters=(every, *found.chapters))


def _log() -> Page:
    text = f"{MADE} A server logs on standard error, a record for each request; `--log-format json` has these fields."
    return Page(title="Log", text=text, chapters=(values(LogField, "Requests"), values(LogFormat, "Formats")))


def _decisions() -> Page:
    found = SettingsPage({})
    found.add(DecisionRecord, "A decision", defaults=False)
    text = f"{MADE} A log is what `laser serve --decision-log` writes: JSON Lines, one object for each decision."
    return Page(title="Decision log", text=text, chapters=tuple(found.chapters))


def _files() -> Page:
    found = SettingsPage({})
    found.add(Head, "Head of a file of ours", text=_first(envelope.__doc__, 2), defaults=False)
    found.add(Profile, "Profile: profile.json", defaults=False)
    found.add(ThoughtTrace, "Calibration records: a thought", defaults=False)
    found.add(ClosedReply, "Calibration records: a reply behind a closed thought", defaults=False)
    found.add(BudgetChoice, "Calibration records: the budgets that a run chose", defaults=False)
    found.add(RequestRecord, "Results of an experiment: a request", defaults=False)
    found.add(PolicyTable, "Policy table of `laser analyze`", defaults=False)
    chapters = (
        values(QuestionKey, "Questions", _first(question_files.__doc__, 3)),
        values(RateColumn, "Table of rates: workload `rates`", _first(recorded.Rates.__doc__, 2)),
        Chapter(title="Arrivals: workload `trace`", text=_first(recorded.Trace.__doc__, 2)),
        *found.chapters,
    )
    yaml = ", ".join(f"[{title}]({page}.md)" for page, (_, title) in ROOTS.items())
    text = f"{MADE} YAML files have pages of their own: {yaml}."
    return Page(title="Files", text=text, chapters=chapters)


def _first(text: str | None, paragraphs: int) -> str:
    return told(" ".join((text or "").split("\n\n")[:paragraphs]))


def served_pages(found: Service) -> dict[str, Page]:
    """Returns the pages of what a server shows, which starts and stops the service."""
    app = create_app(found)
    return {
        "api": api_page(app.openapi(), MADE),
        "metrics": metrics_page(asyncio.run(measured(app, found)), MADE),
    }


def contents(pages: Mapping[str, Page]) -> str:
    """Returns the table of contents as Markdown."""
    lines = [f"- [{page.title}]({name}.md)" for name, page in pages.items()]
    return "\n".join(["# Reference", "", MADE, "", *lines, ""])


PAGES: dict[str, Callable[[], Page]] = {
    **{page: partial(_settings, page) for page in ROOTS},
    "policies": _policies,
    "engines": _engines,
    "workloads": _workloads,
    "commands": lambda: commands_page(MADE),
    "log": _log,
    "decision-log": _decisions,
    "files": _files,
}
"""What makes each page that needs no server, by the page's name."""
