#!/usr/bin/env bash
# Compiles and links exllamav2's CUDA extension; needs nvcc, but no GPU. See `benchmarks/build_extension.sh --help`.
# PYTHON names the interpreter that runs it, by default that of .venv, else python3.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
if [[ -z ${PYTHON:-} ]]; then
    PYTHON=$([[ -x .venv/bin/python ]] && echo .venv/bin/python || echo python3)
fi
exec "$PYTHON" -m benchmarks.gpu.extension "$@"
