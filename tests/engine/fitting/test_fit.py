from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from engine.base import CapacityError
from engine.fitting.available import available_bytes, granted_cores
from engine.fitting.fit import BATCHES, LEAST, cells_that_fit, fit, fitted, usable_bytes
from engine.fitting.footprint import footprint
from engine.fitting.gpu import UNKNOWN, taken_of
from engine.options import CELLS, spare_cores
from engine.registry import engine_options
from laser.cli.models.fit import told
from models.reasoner import bundled_model
from tests.support.gguf_files import MODEL, save

GIB = 1 << 30


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return save(tmp_path / "model.gguf")


def test_a_cell_holds_the_keys_and_values_of_every_layer_that_attends(model: Path, tmp_path: Path) -> None:
    assert footprint(model).cell == 2 * 2 * (16 + 16) * 2  # layers, heads, widths, bytes of f16
    assert footprint(model, "q8_0").cell == pytest.approx(2 * 2 * 32 * 34 / 32)
    hybrid = {**MODEL, "llama.attention.head_count_kv": [0, 2], "llama.shortconv.l_cache": 3}
    found = footprint(save(tmp_path / "hybrid.gguf", hybrid))
    assert (found.cell, found.sequence) == (2 * 32 * 2, 64 * 2 * 4)
    assert found.ids == 3  # a probe keeps the state where it began


def test_layers_that_attend_and_have_a_state_keep_both(tmp_path: Path) -> None:
    scan = {"inner_size": 128, "state_size": 16, "group_count": 1, "conv_kernel": 4}
    keys = {key.replace("llama.", "falcon-h1."): value for key, value in MODEL.items()}
    said = {**keys, "general.architecture": "falcon-h1", **{f"falcon-h1.ssm.{key}": scan[key] for key in scan}}
    found = footprint(save(tmp_path / "both.gguf", said))
    assert found.cell == 2 * 2 * (16 + 16) * 2
    assert found.sequence == 2 * (3 * (128 + 2 * 16) + 128 * 16) * 4  # layers, numbers of a state, bytes
    assert found.ids == 3


def test_weights_are_the_tensors_and_a_directory_is_computed_in_32_bits(model: Path) -> None:
    assert footprint(model).weights == 64 * 128 * 4
    bundled = footprint(bundled_model())
    assert (bundled.engine, bundled.cell, bundled.trained) == ("torch", 5 * 2 * 64 * 4, 4096)


def test_the_cells_that_fit_take_what_is_usable_and_no_more(model: Path) -> None:
    found = footprint(model)
    room = found.total(4, 0) + 3 * 256 * found.cell * 10
    cells = found.cells(4, room)
    assert found.total(4, cells) <= room < found.total(4, cells + 256)
    assert found.cells(4, found.total(4, 0) - 1) == 0


def test_more_memory_never_fits_less(model: Path) -> None:
    sizes = [fit(model, max_batch=8, available=one << 20) for one in (200, 800, 1000, 2000, 64_000)]
    for batch in range(len(BATCHES)):
        cells = [one.batches[batch].cells for one in sizes]
        assert cells == sorted(cells)
    assert sizes[0].taken is None
    assert sizes[-1].taken is not None
    assert sizes[-1].taken.cells == 8 * 512  # no more than eight requests of the trained length fill


def test_what_serve_takes_is_what_fit_tells(tmp_path: Path) -> None:
    model = save(tmp_path / "long.gguf", {**MODEL, "llama.context_length": 131_072})
    for available in (GIB, 2 * GIB, 64 * GIB):
        taken = fit(model, max_batch=4, available=available).taken
        assert taken is not None
        assert cells_that_fit(model, max_batch=4, available=available) == taken.cells
    assert taken.cells == CELLS


def test_no_room_is_told_with_what_is_needed_and_what_there_is(model: Path) -> None:
    with pytest.raises(CapacityError, match=rf"no room in memory: .* {LEAST:,} cells for 32 sequences need .* MiB"):
        cells_that_fit(model, max_batch=32, available=700 << 20)
    with pytest.raises(CapacityError, match=r"a KV cache of 100,000,000 cells"):
        cells_that_fit(model, max_batch=1, cells=100_000_000, available=GIB)
    assert cells_that_fit(model, max_batch=1, cells=5_000, available=GIB) == 5_000


