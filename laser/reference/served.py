"""What a server of the bundled model shows of itself: its API and its metrics."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from typing import Any

import httpx
from fastapi import FastAPI
from prometheus_client.parser import text_string_to_metric_families

from controller.policies.load_aware import LoadAware
from controller.serving.request import Close, ExitReason
from engine.base import FinishReason
from laser.handbook import Chapter, Entry, HandbookError, Page
from laser.reference.settings import values
from laser.reference.shown import coded, literal
from laser.server.api.base import NOT_DONE
from laser.server.api.chat import CHAT
from laser.server.api.errors import ErrorCode, ErrorType
from laser.server.api.headers import RequestHeader, ResponseHeader
from laser.server.api.openapi import STATUSES
from laser.server.config import ServeConfig
from laser.server.deployment import deploy
from laser.server.service import Service
from models.comments import told

PATIENCE_S = 60.0
QUESTIONS = (
    "Given 37, 82, 51, 92, what is the largest number?",
    "Here is a list: 37, 32, 68, 12, 51. Find the largest number.",
    "Tom has 19 books. Tom buys 33 more. Tom loses 24. How many books does Tom have at the end?",
)
TYPES = {"integer": "whole number", "number": "number", "string": "text", "boolean": "true or false", "null": "null"}
UNITS = {"_seconds": "s", "_tokens": "tokens", "_rate": "requests/s", "_bytes": "bytes"}
BOUNDS = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}


def service() -> Service:
    """Returns a service of the bundled model, not started, with all metrics that there are: an account of risk, too."""
    return Service(deploy(ServeConfig(policy=LoadAware(risk_peak=0.1), vllm_metrics=True)))


async def measured(app: FastAPI, found: Service) -> str:
    """Serves a few questions and returns the metrics, with all that only a plan or a reply brings about.

    Raises HandbookError if the controller has no plan in time.
    """
    transport = httpx.ASGITransport(app=app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://localhost") as client,
    ):
        asked = [{"messages": [{"role": "user", "content": question}]} for question in QUESTIONS]
        for reply in await asyncio.gather(*(client.post(CHAT.path, json=one) for one in asked)):
            reply.raise_for_status()
        try:
            async with asyncio.timeout(PATIENCE_S):
                while found.controller.solver is None or found.controller.solver.age_s is None:
                    (await client.post(CHAT.path, json=asked[0])).raise_for_status()
        except TimeoutError as error:
            raise HandbookError(f"the controller has no plan after {PATIENCE_S} s") from error
        return found.metrics.text().decode()


def api_page(schema: dict[str, Any], made: str) -> Page:
    """Returns the page of an API by its OpenAPI description."""
    components = schema["components"]["schemas"]
    sent = _sent(schema)
    shown = {kind.__name__ for kind in (ExitReason, FinishReason, ErrorType, ErrorCode)}
    operations = tuple(
        Entry(
            name=f"{method.upper()} {path}",
            means=told(operation["description"]),
            more={"request": _body(operation), "reply": _reply(operation)},
        )
        for path, methods in schema["paths"].items()
        for method, operation in methods.items()
    )
    objects = tuple(
        Chapter(title=f"`{name}`", text=told(one["description"]), entries=tuple(_fields(one, sent=name in sent)))
        for name, one in sorted(components.items())
        if "properties" in one
    )
    enumerations = tuple(
        Chapter(title=f"Values of `{name}`", text=told(one["description"]), entries=tuple(_values(one)))
        for name, one in sorted(components.items())
        if "enum" in one and name not in shown
    )
    chapters = (
        Chapter(title="Endpoints", entries=operations),
        values(RequestHeader, "Request headers"),
        values(ResponseHeader, "Response headers"),
        values(ExitReason, "Exit reasons: `exit_reason`"),
        values(FinishReason, "Ends of a sequence: `finish_reason` in the log, the metrics and the status"),
        Chapter(title="Statuses", entries=tuple(Entry(name=str(s), means=said) for s, said in STATUSES.items())),
        values(ErrorType, "Types of errors: `error.type`"),
        values(ErrorCode, "Codes of errors: `error.code`"),
        *objects,
        *enumerations,
        Chapter(title="Refused fields", text=f"{NOT_DONE} null always is.", entries=tuple(_refused(components))),
    )
    return Page(
        title="API",
        text=f"{made} `/openapi.json` describes the same; here, that of the bundled model.",
        chapters=chapters,
    )


def _body(operation: dict[str, Any]) -> str:
    content = operation.get("requestBody", {}).get("content", {})
    return _type(content["application/json"]["schema"]) if content else ""


def _reply(operation: dict[str, Any]) -> str:
    content = operation["responses"]["200"].get("content", {})
    return ", or ".join(_type(one["schema"]) if one.get("schema") else f"`{kind}`" for kind, one in content.items())


def _refers(found: Any) -> set[str]:
    """Returns the components that a part of the description names, by itself."""
    if isinstance(found, dict):
        own = {found["$ref"].rpartition("/")[2]} if isinstance(found.get("$ref"), str) else set()
        return own.union(*map(_refers, found.values()))
    return set().union(*map(_refers, found)) if isinstance(found, list) else set()


def _sent(schema: dict[str, Any]) -> set[str]:
    """Returns the components that are in requests."""
    operations = [operation for methods in schema["paths"].values() for operation in methods.values()]
    found, new = set[str](), _refers([operation.get("requestBody") for operation in operations])
    while new - found:
        found |= new
        new = _refers([schema["components"]["schemas"][name] for name in new])
    return found


def _fields(component: dict[str, Any], *, sent: bool) -> Iterator[Entry]:
    """Yields a component's fields. `sent`: it is in requests, where a client must know which fields are required."""
    required = component.get("required", ()) if sent else ()
    for name, one in component["properties"].items():
        if not one.get("description", "").startswith(NOT_DONE):
            default = literal(one["default"]) if "default" in one else "required" if name in required else ""
            yield Entry(
                name=name, means=told(one.get("description", "")), more={"value": _type(one), "default": default}
            )


