"""The stages of gpu.sh: each within its time, and none loses what another has found."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from benchmarks.gpu.stages import TOTAL_S, GpuStage, counted, run, run_all, stages

ROOT = Path(__file__).parents[2]
WRITES = "from benchmarks.gpu.journal import Journal; from pathlib import Path; import sys, time\n"
WRITES += "Journal(Path(sys.argv[1])).add('figure', 7)\n"


def stage(folder: Path, name: str, code: str, limit_s: float = 30.0) -> GpuStage:
    return GpuStage(
        name=name, command=(sys.executable, "-c", WRITES + code, str(folder / f"{name}.json")), limit_s=limit_s
    )


def test_a_stage_that_fails_or_runs_out_of_time_keeps_its_figures_and_the_next_one_runs(tmp_path: Path) -> None:
    planned = [
        stage(tmp_path, "failing", "sys.exit('broken')"),
        stage(tmp_path, "endless", "time.sleep(60)", limit_s=2.0),
        stage(tmp_path, "fine", ""),
    ]
    start = time.monotonic()
    run_all(planned, tmp_path, tmp_path / "gpu.json", seed=0, spent_s=0.0)
    assert time.monotonic() - start < 30
    found = json.loads((tmp_path / "gpu.json").read_text(encoding="utf-8"))["results"]
    assert {name: one["ended"] for name, one in found.items()} == {
        "failing": "with exit code 1",
        "endless": "when its time was up",
        "fine": "well",
    }
    assert all(one["results"] == {"figure": 7} for one in found.values())
    assert found["failing"]["last_lines"][-1] == "broken"


def test_a_stage_for_which_no_time_is_left_is_not_begun(tmp_path: Path) -> None:
    last = run(stage(tmp_path, "late", ""), -1.0, tmp_path)
    assert last.ended == "not begun, for no time was left"
    assert not (tmp_path / "late.json").exists()


def test_all_stages_together_leave_half_a_minute_for_what_comes_before_them(tmp_path: Path) -> None:
    planned = stages(tmp_path, 0, [], http=True)
    assert sum(one.limit_s for one in planned) <= TOTAL_S - 30
    assert planned[0].name == "first_look"
    assert planned[0].limit_s <= 60


def test_what_the_test_stages_run_is_there(tmp_path: Path) -> None:
    for http in (False, True):
        named = [
            part for one in stages(tmp_path, 0, [], http=http) for part in one.command if part.startswith("tests/")
        ]
        assert [part for part in named if not (ROOT / part).exists()] == []
        assert any("http" in part for part in named) == http


def test_pytests_lines_are_counted_alone_and_side_by_side() -> None:
    found = counted(
        [
            "tests/test_gpu.py::test_a[fp16-llama] PASSED        [ 10%]",
            "tests/test_gpu.py::test_b FAILED        [ 20%]",
            "[gw1] [ 30%] PASSED tests/engine/test_contract.py::test_c[gpu-auto] ",
            "[gw0] [ 40%] SKIPPED tests/engine/test_contract.py::test_d",
            "[gw0] [ 50%] ERROR tests/engine/test_contract.py::test_e",
            "tests/engine/test_contract.py::test_f ",  # it ran when the time was up
        ]
    )
    assert found == {
        "passed": 2,
        "skipped": 1,
        "failed": ["tests/engine/test_contract.py::test_e", "tests/test_gpu.py::test_b"],
    }
