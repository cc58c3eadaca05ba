"""Configuration of a server: keys of a YAML file, each but `effort` also a flag of `laser serve`."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

from controller.policies.auto import Auto
from controller.policies.budget import FixedBudget
from controller.policies.definition import constant_limits, has_controller
from controller.policies.fixed import FixedThreshold
from controller.policies.load_aware import BudgetsOnly
from controller.policies.none import FullThought, NoThinking
from controller.policies.registry import FLAT, POLICIES, AnyPolicy, from_options, kind_of, stated
from engine.options import EngineOptions, default_threads
from engine.registry import (
    ENGINES,
    NO_PAUSES,
    OF_GGUF,
    AutoOptions,
    CacheType,
    Dtype,
    Runner,
    engine_options,
    options_of,
)
from laser.server.api.reasoning import EffortShares
from laser.server.telemetry.logs import LogFormat
from models.files.checks import positive
from models.files.strict_yaml import ConfigError, Kinds, given_keys, read
from models.hub.name import ModelPath, called
from models.score import Score
from models.thinking import FormatFile

log = logging.getLogger(__name__)

LEAST: dict[str, int] = {
    "port": 0,
    "max_budget": 0,
    "default_max_tokens": 1,
    "threads": 1,
    "max_waiting": 0,
    "max_body": 1024,
}
TIMES = ("slo_s", "max_wait_s", "drain_s", "idle_s")
LEAST_S = 0.001

CHOICES: dict[str, type[StrEnum]] = {
    "score": Score,
    "runner": Runner,
    "dtype": Dtype,
    "cache_type": CacheType,
    "log_format": LogFormat,
}

BUNDLED_NAME = "laser-reasoner"

CONTROLLER_KEYS = ("controller", "decision_log")
"""What only a policy with a controller reads."""

ENGINE_KEYS = ("runner", "dtype", "cache_type", "max_batch", "cells")
"""Flags of `laser serve` that set the engine's options; as keys of a file they are an old form, for one release."""