def _values(component: dict[str, Any]) -> Iterator[Entry]:
    for value, said in component.get("x-enumDescriptions", {}).items():
        yield Entry(name=value, means=said)


def _refused(components: dict[str, Any]) -> Iterator[Entry]:
    found: dict[str, tuple[str, str, list[str]]] = {}
    for component, one in sorted(components.items()):
        for name, field in one.get("properties", {}).items():
            if field.get("description", "").startswith(NOT_DONE):
                usual = ", ".join(literal(value) for value in field["enum"] if value is not None)
                instead = field["description"].removeprefix(NOT_DONE).strip()
                found.setdefault(f"{name} {usual}", (name, usual, [instead]))[2].append(component)
    for name, usual, (instead, *where) in sorted(found.values()):
        yield Entry(name=name, means=f"refused in {coded(where)}. {instead}".strip(), more={"unless": usual})


def _type(one: dict[str, Any]) -> str:
    """Returns what a JSON schema allows, in words."""
    if "$ref" in one:
        return f"`{one['$ref'].rpartition('/')[2]}`"
    if "const" in one:
        return literal(one["const"])
    if "enum" in one:
        return ", ".join(map(literal, one["enum"]))
    if "anyOf" in one or "oneOf" in one:
        return " or ".join(dict.fromkeys(map(_type, one.get("anyOf") or one["oneOf"])))
    if one.get("type") == "array":
        return f"list of {_type(one.get('items', {}))}"
    if one.get("type") == "object":
        inner = one.get("additionalProperties")
        return f"mapping of names to {_type(inner)}" if isinstance(inner, dict) and inner else "mapping"
    bounds = "".join(f", {word} {one[key]:g}" for key, word in BOUNDS.items() if key in one)
    return TYPES.get(one.get("type", ""), "any value") + bounds


def metrics_page(text: str, made: str) -> Page:
    """Returns the page of the metrics in `text`, which is in Prometheus' format."""
    entries = {entry.name: entry for entry in _exposed(text)}
    own, other = (
        tuple(entry for name, entry in sorted(entries.items()) if name.startswith("laser_") is ours)
        for ours in (True, False)
    )
    chapters = (
        Chapter(title="LASER's own", entries=own),
        Chapter(title="By other names", text="The process', and with `vllm_metrics` those of vLLM.", entries=other),
        values(ExitReason, "Values of the label `exit_reason`", "`none` where no thought ended, and:"),
        values(FinishReason, "Values of the label `finish_reason`", ""),
        values(Close, "Values of the label `close`", ""),
    )
    return Page(title="Metrics", text=f"{made} A server shows them at `GET /metrics`.", chapters=chapters)


def _exposed(text: str) -> Iterator[Entry]:
    for family in text_string_to_metric_families(text):
        labels = {name: None for sample in family.samples for name in sample.labels if name not in ("le", "quantile")}
        name = family.name + ("_total" if family.type == "counter" else "")
        yield _metric(name, family.documentation, family.type, labels)


def _metric(name: str, said: str, kind: str, labels: Iterable[str]) -> Entry:
    unit = next((unit for suffix, unit in UNITS.items() if name.endswith(suffix)), "")
    return Entry(name=name, means=told(said), more={"type": kind, "labels": coded(labels), "unit": unit})
