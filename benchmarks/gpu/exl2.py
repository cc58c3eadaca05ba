"""Quantises with `laser quantize` on this machine's GPU and measures the result beside half precision.

A stage of `benchmarks/gpu.sh`: first the bundled model, which takes seconds, then a random model with LAYERS of the 36
layers of Qwen3-8B, since a whole one would take tens of minutes. It has the bundled model's tokenizer, so that the
converter can read its texts.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.gpu.journal import Journal
from benchmarks.gpu.measure import CELLS, CONTEXTS, GpuBench, Roofline, decoded, device, random_model
from benchmarks.gpu.scratch import RoomError
from engine.checkpoint import read_config
from engine.exllama.config import CacheType, ExLlamaConfig
from engine.exllama.load import load_exllama, weights_bytes
from models.reasoner import bundled_model

LAYERS = 2
BITS = 4.0
ROWS = (1, 4, 5, 8, 16, 32, 33)
TOKENIZER = ("tokenizer.json", "tokenizer_config.json")


def quantised(model: Path, target: Path) -> float:
    """Runs `laser quantize` from `model` to `target` and returns its seconds. Raises CalledProcessError if it fails."""
    start = time.perf_counter()
    command = [sys.executable, "-m", "laser", "quantize", str(model), str(target), "--bits", str(BITS)]
    subprocess.run(command, check=True)
    return time.perf_counter() - start


def steps(directory: Path, seed: int) -> list[dict[str, Any]]:
    """Times a decoding step by rows."""
    config = ExLlamaConfig(cells=CELLS, cache=CacheType.FP16)
    loaded = load_exllama(directory, config)
    bench, roofline = GpuBench(loaded, config, seed=seed), Roofline(directory, device())
    bench.decode(1, CONTEXTS[0])  # kernels choose their shapes the first time
    return [asdict(roofline.of(step)) for step in decoded(bench, [(rows, CONTEXTS[0]) for rows in ROWS])]


def compare(model: Path, scratch: Path, seed: int) -> dict[str, Any]:
    """Returns size and step times of a model in half precision and in EXL2."""
    target = scratch / "exl2"
    seconds = quantised(model, target)
    return {
        "quantising_s": seconds,
        "bits": BITS,
        "half_bytes": weights_bytes(model),
        "exl2_bytes": weights_bytes(target),
        "exl2": steps(target, seed),
        "half": steps(model, seed),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scratch", type=Path, action="append", default=[], help="where the random model may lie")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    journal = Journal(arguments.out)
    with tempfile.TemporaryDirectory() as folder:
        journal.add("bundled", compare(bundled_model(), Path(folder), arguments.seed))
    try:
        with (
            random_model(arguments.scratch, arguments.seed, LAYERS) as model,
            tempfile.TemporaryDirectory(dir=model.parent) as folder,
        ):
            for name in TOKENIZER:
                shutil.copy(bundled_model() / name, model)
            layers = read_config(model).num_hidden_layers
            journal.add("qwen3_8b_cut", {"layers": layers, **compare(model, Path(folder), arguments.seed)})
    except RoomError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
