"""ExLlamaV2's converter, run as `python -m engine.exllama.convert` with the converter's own options.

The converter measures each matrix's quantisation loss by running the model, so it must run the model correctly: with
the model's rotary embedding and with causal attention.
"""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import torch

from engine.checkpoint import read_config
from engine.exllama.load import import_exllamav2, put_right


def main() -> None:
    exllamav2 = import_exllamav2(torch.device("cuda:0"))
    prepare = exllamav2.ExLlamaV2Config.prepare

    def prepared(exl: Any, *arguments: Any, **options: Any) -> None:
        prepare(exl, *arguments, **options)
        directory = Path(exl.model_dir)
        put_right(exl, directory, read_config(directory))

    exllamav2.ExLlamaV2Config.prepare = prepared
    runpy.run_module("exllamav2.conversion.convert_exl2", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
