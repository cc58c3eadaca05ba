"""Quantising a model to EXL2: ExLlamaV2's converter in a process of its own, and what it tells of its progress."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from engine.base import CorruptModelError, EngineError
from engine.exllama.load import check_machine, check_model, weights_bytes

_STATUS = re.compile(r"\[STATUS](\{.*})\[/STATUS]")
_KEPT = 20  # last lines that it has written, to say why it failed
_JOB = "job_new.json"  # in the working directory; the converter resumes from it


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversionProgress:
    """How far the converter is."""

    name: str
    done: float  # of this stage, 0…1


def quantise(source: Path, target: Path, work: Path, *, bits: float, head_bits: int) -> Iterator[ConversionProgress]:
    """Convert the model in `source` to so many bits a weight, in `target`; `work` holds what a later call resumes from.

    Raises EngineError where it cannot be done, or fails.
    """
    check_machine()
    config = check_model(source)
    if getattr(config, "quantization_config", None) is not None:
        raise EngineError(f"{source}: the weights are quantised already")
    weights_bytes(source)  # to read each file's header
    job = Job(in_dir=str(source.resolve()), compile_full=str(target.resolve()), bits=bits, head_bits=head_bits)
    resumed = job.resumes(work)
    if target.exists() and any(target.iterdir()) and not resumed:
        raise EngineError(f"{target} is not empty, and {work} holds no conversion to resume")
    options = ["-i", job.in_dir, "-o", work, "-cf", job.compile_full, "-b", bits, "-hb", head_bits, "-so"]
    yield from follow([sys.executable, "-m", "engine.exllama_convert", *map(str, options)])
    if not finished(work):  # it exits with 0 for its own errors too
        raise EngineError(f"the conversion has not finished; what it has written is in {work}")
    if not (target / "config.json").is_file() or not list(target.glob("*.safetensors")):
        raise EngineError(f"{target} holds no model, though {work} says that it was finished: remove {work}, try again")


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What a conversion is told, by the names under which the converter keeps it; it resumes with what it has kept."""

    in_dir: str
    compile_full: str
    bits: float
    head_bits: int

    def resumes(self, work: Path) -> bool:
        """Whether a working directory holds this conversion. Raises EngineError where it holds another."""
        kept = _kept(work)
        if kept is None:
            return False
        for name, ours in asdict(self).items():
            if (theirs := kept.get(name)) != ours:
                raise EngineError(f"{work} holds another conversion, with {name} {theirs}, not {ours}: remove it first")
        return True


def follow(command: Sequence[str]) -> Iterator[ConversionProgress]:
    """Run a converter and tell of its stages. Raises EngineError with its last words if it fails."""
    last: deque[str] = deque(maxlen=_KEPT)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            assert process.stdout is not None
            for line in process.stdout:
                stage = stage_of(line)
                if stage is not None:
                    yield stage
                elif line.strip():
                    last.append(line.strip())
        except BaseException:
            process.terminate()
            raise
    if process.returncode:
        raise EngineError(f"the converter failed with exit code {process.returncode}: {' | '.join(last)}")


def stage_of(line: str) -> ConversionProgress | None:
    """What a line of the converter's output tells of its progress, if anything."""
    told = _STATUS.search(line)
    if told is None:
        return None
    status = json.loads(told[1])
    return ConversionProgress(name=str(status["stage"]), done=float(status["completion"]))


def finished(work: Path) -> bool:
    """Whether the conversion in a working directory is complete. Raises CorruptModelError for a damaged one."""
    kept = _kept(work)
    return kept is not None and kept.get("progress") == "finished"


def _kept(work: Path) -> dict[str, Any] | None:
    """What the converter has noted in its working directory, if anything."""
    try:
        kept = json.loads((work / _JOB).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise CorruptModelError(f"{work / _JOB} is damaged: {error}") from error
    if not isinstance(kept, dict):
        raise CorruptModelError(f"{work / _JOB} is damaged: {kept!r} is no job")
    return kept
