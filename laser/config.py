"""How a server is to run: a YAML file's keys, each of them also a flag of `laser serve`."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from engine.base import Score
from engine.runner import Runner
from models.strict_yaml import ConfigError, read

LEAST: dict[str, int] = {"port": 0, "budget": 0, "max_batch": 1, "cells": 1, "default_max_tokens": 1, "threads": 1}


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeConfig:
    """Everything that decides how `laser serve` runs."""

    model: Path | None = None  # a model's directory; None: the bundled one
    name: str | None = None  # the model's name for clients; None: its directory's
    host: str = "127.0.0.1"
    port: int = 8000  # 0: any free one
    early_exit: bool = True
    threshold: float = 0.9  # confidence at which a thought is closed
    score: Score = Score.GEOMETRIC_MEAN  # how a trial answer's token probabilities become its confidence
    budget: int | None = None  # thinking tokens, for requests that do not bring their own
    thinking: Path | None = None  # thinking format; None: the model's own `laser.yaml`, else the defaults
    default_max_tokens: int = 2048  # thought and answer, for requests that do not say; less where the context is short
    runner: Runner = Runner.AUTO
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
        if not 0.0 < self.threshold <= 1.0:
            raise ValueError(f"threshold is {self.threshold}, must lie in (0, 1]")


def load_config(file: Path | None, flags: dict[str, Any]) -> ServeConfig:
    """The configuration in force: flag, then file, then default. A flag that was not given is None."""
    known = {field.name for field in fields(ServeConfig)}
    unknown = set(flags) - known
    assert not unknown, f"flags without a config key: {unknown}"
    config = ServeConfig() if file is None else read(file, ServeConfig)
    given = {name: value for name, value in flags.items() if value is not None}
    if "runner" in given:
        given["runner"] = Runner(given["runner"])
    try:
        return replace(config, **given)
    except ValueError as error:
        raise ConfigError(str(error)) from error