AnyEngine = Annotated[EngineOptions, Kinds(field="engine", names=ENGINES, find=options_of, own=False)]
"""As the type of a field, it makes the strict reader accept any engine's options there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeConfig:
    """Everything that decides how `laser serve` runs."""

    # a model's directory, or its name on the hub, ORG/NAME[:QUANT][@REVISION]; None: the bundled one
    model: ModelPath | None = None
    name: str | None = None  # the model's name for clients; None: its name on the hub, or its directory's
    # further names by which clients may call the model, * for any characters: claude-*
    alias: tuple[str, ...] = ()
    # address to listen on; 0.0.0.0 takes requests of other machines, which needs keys or `public`
    host: str = "127.0.0.1"
    port: int = 8000  # port to listen on; 0: any free one
    early_exit: bool = True  # whether thoughts are probed; false: every thought runs to its own end or to its budget
    policy: AnyPolicy = field(default_factory=Auto)  # a kind, or a mapping of `kind` and its settings
    controller: Path | None = None  # load-aware settings, reread when the file changes; None: the defaults
    decision_log: Path | None = None  # where the load-aware policy records its decisions; None: nowhere
    score: Score | None = None  # how a trial answer's probabilities become its confidence; None: the thinking format's
    # start the waiting request with the shortest predicted thought, an unlimited `head_start_s`; false: the first come;
    # None: as `head_start_s` says
    shortest_first: bool | None = None
    # seconds for which a request may be overtaken by later ones whose thoughts are predicted shorter; 0: first come;
    # None: those that the profile's simulation has chosen, without one 0
    head_start_s: float | None = None
    # have running thoughts pause for waiting requests that go before them by `head_start_s`; refused by an engine that
    # cannot
    pauses: bool = False
    # thinking format, its file or name; None: `laser.yaml`, else that of the family which the model's files tell
    thinking: FormatFile | None = None
    chat_template: Path | None = None  # how messages become the prompt, a Jinja file; None: the model's own
    trust_markers: bool = False  # what messages spell like a marker becomes that control token, as in raw completions
    # seconds a reply should take, shown on the page; load-aware's own goals stand in the controller's file; None: none
    slo_s: float | None = None
    default_max_tokens: int = 2048  # thought and answer of requests that state no limit; less if the context is short
    max_budget: int | None = None  # thinking tokens that no request may have more of; None: unlimited
    effort: EffortShares = field(default_factory=EffortShares)  # the budgets that `reasoning_effort` stands for
    loop_detection: bool = True  # stop thoughts that repeat themselves word for word
    # what decodes: a kind, or a mapping of `kind` and the engine's options
    engine: AnyEngine = field(default_factory=AutoOptions)
    runner: Runner | None = None  # torch's code of the forward pass; not None: wins over the engine's option
    dtype: Dtype | None = None  # torch's number format of the matrices; not None: wins over the engine's option
    # exllama's number format of the KV cache; not None: wins over the engine's option
    cache_type: CacheType | None = None
    max_batch: int | None = None  # sequences decoded at once; not None: wins over the engine's option
    cells: int | None = None  # KV cache, tokens; not None: wins over the engine's option
    # of the engine's arithmetic; several slow down sharply once another process is busy
    threads: int = default_threads()  # where neither flag nor file says it, as many as suit the engine
    in_process: bool = False  # run the engine in the server's own process, which then ends with it if it crashes
    max_waiting: int = 128  # requests that may wait in the queue; beyond: 429 with Retry-After
    max_wait_s: float | None = None  # the longest wait a new request may expect; beyond: 429; None: unlimited
    keys: Path | None = None  # bearer keys, reread when the file changes; None: no key is needed
    public: bool = False  # listen to other machines even without keys
    allow_host: tuple[str, ...] = ()  # names of this server besides localhost, if neither keys nor public is set
    allow_origin: tuple[str, ...] = ()  # of web pages whose scripts may use the API, e.g. https://chat.example; *: any
    max_body: int = 4 * 1024 * 1024  # bytes of a request's body
    idle_s: float = 30.0  # s for which a connection may be silent, or a body may take to arrive
    drain_s: float = 30.0  # s for replies in progress to end after the signal to stop
    metrics: bool = True  # serve GET /metrics
    vllm_metrics: bool = False  # serve metrics also under vLLM's names
    log_format: LogFormat = LogFormat.TEXT  # format of the log on standard error
    log_bodies: bool = False  # also log request bodies, which hold what people say

    def __post_init__(self) -> None:
        for name, least in LEAST.items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"{name} is {value}, must be at least {least}")
        positive(self, *TIMES, least=LEAST_S)
        if self.head_start_s is not None and not self.head_start_s >= 0.0:
            raise ValueError(f"head_start_s is {self.head_start_s}, must be at least 0; .inf is shortest first")
        if "" in self.alias:
            raise ValueError("alias has an empty name, must have at least 1 character")
        if self.port > 65535:
            raise ValueError(f"port is {self.port}, must be at most 65535")
        _ = self.engine_options  # raises ValueError for an option out of range
        for complaint in unused(self):
            raise ValueError(complaint)

    @property
    def orders(self) -> float | None:
        """The head start that is set, s; 0: first come, first served; infinite: shortest first; None: none is."""
        if self.shortest_first:
            return math.inf
        return self.head_start_s if self.shortest_first is None else 0.0

    @property
    def engine_options(self) -> EngineOptions:
        """The engine's options, the flags among them."""
        values = {name: getattr(self, name) for name in ENGINE_KEYS}
        return self.engine.with_values({name: value for name, value in values.items() if value is not None})


def model_name(config: ServeConfig) -> str:
    """Returns the name under which clients know the model."""
    return config.name or (BUNDLED_NAME if config.model is None else called(config.model))


