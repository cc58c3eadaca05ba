"""Runs the GPU's stages one after another, each within its time, and merges what they find into one JSON file.

Started by `benchmarks/gpu.sh`. Every stage is a process of its own that writes its figures as they come; one that fails
or runs out of time loses neither the earlier stages' figures nor its own, and the later ones still run.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.gpu import journal
from benchmarks.support import report
from models.reasoner import bundled_model

TOTAL_S = 540.0
KEPT = 15  # last lines of a stage's output, kept where it failed
IDENTITY = ("tests/test_gpu.py", "tests/engine/exllama")
HTTP = "tests/test_gpu_http.py"  # needs a server's packages, and scipy
CONTRACT = ("tests/engine", "--ignore=tests/engine/exllama")
WORKERS = 4  # of the contract suite; other tests have limits in seconds, and run alone
GRACE_S = 5.0  # from SIGTERM to SIGKILL
_OUTCOME = "(PASSED|FAILED|ERROR|SKIPPED)"


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuStage:
    """A part of the run."""

    name: str
    command: tuple[str, ...]
    limit_s: float
    tests: bool = False  # its results are pytest's lines, not a journal


@dataclass(frozen=True, slots=True, kw_only=True)
class StageRun:
    """How a stage went."""

    name: str
    ended: str  # well; with exit code N; when its time was up; not begun, for no time was left
    seconds: float
    limit_s: float
    results: Mapping[str, Any]
    last_lines: Sequence[str]  # of its output, where it did not end well


def stages(folder: Path, seed: int, scratch: Sequence[Path], *, http: bool) -> list[GpuStage]:
    """Returns the stages in order; together they may take TOTAL_S less half a minute for what comes before them."""
    place = tuple(part for one in scratch for part in ("--scratch", str(one)))

    def measuring(stage: str, limit_s: float, module: str, *arguments: str) -> GpuStage:
        command = (sys.executable, "-m", f"benchmarks.gpu.{module}", "--seed", str(seed))
        return GpuStage(
            name=stage, command=(*command, "--out", str(results_of(folder, stage)), *arguments), limit_s=limit_s
        )

    def testing(stage: str, limit_s: float, *arguments: str) -> GpuStage:
        command = (sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-v", "-v", "-m", "gpu", *arguments)
        return GpuStage(name=stage, command=command, limit_s=limit_s, tests=True)

    return [
        measuring("first_look", 60.0, "first_look"),
        testing("identity", 90.0, *IDENTITY, *([HTTP] if http else [])),
        testing("contract", 60.0, *CONTRACT, "-n", str(WORKERS), "--dist=load"),
        measuring("bundled", 50.0, "measure", "--model", str(bundled_model())),
        measuring("qwen3_8b", 150.0, "measure", *place),
        measuring("exl2", 100.0, "exl2", *place),
    ]


def results_of(folder: Path, stage: str) -> Path:
    return folder / f"{stage}.json"


def run(stage: GpuStage, limit_s: float, folder: Path) -> StageRun:
    """Runs a stage for at most `limit_s` seconds; its output goes to the terminal and to STAGE.log."""
    log, start = folder / f"{stage.name}.log", time.monotonic()
    results_of(folder, stage.name).unlink(missing_ok=True)
    if limit_s <= 0:
        return StageRun(
            name=stage.name, ended="not begun, for no time was left", seconds=0, limit_s=0, results={}, last_lines=()
        )
    with log.open("wb") as opened:
        process = subprocess.Popen(stage.command, stdout=opened, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            code = process.wait(limit_s)
            ended = "well" if code == 0 else f"with exit code {code}"
        except subprocess.TimeoutExpired:
            ended = "when its time was up"
        except BaseException:
            end(process)
            raise
        end(process)
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return StageRun(
        name=stage.name,
        ended=ended,
        seconds=round(time.monotonic() - start, 1),
        limit_s=limit_s,
        results=counted(lines) if stage.tests else journal.read(results_of(folder, stage.name)),
        last_lines=() if ended == "well" else lines[-KEPT:],
    )


def end(process: subprocess.Popen[bytes]) -> None:
    """Ends a process that has a session of its own, with all that it started."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(GRACE_S)
        except ProcessLookupError:
            break
        except subprocess.TimeoutExpired:
            continue


def counted(lines: Sequence[str]) -> dict[str, Any]:
    """Returns how many tests passed and which did not, by pytest's own lines, so far as it came."""
    names: dict[str, list[str]] = {}
    for line in lines:
        alone = re.match(rf"(\S+::.+?) {_OUTCOME}(?: |$)", line)
        side_by_side = re.match(rf"\[gw\d+\].*?{_OUTCOME} (\S+::.+?)\s*$", line)
        if alone:
            names.setdefault(alone[2], []).append(alone[1])
        elif side_by_side:
            names.setdefault(side_by_side[1], []).append(side_by_side[2])
    return {
        "passed": len(names.get("PASSED", [])),
        "skipped": len(names.get("SKIPPED", [])),
        "failed": sorted({*names.get("FAILED", []), *names.get("ERROR", [])}),
    }


def run_all(planned: Sequence[GpuStage], folder: Path, out: Path, seed: int, spent_s: float) -> list[StageRun]:
    """Runs all stages within TOTAL_S, of which `spent_s` have gone; writes `out` anew after each."""
    ran, runs, start = report.circumstances("benchmarks.gpu.stages", seed), [], time.monotonic() - spent_s
    for stage in planned:
        gone = time.monotonic() - start
        print(f"==> [{gone:.0f} s] {stage.name}, at most {min(stage.limit_s, TOTAL_S - gone):.0f} s", flush=True)
        runs.append(run(stage, min(stage.limit_s, TOTAL_S - gone), folder))
        print(f"    ended {runs[-1].ended} after {runs[-1].seconds:.0f} s", flush=True)
        for line in runs[-1].last_lines:
            print(f"    | {line}", flush=True)
        report.write(out, ran, {one.name: asdict(one) for one in runs})
    return runs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("gpu.json"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scratch", type=Path, action="append", default=[], help="where the random model may lie")
    parser.add_argument("--spent", type=float, default=0.0, help="seconds that preparing has taken already")
    arguments = parser.parse_args()
    folder = arguments.out.with_suffix(".stages")
    folder.mkdir(parents=True, exist_ok=True)
    os.environ["LASER_GPU"] = "1"
    planned = stages(folder, arguments.seed, arguments.scratch, http=find_spec("scipy") is not None)
    runs = run_all(planned, folder, arguments.out, arguments.seed, arguments.spent)
    print(f"==> {arguments.out}, each stage's output in {folder}")
    sys.exit(any(one.ended != "well" for one in runs))


if __name__ == "__main__":
    main()
