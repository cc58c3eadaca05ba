"""Tries a model in a process of its own before it serves: native code that does not fit the machine kills its process.

One case is known: a processor announces AMX, the kernel does not grant it, and llama.cpp dies of the first decode of
weights that it has rearranged for AMX.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from engine.base import EngineError, EngineUnavailableError
from engine.llamacpp.config import LlamaConfig
from engine.llamacpp.context import LlamaContext, TokenRow
from engine.llamacpp.model import LlamaModel, LoadSettings
from engine.loading import loaded
from models.parent import end_with

PROMPT = 48  # tokens of the trial, as many as make llama.cpp multiply matrices and not vectors
LIMIT_S = 600.0  # a trial that takes longer has failed: it loads the model and decodes some 50 tokens
ALIKE = 0.99  # least correlation of the same token's logits after the same text, decoded in two sequences
REFUSED = 3  # exit code: the model cannot be loaded, which this process will find out by itself


def safe_loading(
    wanted: LoadSettings, trial: Callable[[LoadSettings], str | None], *, may_change: bool
) -> tuple[LoadSettings, str]:
    """Returns how the model can be loaded without a crash, and in words what was changed for that; "": nothing.

    `trial` returns what goes wrong with a way of loading, in words; None: nothing. `may_change`: weights that cannot be
    rearranged for this CPU may stay as they are. Raises EngineUnavailableError if the trial fails all the same.
    """
    failed = trial(wanted)
    if failed is None:
        return wanted, ""
    if may_change and wanted.repack:
        plain = replace(wanted, repack=False)
        if trial(plain) is None:
            return plain, f"the weights are not rearranged for this CPU, since in a trial llama.cpp {failed}"
    raise EngineUnavailableError(f"llama.cpp cannot decode the model on this machine: in a trial it {failed}")


def tried_apart(file: Path, config: LlamaConfig, loading: LoadSettings) -> str | None:
    """Tries the model in another process. Returns what llama.cpp did wrong, in words; None: nothing."""
    small = replace(config, cells=256, max_batch=2, prefill_chunk=PROMPT)
    said = {"parent": os.getpid(), "file": str(file), "loading": asdict(loading), "config": asdict(small)}
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-P", "-m", "engine.llamacpp.selftest", json.dumps(said)]
    loaded(0.0)  # nothing is, but whoever waits may know that the trial begins, and below that it is over
    try:
        ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    except subprocess.TimeoutExpired:
        return f"took more than {LIMIT_S:.0f} s"
    finally:
        loaded(0.0)
    return fault(ended.returncode, ended.stderr)


def fault(code: int, said: str) -> str | None:
    """Returns what the exit code and the last words of a trial's process tell; None: nothing is wrong."""
    if code in (0, REFUSED):
        return None
    if code < 0:
        return f"died of {signal.Signals(-code).name}"
    lines = said.strip().splitlines()
    return f"failed: {lines[-1] if lines else f'code {code}'}"


def check_decoding(model: LlamaModel, config: LlamaConfig) -> None:
    """Raises EngineError unless two sequences that share their past decode alike, and can be dropped."""
    context = LlamaContext(model, config, ids=4)
    text = [(7 + 11 * at) % model.vocabulary for at in range(PROMPT)]
    parent = context.new()
    context.decode([TokenRow(token, at, (parent,), at == PROMPT - 1) for at, token in enumerate(text)])
    child = context.copy(parent)
    logits = context.decode([TokenRow(text[0], PROMPT, (sequence,), True) for sequence in (parent, child)])
    if not np.isfinite(logits).all():
        raise EngineError("its numbers overflowed")
    alike = float(np.corrcoef(*logits)[0, 1])
    if alike < ALIKE:
        raise EngineError(f"two sequences with the same past gave logits that correlate by {alike:.2f} only")
    context.drop(parent)
    alone = context.decode([TokenRow(text[1], PROMPT + 1, (child,), True)])
    if not np.isfinite(alone).all():
        raise EngineError("its numbers overflowed")
    context.drop(child)


def main(arguments: Sequence[str]) -> int:
    """Tries what the one argument, a JSON object, names. Returns the exit code; ends with the process that asks."""
    asked = json.loads(arguments[0])
    if not end_with(asked["parent"]):  # else signals to the whole server leave the trial to its parent, which ends it
        for number in (signal.SIGINT, signal.SIGTERM):  # the parent may ignore them, and a new process inherits that
            signal.signal(number, signal.SIG_DFL)
    config = LlamaConfig(**asked["config"])
    try:
        model = LlamaModel(Path(asked["file"]), LoadSettings(**asked["loading"]))
    except EngineError:
        return REFUSED
    try:
        check_decoding(model, config)
    except EngineError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
