"""README's commands, run as by somebody who has the installed wheel, an empty folder and no clone.

    .venv/bin/python -I tests/away.py LASER FOLDER

LASER is the installed command, FOLDER the empty folder. The commands are read from README and docs/; `COURSE` says what
runs each, and tests/test_away.py that none is left out. The folder gets a `DIR`, with the bundled model as one's own.
"""

from __future__ import annotations

import json
import os
import random
import re
import shlex
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGES = ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))
HERE = "here"
CLONE = "it needs a clone"
WEIGHTY = "it fetches packages"
COURSE = {
    r"laser init": HERE,
    r"laser serve --config configs/serve.yaml": HERE,
    r"laser ask \"Tom": HERE,
    r"laser serve --model DIR --thinking qwen3( --threshold 0.95)?": HERE,
    r"laser calibrate --model DIR --thinking qwen3 .*--questions my.jsonl": HERE,
    r"make (serve|test)": CLONE,
    r"pip install .*\.whl": ".ci/run",
    r".venv/bin/pip install": WEIGHTY,
    r"pip install -c constraints.txt -e '\.\[llamacpp]'": WEIGHTY,
    r"benchmarks/gpu.sh": "it needs a GPU",
    r"benchmarks/build_extension.sh": "it needs nvcc, and takes half an hour",
    r"(cp -r models/reasoner/weights|python -c .*) ?": CLONE,
    r"cp configs/keys.yaml keys.yaml && \$EDITOR": "an editor needs somebody before it",
    r"laser analyze": "tests/laser/cli/test_analyze.py",
    r"laser calibrate --model DIR (-n 400|--from-records|--give-up|--no-thought)": "tests/laser/cli/test_calibrate.py",
    r"laser demo": "tests/laser/cli/test_demo.py",
    r"laser evaluate": "tests/laser/cli/test_evaluate.py",
    r"laser experiment (run|report)": "tests/laser/cli/test_experiment.py",
    r"laser experiment tune": "tests/laser/cli/test_experiment_simulated.py",
    r"laser (convert|fit)": "tests/laser/cli/models/test_models.py",
    r"laser serve --model \S+\.gguf": "tests/laser/cli/models/test_models.py, and the contract suite of engines",
    r"laser quantize": "tests/engine/exllama/test_quantise.py",
    r"laser replay": "tests/laser/cli/test_replay.py",
    r"laser serve --engine exllama": "it needs a GPU",
    r"laser serve --host 0.0.0.0 --keys": "tests/laser/server/test_keys.py",
    r"laser (models|serve --model ORG/NAME)": "tests/laser/cli/test_models.py",
    r"laser serve --model DIR --controller": "tests/laser/server/test_controller_report.py",
    r"laser serve --model DIR --policy load-aware --set give_up": "tests/controller/test_give_up.py",
    r"laser serve --model DIR --policy load-aware --set price_index": "tests/controller/test_prices.py",
    r"laser serve --model DIR --policy load-aware --set no_thought": "tests/laser/server/test_no_thought.py",
    r"laser serve --model DIR --policy load-aware --set worst_benchmark": "tests/models/profile/test_benchmarks.py",
    r"laser serve --model DIR --policy load-aware --set width": "tests/laser/server/test_width.py",
    r"laser serve --head-start-s": "tests/laser/server/test_policy_choice.py",
    r"laser serve --risk 0.02 --risk-peak": "tests/laser/server/test_controller_report.py",
    r"laser calibrate --model DIR --price-index": "tests/laser/cli/test_calibrate.py",
    r"laser calibrate --model DIR --width": "tests/experiments/calibration/test_run.py",
    r"laser serve --model DIR --thinking open": "tests/laser/server/api/test_plain.py",
    r"laser serve --policy load-aware --set width": HERE,
    r"laser simulate --rate 14 --duration 120 --set give_up": HERE,
    r"laser simulate": "tests/laser/cli/test_simulate.py",
    r"laser top": "tests/laser/cli/test_top.py",
    r"laser train": "tests/models/reasoner/test_training.py",
    r"LASER_KEY=… laser ask": "tests/laser/server/test_keys.py",
    r"OTEL_EXPORTER_OTLP_ENDPOINT=\S+ laser serve": "tests/laser/server/test_tracing.py",
    r"PYTHONPATH=\S+ .venv/bin/": "tests/controller/serving/signals/test_own_signal.py",
}
"""What runs each command, by a pattern of how it begins: this script, a test of its like; or why nothing does."""

FASTER = ["--epsilon", "0.2", "--budgets", "160", "--max-tokens", "1000"]  # few questions are enough so
QUESTIONS = 32
READY_S = 120.0


def commands() -> Iterator[str]:
    """Yields every command in a code block of README and docs/, without its comment, and those of README's levers."""
    words = r"laser|make|pip|python|xz|cp|\.venv/bin/\S+|benchmarks/\S+\.sh"
    for page in PAGES:
        for line in page.read_text(encoding="utf-8").splitlines():
            found = re.match(rf"    ((?:[A-Z_]+=\S+ )*(?:{words})(?: .*)?)$", line)
            if found:
                yield re.split(r"\s{2,}#", found[1])[0].strip()
    yield from lever_commands()


