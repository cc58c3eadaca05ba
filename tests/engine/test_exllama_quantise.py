"""Following ExLlamaV2's converter: its progress, its failures, and when it has finished."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from engine.base import CorruptModelError, EngineError
from engine.exllama_quantise import Stage, finished, follow, stage_of


def test_stages_are_read_as_the_converter_writes_them() -> None:
    """By the package's own function, in a process where it can be imported without CUDA."""
    script = (
        "from types import ModuleType; import sys; sys.modules['exllamav2_ext'] = ModuleType('exllamav2_ext')\n"
        "from exllamav2.conversion.bot_status import print_stage\n"
        "for i in range(3): print_stage({'status_output': True}, 'Measuring', i, 2)\n"
    )
    stages = list(follow([sys.executable, "-c", script]))
    assert stages == [Stage(name="Measuring", done=done) for done in (0.0, 0.5, 1.0)]


def test_other_lines_tell_nothing() -> None:
    assert stage_of(" -- Layer: model.layers.0 (Attention)\n") is None


def test_a_converter_that_fails_is_quoted() -> None:
    script = "import sys; print(' -- Input: here'); sys.exit(3)"
    with pytest.raises(EngineError, match=r"failed with exit code 3: -- Input: here"):
        list(follow([sys.executable, "-c", script]))


def test_only_a_finished_job_is_finished(tmp_path: Path) -> None:
    assert not finished(tmp_path)
    job = tmp_path / "job_new.json"
    job.write_text('{"progress": "quant"}')
    assert not finished(tmp_path)
    job.write_text('{"progress": "finished"}')
    assert finished(tmp_path)
    job.write_text("{")
    with pytest.raises(CorruptModelError, match=r"job_new\.json is damaged"):
        finished(tmp_path)
