"""Quantises a model to EXL2: runs ExLlamaV2's converter in a process of its own and reports its progress."""

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
_KEPT = 20  # last output lines of the converter, kept for the error message
_JOB = "job_new.json"  # in the working directory; the converter resumes from it


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversionProgress:
    """The converter's current stage, and how far it is."""

    name: str
    done: float  # of this stage, 0…1


def quantise(source: Path, target: Path, work: Path, *, bits: float, head_bits: int) -> Iterator[ConversionProgress]:
    """Convert the model in `source` to `bits` bits per weight in `target`; a later call resumes from `work`.

    Yields the converter's progress. Raises EngineError if the conversion cannot start or fails.
    """
    check_machine()
    config = check_model(source)
    if getattr(config, "quantization_config", None) is not None:
        raise EngineError(f"{source}: the weights are quantised already")
    weights_bytes(source)  # reads each file's header; raises if a file is damaged
    job = Job(in_dir=str(source.resolve()), compile_full=str(target.resolve()), bits=bits, head_bits=head_bits)
    resumed = job.resumes(work)
    if target.exists() and any(target.iterdir()) and not resumed:
        raise EngineError(f"{target} is not empty, and {work} holds no conversion to resume")
    options = ["-i", job.in_dir, "-o", work, "-cf", job.compile_full, "-b", bits, "-hb", head_bits, "-so"]
    yield from follow([sys.executable, "-m", "engine.exllama.convert", *map(str, options)])
    if not finished(work):  # the converter exits with 0 after errors of its own, too
        raise EngineError(f"the conversion has not finished; what it has written is in {work}")
    if not (target / "config.json").is_file() or not list(target.glob("*.safetensors")):
        raise EngineError(f"{target} holds no model, though {work} says that it was finished: remove {work}, try again")


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A conversion's options, by the names under which the converter stores them; it resumes with the stored ones."""

    in_dir: str
    compile_full: str
    bits: float
    head_bits: int

    def resumes(self, work: Path) -> bool:
        """Whether the working directory `work` holds this conversion. Raises EngineError if it holds another one."""
        kept = _kept(work)
        if kept is None:
            return False
        for name, ours in asdict(self).items():
            if (theirs := kept.get(name)) != ours:
                raise EngineError(f"{work} holds another conversion, with {name} {theirs}, not {ours}: remove it first")
        return True


def follow(command: Sequence[str]) -> Iterator[ConversionProgress]:
    """Run a converter and yield its progress. Raises EngineError with its last output lines if it fails."""
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
    """The progress that a line of the converter's output reports; None: it reports none."""
    told = _STATUS.search(line)
    if told is None:
        return None
    status = json.loads(told[1])
    return ConversionProgress(name=str(status["stage"]), done=float(status["completion"]))


def finished(work: Path) -> bool:
    """Whether the conversion in directory `work` is complete. Raises CorruptModelError if its job file is damaged."""
    kept = _kept(work)
    return kept is not None and kept.get("progress") == "finished"


def _kept(work: Path) -> dict[str, Any] | None:
    """The converter's job file in a working directory; None: there is none."""
    try:
        kept = json.loads((work / _JOB).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise CorruptModelError(f"{work / _JOB} is damaged: {error}") from error
    if not isinstance(kept, dict):
        raise CorruptModelError(f"{work / _JOB} is damaged: {kept!r} is no job")
    return kept