def lever_commands() -> Iterator[str]:
    """Yields what README's section on levers runs: its table's commands, and those of the text around it."""
    section = (ROOT / "README.md").read_text(encoding="utf-8").partition("\n## Levers\n")[2].partition("\n## ")[0]
    lines = section.splitlines()
    told, *others = re.findall(r"`(laser [^`]+)`", "\n".join(line for line in lines if not line.startswith("|")))
    for line in [line for line in lines if line.startswith("|")][2:]:
        yield f"{told} {line.split('|')[2].strip(' `')}".strip()
    yield from others


def told(beginning: str) -> str:
    """Returns the command of README or docs/ that begins so."""
    return next(command for command in commands() if re.match(beginning, command))


def snippet() -> str:
    """Returns README's Python program."""
    return (ROOT / "README.md").read_text(encoding="utf-8").partition("```python\n")[2].partition("```")[0]


class Visitor:
    """Somebody in an empty folder with the installed command."""

    def __init__(self, laser: Path, folder: Path) -> None:
        self._laser = laser.absolute()
        self._folder = folder.absolute()
        self._variables = {
            name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "LASER"))
        }

    def run(self, command: str, *more: str, **variables: str) -> str:
        """Runs a command to its end and returns what it prints. Ends the script if the command fails."""
        words = shlex.split(command)
        return self._done(
            command, [str(self._laser) if words[0] == "laser" else words[0], *words[1:], *more], variables
        )

    def program(self, interpreter: Path | str, text: str) -> str:
        """Runs a Python program and returns what it prints."""
        return self._done("python …", [str(interpreter), "-I", "-c", text], {})

    def _done(self, command: str, line: list[str], variables: dict[str, str]) -> str:
        began = time.monotonic()
        done = subprocess.run(
            line,
            cwd=self._folder,
            env=self._variables | variables,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        print(f"$ {command}    ({time.monotonic() - began:.1f} s)", flush=True)
        if done.returncode:
            sys.exit(f"{command} ended with {done.returncode}:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
        return done.stdout

    @contextmanager
    def serving(self, command: str) -> Iterator[str]:
        """Runs a command that serves, and yields the server's address."""
        line = [str(self._laser), *shlex.split(command)[1:], "--port", "0"]
        log, began = self._folder / "server.log", time.monotonic()
        with open(log, "w", encoding="utf-8") as errors:
            process = subprocess.Popen(
                line, cwd=self._folder, env=self._variables, stdout=subprocess.PIPE, stderr=errors, text=True
            )
        patience = threading.Timer(READY_S, process.kill)
        patience.start()
        try:
            assert process.stdout is not None
            ready = re.search(r" ready at (http\S+)", process.stdout.readline())
            patience.cancel()
            if ready is None:
                process.wait(10)
                sys.exit(f"{command} does not serve:\n{log.read_text(encoding='utf-8')[-4000:]}")
            print(f"$ {command}    (ready after {time.monotonic() - began:.1f} s)", flush=True)
            yield ready[1]
            process.terminate()
            if process.wait(60):
                sys.exit(f"{command} ended with {process.returncode}:\n{log.read_text(encoding='utf-8')[-4000:]}")
        finally:
            patience.cancel()
            process.kill()


def visit(laser: Path, folder: Path) -> None:
    """Does what README tells, in its order."""
    visitor = Visitor(laser, folder)
    print(visitor.run("laser --version"))
    print(visitor.run(told("laser init")))
    with visitor.serving(told("laser serve --config")) as url:
        _expect(r"\boxed{28}", visitor.run(told('laser ask "Tom'), LASER_URL=url))
        _expect(r"\boxed{68}", visitor.program(sys.executable, snippet().replace("http://127.0.0.1:8000", url)))
    _own_model(visitor, laser.parent / "python", folder)
    print(visitor.run(told("laser simulate --rate 14 .*give_up"), "--duration", "5"))
    first, last = "laser serve --model DIR --thinking qwen3 --thr", "laser serve --model DIR --thinking qwen3$"
    ask = 'laser ask "Here is a list: 37, 32, 68, 12, 51. Find the largest number."'
    with visitor.serving(told("laser serve --policy load-aware --set width")) as url:
        _expect(r"\boxed{68}", visitor.run(ask, LASER_URL=url))
    with visitor.serving(told(first)) as url:
        _expect(r"\boxed{68}", visitor.run(ask, LASER_URL=url))
    print(visitor.run(told("laser calibrate --model DIR --thinking"), *FASTER))
    with visitor.serving(told(last)) as url:
        _expect(r"\boxed{68}", visitor.run(ask, LASER_URL=url))


def _own_model(visitor: Visitor, python: Path, folder: Path) -> None:
    """Makes DIR, the bundled model without its profile and format, and my.jsonl, questions that the model knows."""
    bundled = visitor.program(python, "from models.reasoner import bundled_model; print(bundled_model())").strip()
    shutil.copytree(bundled, folder / "DIR", ignore=shutil.ignore_patterns("profile.json*", "laser.yaml"))
    drawn = random.Random(0)
    with open(folder / "my.jsonl", "w", encoding="utf-8") as file:
        for _ in range(QUESTIONS):
            numbers = drawn.sample(range(10, 100), 5)
            text = f"Here is a list: {', '.join(map(str, numbers))}. Find the largest number."
            file.write(json.dumps({"question": text, "answer": str(max(numbers))}) + "\n")


def _expect(what: str, said: str) -> None:
    if what not in said:
        sys.exit(f"{what} was expected, but it said:\n{said}")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    visit(Path(sys.argv[1]), Path(sys.argv[2]))
