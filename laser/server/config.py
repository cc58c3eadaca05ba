"""Configuration of a server: keys of a YAML file, each but `effort` also a flag of `laser serve`."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

from controller.policies import PolicyName
from controller.policies.registry import PolicySpec
from engine.options import EngineOptions
from engine.registry import AutoOptions, CacheType, Runner, engine_options, options_by_kind
from laser.server.api.reasoning import EffortShares
from laser.server.telemetry.logs import LogFormat
from models.files.strict_yaml import ByKind, ConfigError, given_keys, read
from models.score import Score

LEAST: dict[str, int] = {
    "port": 0,
    "budget": 0,
    "max_budget": 0,
    "default_max_tokens": 1,
    "threads": 1,
    "max_waiting": 0,
    "max_body": 1024,
}
ABOVE_0 = ("max_wait_s", "drain_s", "idle_s")

CHOICES: dict[str, type[StrEnum]] = {
    "policy": PolicyName,
    "score": Score,
    "runner": Runner,
    "cache_type": CacheType,
    "log_format": LogFormat,
}

ENGINE_KEYS = ("runner", "cache_type", "max_batch", "cells")
"""Flags of `laser serve` that set the engine's options; as keys of a file they are an old form, for one release."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeConfig:
    """Everything that decides how `laser serve` runs."""

    model: Path | None = None  # a model's directory; None: the bundled one
    name: str | None = None  # the model's name for clients; None: its directory's
    host: str = "127.0.0.1"
    port: int = 8000  # 0: any free one
    early_exit: bool = True
    policy: PolicyName = PolicyName.AUTO
    controller: Path | None = None  # load-aware settings, reread when the file changes; None: the defaults
    decision_log: Path | None = None  # where the load-aware policy records its decisions; None: nowhere
    threshold: float | None = None  # confidence at which a thought is closed; None: 0.9 if the policy is fixed
    score: Score | None = None  # how a trial answer's probabilities become its confidence; None: the thinking format's
    budget: int | None = None  # thinking tokens, for requests that state none; None: no budget
    agree: int | None = None  # equal trial answers in a row that close a thought, policy consistency; None: 3
    margin: float | None = None  # log p gap to the closing marker that closes a thought, policy margin; None: 6
    every: int | None = None  # tokens from one probe to the next; None: at transition points
    # certified risk that the full thought is right and an early exit wrong; None: the one the profile is calibrated for
    risk: float | None = None
    shortest_first: bool = False  # start the waiting request with the shortest predicted thought, not the first come
    thinking: Path | None = None  # thinking format; None: the model's own `laser.yaml`, else the defaults
    slo_s: float | None = None  # a reply's SLO on the dashboard, unless the controller has SLOs; None: no SLO
    default_max_tokens: int = 2048  # of thought and answer, for requests that state none; less if the context is short
    max_budget: int | None = None  # the most thinking tokens of any request; None: unlimited
    effort: EffortShares = field(default_factory=EffortShares)  # the budgets that `reasoning_effort` stands for
    loop_detection: bool = True  # close thoughts that repeat themselves word for word
    engine: Annotated[EngineOptions, ByKind(options_by_kind)] = field(default_factory=AutoOptions)
    runner: Runner | None = None  # of these four, one that is not None wins over the engine's option of its name
    cache_type: CacheType | None = None
    max_batch: int | None = None
    cells: int | None = None
    threads: int = 1  # of the engine's arithmetic; several slow down sharply once another process is busy
    max_waiting: int = 128  # requests that may wait in the queue; beyond: 429 with Retry-After
    max_wait_s: float | None = None  # the longest wait a new request may expect; beyond: 429; None: unlimited
    keys: Path | None = None  # bearer keys, reread when the file changes; None: no key is needed
    public: bool = False  # listen to other machines even without keys
    allow_host: tuple[str, ...] = ()  # names of this server besides localhost, if neither keys nor public is set
    allow_origin: tuple[str, ...] = ()  # of web pages whose scripts may use the API, e.g. https://chat.example; *: any
    max_body: int = 4 * 1024 * 1024  # bytes of a request's body
    idle_s: float = 30.0  # s for which a connection may be silent, or a body may take to arrive
    drain_s: float = 30.0  # s for replies in progress to end after the signal to stop
    metrics: bool = True  # GET /metrics
    vllm_metrics: bool = False  # … also under vLLM's names
    log_format: LogFormat = LogFormat.TEXT
    log_bodies: bool = False  # also log request bodies, which hold what people say

    def __post_init__(self) -> None:
        for name, least in LEAST.items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"{name} is {value}, must be at least {least}")
        for name in ABOVE_0:
            value = getattr(self, name)
            if value is not None and not 0.0 < value < float("inf"):
                raise ValueError(f"{name} is {value}, must be finite and above 0")
        if self.port > 65535:
            raise ValueError(f"port is {self.port}, must be at most 65535")
        if self.threshold is not None and not 0.0 < self.threshold <= 1.0:
            raise ValueError(f"threshold is {self.threshold}, must lie in (0, 1]")
        if self.slo_s is not None and not 0.0 < self.slo_s < math.inf:
            raise ValueError(f"slo_s is {self.slo_s}, must be finite and above 0")
        _ = self.engine_options  # raises ValueError for an option out of range
        if self.policy is not PolicyName.AUTO:
            self.spec(self.policy)  # raises ValueError for settings that the policy does not use

    @property
    def engine_options(self) -> EngineOptions:
        """The engine's options, the flags among them."""
        values = {name: getattr(self, name) for name in ENGINE_KEYS}
        return self.engine.with_values({name: value for name, value in values.items() if value is not None})

    def spec(self, policy: PolicyName) -> PolicySpec:
        """Returns `policy` with this configuration's settings. Raises ValueError if a setting does not apply to it."""
        return PolicySpec(
            policy=policy,
            threshold=self.threshold,
            budget=self.budget,
            agree=self.agree,
            margin=self.margin,
            every=self.every,
            risk=self.risk,
        )


def load_config(file: Path | None, flags: dict[str, Any]) -> ServeConfig:
    """Returns the configuration in force: flag, then file, then default. A flag that was not given is None or ().

    `file` None: there is no file. Raises ConfigError if the file or the combination is invalid.
    """
    known = {field.name for field in fields(ServeConfig)}
    unknown = set(flags) - known
    assert not unknown, f"flags without a config key: {unknown}"
    config = ServeConfig() if file is None else read(file, ServeConfig)
    for name in _old_keys(file):
        if file is not None and name in given_keys(file, "engine"):
            raise ConfigError(f"{file}: `{name}` and `engine.{name}` are both given, must be one of them")
    given = {name: value for name, value in flags.items() if value is not None and value != ()}
    for name, kind in CHOICES.items():
        if name in given:
            given[name] = kind(given[name])
    try:
        if given.get("engine", config.engine.kind) != config.engine.kind:
            given["engine"] = engine_options(given["engine"], config.engine.changed)
        else:
            given.pop("engine", None)
        return replace(config, **given)
    except ValueError as error:
        raise ConfigError(str(error)) from error


def deprecations(file: Path | None) -> list[str]:
    """Returns a line for each old form that a configuration file uses; `file` None: there is no file."""
    old = _old_keys(file)
    if not old:
        return []
    new = ", ".join(f"{name}: …" for name in old)
    return [f"{file}: {', '.join(old)}: the next release reads them as `engine: {{kind: …, {new}}}` only"]


def _old_keys(file: Path | None) -> list[str]:
    given = frozenset[str]() if file is None else given_keys(file)
    return [name for name in ENGINE_KEYS if name in given]
