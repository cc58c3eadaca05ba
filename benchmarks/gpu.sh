#!/usr/bin/env bash
# The ExLlamaV2 engine on this machine's GPU, in at most nine minutes: ten prompts, the tests that need a GPU, then
# measurements on the bundled model, on random weights in Qwen3-8B's shape, and on EXL2. Each stage's result is written as it
# comes; all go into one JSON file with device, versions and date.
#
#   benchmarks/gpu.sh [OUT.json]                  installs what is missing; builds ExLlamaV2's extension, which needs nvcc
#   benchmarks/gpu.sh --offline DIR [OUT.json]    needs only what `benchmarks/build_extension.sh --wheelhouse DIR` laid
#
# Needs an NVIDIA GPU and the CUDA build of torch. PYTHON names the interpreter, by default that of .venv, else python3;
# SCRATCH a folder with 18 GB of room for the random model, by default the roomier of /dev/shm and TMPDIR.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
offline=
if [[ ${1:-} == --offline ]]; then
    [[ -d ${2:-} ]] || { echo "--offline needs the folder that build_extension.sh --wheelhouse laid, not '${2:-}'." >&2; exit 2; }
    offline=$(realpath "$2")
    shift 2
fi
out=$(realpath -m "${1:-gpu.json}")
if [[ -z ${PYTHON:-} ]]; then
    PYTHON=$([[ -x .venv/bin/python && -z $offline ]] && echo .venv/bin/python || echo python3)
fi
started=$SECONDS
stage() { echo "==> [$((SECONDS - started)) s] $*"; }
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH}

if [[ -n $offline ]]; then
    stage "Unpacking $offline"
    site=$(mktemp -d)
    trap 'rm -rf "$site"' EXIT
    "$PYTHON" -m benchmarks.gpu.unpacking "$offline" "$site" || exit 1
    export PYTHONPATH=$PWD:$site
fi
capability=$("$PYTHON" -c '
import sys
try:
    import torch
except ImportError:
    sys.exit(1)
if not torch.cuda.is_available():
    sys.exit(1)
print("%d.%d" % torch.cuda.get_device_capability())' 2>/dev/null) || {
    echo "No GPU: this needs the CUDA build of torch and a driver that it can talk to." >&2
    exit 1
}
if [[ -n $offline ]]; then
    "$PYTHON" -m benchmarks.gpu.unpacking "$offline" "$site" --capability "$capability" || exit 1
else
    "$PYTHON" -c 'from importlib.metadata import version; version("exllamav2"); version("laser-serving")' 2>/dev/null || {
        stage "Installing what is missing; torch stays as it is"
        pins=$(mktemp)
        "$PYTHON" -c 'from importlib.metadata import version; print("torch==" + version("torch"))' >"$pins"
        grep -v '^torch==' constraints.txt >>"$pins"
        "$PYTHON" -m pip install --quiet --constraint "$pins" --group dev --editable '.[exllama]' || exit 1
        rm -f "$pins"
    }
fi

stage "Loading ExLlamaV2's extension, which may have to be built"
export TORCH_CUDA_ARCH_LIST=$capability MAX_JOBS=${MAX_JOBS:-$(nproc)}
timeout 400 "$PYTHON" -c '
import torch
from engine.exllama.load import import_exllamav2
import_exllamav2(torch.device("cuda:0"))' || exit 1

"$PYTHON" -m benchmarks.gpu.stages --out "$out" --spent $((SECONDS - started)) ${SCRATCH:+--scratch "$SCRATCH"}