def test_longer_steps_leave_room_for_fewer_cells(tmp_path: Path) -> None:
    model = save(tmp_path / "long.gguf", {**MODEL, "llama.context_length": 131_072})
    few, many = (cells_that_fit(model, max_batch=4, prefill=rows, available=GIB) for rows in (8192, 256))
    assert LEAST <= few < many


def test_options_get_the_cells_that_fit_unless_these_were_chosen(model: Path) -> None:
    options = engine_options("torch", {"max_batch": 4})
    assert fitted(model, options).cells == 4 * 512
    assert fitted(model, replace(options, cells=777)).cells == 777
    assert fitted(model, replace(options, cells=CELLS)).cells == CELLS  # as many as no one would have to choose
    assert fitted(bundled_model(), options) is options


def test_shares_of_a_cache_are_whole_pages_and_all_that_is_allocated_is_counted(tmp_path: Path) -> None:
    model = save(tmp_path / "long.gguf", {**MODEL, "llama.context_length": 131_072})
    page = 256 * 8  # cells of the least shares of eight sequences
    assert cells_that_fit(model, max_batch=4, shares=8, cells=page + 1, available=GIB) == 2 * page
    found, few = footprint(model), 800 * 8  # of which a share holds three whole pages of 256
    room = int((found.total(4, few) + (700 << 20)) / 0.95) + 1
    assert cells_that_fit(model, max_batch=4, available=room) == few // 256 * 256
    assert cells_that_fit(model, max_batch=4, shares=8, available=room) == 3 * page
    with pytest.raises(CapacityError, match=rf"a KV cache of {256 * 200:,} cells"):
        cells_that_fit(model, max_batch=100, shares=200, available=int((found.total(100, 50_000) + (700 << 20)) / 0.95))


def test_a_share_may_be_as_long_as_the_model_was_trained_for(model: Path) -> None:
    apart = engine_options("llamacpp", {"max_batch": 2, "paused": 1, "shared_cache": False})
    assert fitted(model, apart).cells == 3 * 2 * 512
    assert fitted(model, replace(apart, cells=1000)).cells == 3 * 2 * 256


@pytest.mark.parametrize(
    ("gpu_layers", "gpus", "taken"),
    [
        (-1, [GIB, 2 * GIB], 3 * GIB),
        (3, [GIB], GIB),  # both, and the output
        (2, [GIB], UNKNOWN),  # the output lies in main memory
        (1, [GIB], UNKNOWN),
        (-1, [GIB, 0], UNKNOWN),
        (-1, [], None),
        (0, [GIB], None),
    ],
)
def test_a_model_is_fitted_to_the_gpus_that_compute_all_of_it(
    gpu_layers: int, gpus: list[int], taken: int | None
) -> None:
    assert taken_of(2, gpu_layers, gpus) == taken


def test_what_a_gpu_holds_is_neither_sized_nor_refused_by_main_memory(tmp_path: Path) -> None:
    model = save(tmp_path / "long.gguf", {**MODEL, "llama.context_length": 131_072})
    some, huge = 23 << 20, 1 << 32  # bytes of a GPU, cells beyond any machine
    options = engine_options("llamacpp", {"max_batch": 4})
    fits = cells_that_fit(model, max_batch=4, available=some, gpu=True)
    assert LEAST < fits < CELLS
    assert fitted(model, options, [some]).cells == fits
    assert fitted(model, engine_options("auto", {"max_batch": 4}), [some]).cells == fits
    assert fitted(model, options, [0]).cells == CELLS
    assert fitted(model, replace(options, cells=huge), [0]).cells == huge
    assert fitted(model, engine_options("llamacpp", {"cells": huge, "gpu_layers": 1}), [some]).cells == huge
    of_main = engine_options("llamacpp", {"gpu_layers": 0})
    for chosen, gpus in ((of_main, [some]), (options, [some]), (options, [])):
        with pytest.raises(CapacityError, match="no room in memory"):
            fitted(model, replace(chosen, cells=huge), gpus)
    with pytest.raises(CapacityError, match="no room in memory"):
        fitted(model, options, [1 << 20])