def unused(config: ServeConfig) -> Iterator[str]:
    """Yields a line for each setting that has no use beside the others; what a model decides is not known yet."""
    policy, kind = config.policy, kind_of(config.policy)
    for name in CONTROLLER_KEYS:
        value = getattr(config, name)
        if value is None or kind not in POLICIES or has_controller(policy):  # a policy of one's own may have one
            continue
        if not isinstance(policy, Auto):
            yield f"{name} is {value}, but policy is {kind}, which has no controller: only load-aware ones read it"
        elif why := policy.fixed_by(early_exit=config.early_exit):
            yield f"{name} is {value}, but {why}: so the policy is fixed"
    if isinstance(policy, Auto) and (why := policy.fixed_by(early_exit=config.early_exit)):
        for name in sorted({"risk", "risk_peak"} & set(stated(policy))):
            yield f"{name} is {getattr(policy, name)}, but {why}: so the policy is fixed"
    if not config.early_exit:
        if isinstance(policy, Auto | FixedThreshold):
            for name in sorted({"threshold", "every"} & set(stated(policy))):
                yield f"{name} is {getattr(policy, name)}, but early_exit is false: no thought is probed"
        elif kind in POLICIES and not isinstance(policy, FixedBudget | FullThought | NoThinking | BudgetsOnly):
            those = "auto, fixed, budget, budgets-only, none or no-thinking"
            yield f"early_exit is false, but policy is {kind}, which probes thoughts: take {those}"
    limits = constant_limits(policy)
    if config.score is not None and not (config.early_exit and (limits is None or limits.probing)):
        yield f"score is {config.score}, but no thought is probed"
    if config.shortest_first is False and config.head_start_s:
        yield f"head_start_s is {config.head_start_s:g}, but shortest_first is false: first come, first served"
    if config.shortest_first and config.head_start_s not in (None, math.inf):
        yield f"head_start_s is {config.head_start_s:g}, but shortest_first is true: its head start is unlimited"
    if config.pauses and config.orders == 0.0:
        yield "pauses is true, but head_start_s is 0: nobody goes before those that came first"
    kept = getattr(config.engine, "paused", None) if config.engine.kind == OF_GGUF else None
    if config.pauses and kept == 0:
        yield NO_PAUSES
    if kept and not config.pauses:
        yield f"engine.paused is {kept}, but pauses is false: memory is kept for thoughts that never pause"
    if config.vllm_metrics and not config.metrics:
        yield "vllm_metrics is true, but metrics is false: there are none"
    if config.public and config.keys is not None:
        yield f"public is true, but keys is {config.keys}: public is for a server without keys"
    if config.allow_host and (config.public or config.keys is not None):
        why = "public is true" if config.public else f"keys is {config.keys}"
        yield f"allow_host is {', '.join(config.allow_host)}, but {why}: any name is served then"


def load_config(file: Path | None, flags: dict[str, Any], tell: Callable[[str], None] = log.warning) -> ServeConfig:
    """Returns the configuration in force: flag, then file, then default. A flag that was not given is None or ().

    Besides the keys, `flags` may hold the policy's settings, `threshold` and its like, and `assignments`, a tuple of
    `name=value`. `file` None: there is no file. Calls `tell` with one line if the file uses keys that will go, or holds
    nothing. Raises ConfigError if the file or the combination is invalid.
    """
    known = {field.name for field in fields(ServeConfig)}
    unknown = set(flags) - known - {*FLAT, "assignments"}
    assert not unknown, f"flags without a config key: {unknown}"
    config = ServeConfig() if file is None else read(file, ServeConfig, tell)
    if file is not None:
        _check_engine_keys(file, tell)
    given = {name: value for name, value in flags.items() if value is not None and value != ()}
    for name, kind in CHOICES.items():
        if name in given:
            given[name] = kind(given[name])
    settings = {name: given.pop(name) for name in FLAT if name in given}
    try:
        policy = from_options(config.policy, given.pop("policy", None), settings, given.pop("assignments", ()))
        if given.get("engine", config.engine.kind) != config.engine.kind:
            given["engine"] = engine_options(given["engine"], config.engine.changed)
        else:
            given.pop("engine", None)
        stated = {name: getattr(config, name) for name in ENGINE_KEYS} if "engine" not in given else {}
        stated |= {name: given[name] for name in ENGINE_KEYS if name in given}
        engine = given.get("engine", config.engine)
        if "threads" not in given and (file is None or "threads" not in given_keys(file)):
            given["threads"] = engine.own_threads(given.get("model") or config.model)
        elif "threads" in engine.changed:  # the flag wins
            given["engine"] = engine = engine.with_values({"threads": None})
        engine.taking({name: value for name, value in stated.items() if value is not None})
        return replace(config, policy=policy, **given)
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _check_engine_keys(file: Path, tell: Callable[[str], None]) -> None:
    """Calls `tell` if the file has engine options at its top; raises ConfigError if one is given twice."""
    top, inside = given_keys(file), given_keys(file, "engine")
    old = [name for name in ENGINE_KEYS if name in top]
    for name in (*old, "threads"):
        if name in top and name in inside:
            raise ConfigError(f"{file}: `{name}` and `engine.{name}` are both given, must be one of them")
    if old:
        new = ", ".join(f"{name}: …" for name in old)
        tell(f"{file}: {', '.join(old)}: the next release reads them as `engine: {{kind: …, {new}}}` only")
