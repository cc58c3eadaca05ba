"""What the log says of a server at its start: what is loaded, how long it takes, and what then serves.

Each fact is one record. Text shows its words behind its topic, JSON its fields, too.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from controller.policies.definition import PolicySettings
from engine.base import EngineError
from engine.inventory import Inventory, inventory
from laser.server.config import ServeConfig
from laser.server.telemetry.logs import FACTS
from models.profile.corners import certified_range, corners, outermost, told
from models.profile.lever import Lever
from models.profile.profile import Profile, profile_of
from models.profile.tables import OperatingPoint
from models.reasoner import bundled_model

if TYPE_CHECKING:
    from laser.server.deployment import Deployment

log = logging.getLogger("laser.start")

WIDTH = 10  # of a topic, with the space behind it


@dataclass(frozen=True, slots=True, kw_only=True)
class StartFact:
    """One thing that is told at the start."""

    topic: str
    words: str
    fields: dict[str, Any]
    level: int = logging.INFO

    def tell(self) -> None:
        """Logs it."""
        said = {FACTS: {"topic": self.topic, **self.fields}}
        log.log(self.level, "%-*s%s", WIDTH, self.topic, self.words, extra=said)


@contextmanager
def loading(config: ServeConfig, clock: Callable[[], float] = time.monotonic) -> Iterator[Callable[[str], None]]:
    """Tells that a model is loaded in the block, and how long it took, by stages.

    The block calls what it is given with the name of each stage as it begins.
    """
    directory = directory_of(config)
    StartFact(topic="loading", words=f"{directory} …", fields={"directory": str(directory)}).tell()
    began = clock()
    begun: list[tuple[str, float]] = []
    yield lambda name: begun.append((name, clock()))
    ends = [*(at for _, at in begun[1:]), clock()]
    stages = {name: round(end - at, 3) for (name, at), end in zip(begun, ends, strict=bool(begun))}
    took_s = ends[-1] - began
    parts = ", ".join(f"{name} {seconds:.1f}" for name, seconds in stages.items())
    words = f"in {took_s:.1f} s" + (f": {parts}" if parts else "")
    StartFact(topic="loaded", words=words, fields={"seconds": round(took_s, 3), "stages": stages}).tell()


def ready(words: str, *, url: str, model: str) -> None:
    """Logs that requests are answered."""
    log.info("%s", words, extra={FACTS: {"topic": "ready", "url": url, "model": model}})


def directory_of(config: ServeConfig) -> Path:
    """Returns the directory of the model that is served."""
    return (config.model or bundled_model()).absolute()  # a link in a hub's cache leads to a file named by its hash


def tell(deployment: Deployment) -> None:
    """Logs what serves, a record for each fact."""
    for each in facts(deployment):
        each.tell()


def facts(deployment: Deployment) -> list[StartFact]:
    """Returns what is told of a deployed model."""
    return [
        _model(deployment),
        _engine(deployment),
        _context(deployment),
        _thinking(deployment),
        _signal(deployment),
        _policy(deployment),
        _certified(deployment),
        *_order(deployment),
    ]


def _model(deployment: Deployment) -> StartFact:
    directory = directory_of(deployment.config)
    said = {"model": deployment.model_id, "directory": str(directory)}
    try:
        found = inventory(directory)
    except EngineError as error:  # an engine of one's own may take other files
        words = f"{deployment.model_id}, its parameters are not known: {error}"
        return StartFact(topic="model", words=words, fields={**said, "parameters": None, "stored": None, "bits": None})
    words = f"{deployment.model_id}, {_size(found)}, from {directory}"
    bits = None if found.bits is None else round(found.bits, 2)
    return StartFact(
        topic="model",
        words=words,
        fields={**said, "parameters": found.parameters, "stored": found.stored, "bits": bits},
    )


def _size(found: Inventory) -> str:
    if found.parameters is None or found.bits is None:
        return f"stored as {found.stored}"
    return f"{in_short(found.parameters)} parameters, stored as {found.stored} ({found.bits:.3g} bits each)"


def in_short(count: int) -> str:
    """Returns a number of parameters in three digits: 2.1M, 596M, 7.62B."""
    for unit, letter in ((10**9, "B"), (10**6, "M"), (10**3, "K")):
        if count >= 0.9995 * unit:  # 999,999 are 1M
            return f"{count / unit:.3g}{letter}"
    return str(count)


def _engine(deployment: Deployment) -> StartFact:
    opened, threads = deployment.opened, deployment.config.threads
    parts = (
        opened.kind,
        opened.runner and f"{opened.runner} forward pass",
        opened.arithmetic and f"computed in {opened.arithmetic}",
        opened.device and f"on {opened.device}",
        f"{threads} thread{'s' * (threads != 1)}",
    )
    said = {"engine": opened.kind, "runner": opened.runner or None, "arithmetic": opened.arithmetic or None}
    said |= {"device": opened.device or None}
    note = f"; {opened.note}" if opened.note else ""
    return StartFact(
        topic="engine",
        words=f"{', '.join(filter(None, parts))}{note}",
        fields={**said, "threads": threads, "note": opened.note or None},
    )


def _context(deployment: Deployment) -> StartFact:
    options, room = deployment.config.engine_options, deployment.loop.room
    words = (
        f"{room:,} tokens of prompt and reply; KV cache of {options.cells_taken:,} tokens; at most {options.max_batch} "
        "sequences at once"
    )
    said = {"context": room, "cells": options.cells_taken, "max_batch": options.max_batch}
    return StartFact(topic="context", words=words, fields=said)


def _thinking(deployment: Deployment) -> StartFact:
    form, config = deployment.chat.thinking.format, deployment.config
    source = deployment.chat.format_source
    begins = "the chat template" if deployment.chat.habits.opens else "LASER"
    said = {"open": form.open, "close": form.closers[0], "thinking": source, "begun_by": begins, "chat_template": None}
    if form.plain:
        words = f"none, {source}; a request may ask for a thought in its content"
        said |= {"open": None, "close": None, "begun_by": None}
    elif form.in_the_open:
        words = f"in the content, {source}; the answer begins with {' or '.join(form.closers)}"
        said |= {"open": None, "begun_by": None}
    else:
        words = f"{form.shown}, {source}; {begins} begins the thought"
    if config.chat_template is not None:
        words += f"; the chat template is {config.chat_template.name}"
        said["chat_template"] = config.chat_template.name
    return StartFact(topic="thinking", words=words, fields=said)


def _signal(deployment: Deployment) -> StartFact:
    names = list(deployment.chosen.policy.limits(None).signals)
    if any(point.threshold is not None for point in deployment.chosen.points):
        names = ["confidence"]  # also where the limits now in force have none
    score = deployment.config.score or deployment.chat.thinking.format.probe.score
    words = ", ".join(f"confidence ({score})" if name == "confidence" else name for name in names)
    return StartFact(
        topic="signal",
        words=words or "none: running thoughts are not probed",
        fields={"signals": names, "score": score.value if "confidence" in names else None},
    )


def _policy(deployment: Deployment) -> StartFact:
    chosen = deployment.chosen
    settings = _settings(chosen.settings)
    if not deployment.config.early_exit:
        settings = {name: value for name, value in settings.items() if name == "budget"}
    words = ", ".join([chosen.name, *(f"{name} {value}" for name, value in settings.items())])
    note = "" if chosen.note is None else f"; {chosen.note}"
    return StartFact(
        topic="policy",
        words=f"{words}{note}",
        fields={"policy": chosen.name, "settings": settings, "note": chosen.note},
        level=logging.WARNING if chosen.warns else logging.INFO,
    )


def _order(deployment: Deployment) -> Iterator[StartFact]:
    """Yields what is told of an order that is not first come, first served, or that was chosen."""
    chosen, order = deployment.chosen, deployment.chosen.order
    if not order.order.head_start_s and chosen.order_note is None:
        return
    parts = [order.words, *([] if chosen.order_note is None else [chosen.order_note])]
    bound = order.order.head_start_s if math.isfinite(order.order.head_start_s) else None
    said = {"order": order.name, "head_start_s": bound, "pauses": order.pauses, "note": chosen.order_note}
    yield StartFact(topic="order", words="; ".join(parts), fields=said)


def _settings(policy: PolicySettings | None) -> dict[str, Any]:
    """Returns the settings of a policy that have a value."""
    if policy is None:
        return {}
    own: Any = policy
    values = {field.name: getattr(policy, field.name) for field in fields(own)}
    return {name: value for name, value in values.items() if isinstance(value, int | float | str)}


def _certified(deployment: Deployment) -> StartFact:
    profile = deployment.chosen.certifying
    if profile is None:
        path = profile_of(directory_of(deployment.config))
        why = "the profile does not fit" if path.is_file() else "there is no profile"
        return StartFact(topic="certified", words=f"nothing: {why}", fields={"certified": None})
    words, said = certified(profile)
    points = deployment.chosen.points
    if points and profile.certificate.mean is None and outermost(points) != corners(profile):
        words += f"; {deployment.chosen.name} keeps to one corner of these: {told(outermost(points))}"
        said["served"] = corners_of(outermost(points))
    if used := lever_limits(points):
        words += f"; in use, too: {', '.join(used)}"
    for lever in () if profile.refused is not None else unused(profile, points):
        words += f"; no point of {lever.replace('-', '_')} lies in the corner that gives up least, so it is not used"
    return StartFact(topic="certified", words=words, fields={"certified": said})


def corners_of(points: Sequence[OperatingPoint]) -> list[dict[str, Any]]:
    """Returns corners as fields."""
    return [{"threshold": each.threshold, "budget": each.budget} for each in points]


def lever_limits(points: Sequence[OperatingPoint]) -> list[str]:
    """Returns how far each lever beside thresholds and budgets may go at these points, in words."""
    prices = [point.price for point in points if point.price is not None]
    curves = [point.give_up.height for point in points if point.give_up is not None]
    skips = [point.skip for point in points if point.skip is not None]
    return [
        *([f"prices up to {max(prices):.2g} of a right answer a row"] if prices else []),
        *([f"lower curves up to a confidence of {max(curves):g}"] if curves else []),
        *([f"answers at once from a score of {min(skips):g}"] if skips else []),
    ]


def unused(profile: Profile, points: Sequence[OperatingPoint]) -> list[Lever]:
    """Returns the levers of a controller's profile of which it has none of the certified points."""
    of_points = {Lever.GIVE_UP: "give_up", Lever.NO_THOUGHT: "skip", Lever.PRICE_INDEX: "price"}
    used = {lever for lever, name in of_points.items() if any(getattr(point, name) is not None for point in points)}
    return sorted(profile.levers & (of_points.keys() - used)) if points else []


def certified(profile: Profile) -> tuple[str, dict[str, Any]]:
    """Returns what is certified, in words and as fields."""
    given, confidence = profile.certificate, 1.0 - profile.certificate.delta
    said = {
        "risk": given.epsilon,
        "confidence": confidence,
        "corners": corners_of(corners(profile)),
    }
    if given.mean is not None:
        said["mean_risk"] = given.mean
    if profile.refused is not None:
        return f"nothing: {profile.refused}", said
    mean = "" if given.mean is None else f" for any one request and {given.mean:g} on average"
    return f"{certified_range(profile)}, at a risk of {given.epsilon:g}{mean} with confidence {confidence:g}", said
