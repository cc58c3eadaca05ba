#!/usr/bin/env bash
# The ExLlamaV2 engine on this machine's GPU, in at most nine minutes: builds its extension, runs the tests that need a
# GPU, then measures. All figures go into one JSON file with device, versions and date.
#
#   benchmarks/gpu.sh [OUT.json]
#
# Needs an NVIDIA GPU, the CUDA toolkit (nvcc), and the CUDA build of torch. PYTHON names the interpreter, by default
# that of .venv, else python3; SCRATCH a folder with 16 GB of room for the random model, by default /dev/shm.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
out=$(realpath -m "${1:-gpu.json}")
if [[ -z ${PYTHON:-} ]]; then
    PYTHON=$([[ -x .venv/bin/python ]] && echo .venv/bin/python || echo python3)
fi
started=$SECONDS
left() { # seconds, less those that are to be kept for later stages
    local rest=$((540 - ${1:-0} - (SECONDS - started)))
    echo $((rest > 1 ? rest : 1))
}
stage() { echo "==> [$((SECONDS - started)) s] $*"; }

"$PYTHON" -c 'import torch, sys; sys.exit(not torch.cuda.is_available())' || {
    echo "No GPU: this needs the CUDA build of torch and a driver that it can talk to." >&2
    exit 1
}
"$PYTHON" -c 'from importlib.metadata import version; version("exllamav2"); version("laser-serving")' 2>/dev/null || {
    stage "Installing what is missing; torch stays as it is"
    pins=$(mktemp)
    "$PYTHON" -c 'from importlib.metadata import version; print("torch==" + version("torch"))' >"$pins"
    grep -v '^torch==' constraints.txt >>"$pins"
    "$PYTHON" -m pip install --quiet --constraint "$pins" --group dev --editable '.[exllama]' || exit 1
    rm -f "$pins"
}

stage "Building ExLlamaV2's extension"
TORCH_CUDA_ARCH_LIST=$("$PYTHON" -c 'import torch; print("%d.%d" % torch.cuda.get_device_capability())')
export TORCH_CUDA_ARCH_LIST MAX_JOBS=${MAX_JOBS:-$(nproc)}
timeout "$(left)" "$PYTHON" -c '
import torch
from engine.exllama.load import import_exllamav2
import_exllamav2(torch.device("cuda:0"))' || exit 1

stage "Running the tests that need a GPU"
tested=0
LASER_GPU=1 timeout "$(left 240)" "$PYTHON" -m pytest -m gpu tests || tested=$?

stage "Measuring"
timeout "$(left)" "$PYTHON" -m benchmarks.gpu --scratch "${SCRATCH:-/dev/shm}" --out "$out" || exit 1

stage "Done: $out"
exit "$tested"