def test_fit_tells_of_the_gpu_that_serve_takes(tmp_path: Path) -> None:
    model, some = save(tmp_path / "long.gguf", {**MODEL, "llama.context_length": 131_072}), 23 << 20
    found = fit(model, max_batch=4, gpus=[some])
    assert (found.gpu, found.available) == (True, some)
    assert "23 MiB of the GPU's memory are free" in told(found)
    assert found.taken is not None
    assert found.taken.cells == fitted(model, engine_options("llamacpp", {"max_batch": 4}), [some]).cells
    assert "how much memory of the GPU is free is not known" in told(fit(model, max_batch=4, gpus=[0]))
    assert not fit(model, max_batch=4, gpus=[]).gpu
    assert not fit(bundled_model(), max_batch=4, gpus=[GIB]).gpu


def test_a_container_s_limit_counts_without_the_pages_of_files_in_it(tmp_path: Path) -> None:
    own = tmp_path / "own"  # no such file: the group at the root
    free = available_bytes(tmp_path, own)
    assert free > 0
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("1000\n")
    assert available_bytes(tmp_path, own) > 1000
    (tmp_path / "memory.max").write_text("5000\n")
    assert available_bytes(tmp_path, own) == 4000
    assert usable_bytes(4000) == 0
    (tmp_path / "memory.stat").write_text("anon 300\ninactive_file 600\nactive_file 100\n")
    assert available_bytes(tmp_path, own) == 4700


@pytest.mark.parametrize(
    ("line", "folder", "limit", "used"),
    [
        ("0::/user/job", "", "memory.max", "memory.current"),
        ("4:cpu,memory:/user/job", "memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
    ],
)
def test_the_limit_of_a_group_around_the_own_one_counts(
    line: str, folder: str, limit: str, used: str, tmp_path: Path
) -> None:
    own = tmp_path / "own"
    own.write_text(f"9:pids:/other\n{line}\n")
    group = tmp_path / folder / "user"
    (group / "job").mkdir(parents=True)
    (group / limit).write_text("5000\n")
    (group / used).write_text("1000\n")
    assert available_bytes(tmp_path, own) == 4000
    (group / "job" / limit).write_text("3000\n")
    (group / "job" / used).write_text("500\n")
    assert available_bytes(tmp_path, own) == 2500


@pytest.mark.parametrize(
    ("line", "folder", "files"),
    [
        ("0::/user/job", "", {"cpu.max": "QUOTA 100000"}),
        ("4:cpu,cpuacct:/user/job", "cpu", {"cpu.cfs_quota_us": "QUOTA", "cpu.cfs_period_us": "100000"}),
    ],
)
def test_threads_are_no_more_than_a_container_has_time_for(
    line: str, folder: str, files: dict[str, str], tmp_path: Path
) -> None:
    own = tmp_path / "own"
    own.write_text(f"9:pids:/other\n{line}\n")
    group = tmp_path / folder / "user"
    (group / "job").mkdir(parents=True)

    def limit(place: Path, quota: str) -> None:
        for name, text in files.items():
            (place / name).write_text(text.replace("QUOTA", quota) + "\n")

    assert spare_cores(16, tmp_path, own) == 15
    limit(group, "-1" if folder else "max")
    assert (granted_cores(tmp_path, own), spare_cores(16, tmp_path, own)) == (float("inf"), 15)
    limit(group, "350000")
    assert (granted_cores(tmp_path, own), spare_cores(16, tmp_path, own)) == (3.5, 2)
    assert spare_cores(2, tmp_path, own) == 1
    limit(group / "job", "50000")
    assert (granted_cores(tmp_path, own), spare_cores(16, tmp_path, own)) == (0.5, 1)
