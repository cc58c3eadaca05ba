"""Following ExLlamaV2's converter: its progress, its failures, and when it has finished."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from engine.base import CorruptModelError, EngineError
from engine.exllama.quantise import ConversionProgress, Job, finished, follow, stage_of


@pytest.mark.slow
def test_stages_are_read_as_the_converter_writes_them() -> None:
    """By the package's own function, in a process where it can be imported without CUDA."""
    script = (
        "from types import ModuleType; import sys; sys.modules['exllamav2_ext'] = ModuleType('exllamav2_ext')\n"
        "from exllamav2.conversion.bot_status import print_stage\n"
        "for i in range(3): print_stage({'status_output': True}, 'Measuring', i, 2)\n"
    )
    stages = list(follow([sys.executable, "-c", script]))
    assert stages == [ConversionProgress(name="Measuring", done=done) for done in (0.0, 0.5, 1.0)]


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


@pytest.mark.parametrize("changed", [{"bits": 3.0}, {"head_bits": 8}, {"in_dir": "other"}, {"compile_full": "other"}])
def test_a_working_directory_of_another_conversion_is_refused(tmp_path: Path, changed: dict[str, object]) -> None:
    """The converter would resume it, and leave what was asked for undone."""
    kept = {"in_dir": "model", "compile_full": "out", "bits": 4.0, "head_bits": 6}
    job = Job(in_dir="model", compile_full="out", bits=4.0, head_bits=6)
    assert not job.resumes(tmp_path)
    (tmp_path / "job_new.json").write_text(json.dumps({**kept, "progress": "quant"}))
    assert job.resumes(tmp_path)
    (tmp_path / "job_new.json").write_text(json.dumps({**kept, **changed}))
    ((name, value),) = changed.items()
    with pytest.raises(EngineError, match=f"holds another conversion, with {name} {value}, not"):
        job.resumes(tmp_path)
