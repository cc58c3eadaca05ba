"""How a server is to run: a YAML file's keys, each of them also a flag of `laser serve`."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from engine.engine_kind import EngineKind
from engine.exllama_config import CacheType
from engine.runner import Runner
from models.score import Score
from models.strict_yaml import ConfigError, read

DEFAULT_THRESHOLD = 0.9


class PolicyName(StrEnum):
    """Who says when a thought is closed."""

    AUTO = "auto"  # load-aware where the model has a profile and no threshold or budget is given, else fixed
    LOAD_AWARE = "load-aware"  # the controller: thresholds and budgets by class, from the load
    FIXED = "fixed"  # one threshold, and a budget if given
    BUDGET = "budget"  # a budget only, no probes
    PAPER = "paper"  # a threshold that falls with the number of requests
    NONE = "none"  # thoughts end by themselves


LEAST: dict[str, int] = {"port": 0, "budget": 0, "max_batch": 1, "cells": 1, "default_max_tokens": 1, "threads": 1}

CHOICES: dict[str, type[StrEnum]] = {
    "policy": PolicyName,
    "score": Score,
    "engine": EngineKind,
    "runner": Runner,
    "cache_type": CacheType,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeConfig:
    """Everything that decides how `laser serve` runs."""

    model: Path | None = None  # a model's directory; None: the bundled one
    name: str | None = None  # the model's name for clients; None: its directory's
    host: str = "127.0.0.1"
    port: int = 8000  # 0: any free one
    early_exit: bool = True
    policy: PolicyName = PolicyName.AUTO
    controller: Path | None = None  # settings of the load-aware policy, read again when they change; None: the defaults
    decision_log: Path | None = None  # where the load-aware policy records its decisions; None: nowhere
    threshold: float | None = None  # confidence at which a thought is closed; None: 0.9, unless the policy says
    score: Score | None = None  # how a trial answer's probabilities become its confidence; None: the thinking format's
    budget: int | None = None  # thinking tokens, for requests that do not bring their own
    thinking: Path | None = None  # thinking format; None: the model's own `laser.yaml`, else the defaults
    default_max_tokens: int = 2048  # thought and answer, for requests that do not say; less where the context is short
    engine: EngineKind = EngineKind.AUTO
    runner: Runner = Runner.AUTO  # the torch engine's
    cache_type: CacheType = CacheType.FP16  # the ExLlamaV2 engine's
    max_batch: int = 32  # sequences decoded at once
    cells: int = 65536  # KV cache, tokens
    threads: int = 1  # of the engine's arithmetic; more collapse as soon as another process is busy

    def __post_init__(self) -> None:
        for name, least in LEAST.items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"{name} is {value}, must be at least {least}")
        if self.port > 65535:
            raise ValueError(f"port is {self.port}, must be at most 65535")
        if self.threshold is not None and not 0.0 < self.threshold <= 1.0:
            raise ValueError(f"threshold is {self.threshold}, must lie in (0, 1]")
        if self.policy is PolicyName.BUDGET and self.budget is None:
            raise ValueError("policy is budget, which needs one: say how many tokens with budget")


def load_config(file: Path | None, flags: dict[str, Any]) -> ServeConfig:
    """The configuration in force: flag, then file, then default. A flag that was not given is None."""
    known = {field.name for field in fields(ServeConfig)}
    unknown = set(flags) - known
    assert not unknown, f"flags without a config key: {unknown}"
    config = ServeConfig() if file is None else read(file, ServeConfig)
    given = {name: value for name, value in flags.items() if value is not None}
    for name, kind in CHOICES.items():
        if name in given:
            given[name] = kind(given[name])
    try:
        return replace(config, **given)
    except ValueError as error:
        raise ConfigError(str(error)) from error
