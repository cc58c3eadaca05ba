"""Which context and batch fit the memory at hand; what `laser fit` tells, and what the llama.cpp engine takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from engine.base import CapacityError
from engine.fitting.available import available_bytes
from engine.fitting.footprint import LLAMACPP, PREFILL, ROUNDED, Footprint, footprint
from engine.fitting.gpu import ALL, UNKNOWN, taken_of
from engine.options import CELLS, EngineOptions
from models.directory import gguf_of
from models.gguf.model import find_gguf

PROGRAM = 700 << 20  # bytes that the server itself takes beside the model, most of them libraries
SPARE = 0.05  # share of the available memory that stays free
BATCHES = (1, 2, 4, 8, 16, 32)
SHOWN = ("f16", "q8_0", "q4_0")  # numbers of the KV cache
LEAST = 1_024  # cells below which a request has hardly room for a thought
MIB = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class FittingBatch:
    """What fits for a number of requests at once."""

    max_batch: int
    kv_type: str
    cells: int  # tokens of KV cache that there is room for
    context: int  # tokens of each request, when all are as long; at most what the model was trained for
    bytes: int  # of memory that is taken then


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryFit:
    """What fits of a model into the memory at hand."""

    model: str
    engine: str
    available: int | None  # bytes; None: it is not known what a GPU has, here and below
    usable: int | None  # bytes of them that a model may take
    weights: int  # bytes
    trained: int  # tokens of a sequence that the model was trained for
    batches: tuple[FittingBatch, ...]
    gpu: bool  # whether the memory is a GPU's
    taken: FittingBatch | None  # what `laser serve` takes where nobody says more; None: the model does not fit


def usable_bytes(available: int, *, gpu: bool = False) -> int:
    """Returns what a model may take of the available memory: all but a spare share, and what the server itself takes.

    `gpu`: the memory is a GPU's, where the server has nothing else.
    """
    return max(0, int(available * (1 - SPARE)) - (0 if gpu else PROGRAM))


def fitting(
    found: Footprint, usable: int, max_batch: int, kv_type: str, most: int | None = None, shares: int = 1
) -> FittingBatch:
    """Returns what fits into `usable` bytes for `max_batch` requests at once, at most `most` cells; 0 cells: nothing.

    More cells than the requests can fill, each as long as the model was trained for, are of no use. `shares`: into
    which llama.cpp divides them, each of a multiple of ROUNDED; 1: all sequences share them.
    """
    cells, parts = found.cells(max_batch, usable), max(max_batch, shares)
    for bound in (most, parts * found.trained or None):
        cells = cells if bound is None else min(cells, _up(bound, ROUNDED))
    cells -= cells % (ROUNDED * shares)
    context = min(cells // parts, found.trained or cells)
    return FittingBatch(
        max_batch=max_batch, kv_type=kv_type, cells=cells, context=context, bytes=int(found.total(max_batch, cells))
    )


def _up(cells: int, unit: int) -> int:
    return -(-cells // unit) * unit


def fit(model: Path, *, max_batch: int, available: int | None = None, gpus: Sequence[int] = ()) -> MemoryFit:
    """Returns what fits of a model; `available`: bytes, None: of `gpus`, if they compute it, else of this machine.

    `gpus`: the bytes that are free in each, see EngineOptions. Raises EngineError or GGUFError if the model is damaged
    or not served.
    """
    on_gpu = _gpu_bytes(model, ALL, gpus) if available is None else None
    there = on_gpu or (available_bytes() if available is None else available)
    usable, own = usable_bytes(there, gpu=on_gpu is not None), footprint(model)
    kinds = {name: footprint(model, name) for name in SHOWN} if own.engine == LLAMACPP else {"f32": own}
    listed = [fitting(one, usable, batch, name) for name, one in kinds.items() for batch in BATCHES]
    taken = fitting(own, usable, max_batch, next(iter(kinds)), most=CELLS)
    return MemoryFit(
        model=str(model),
        engine=own.engine,
        available=None if there == UNKNOWN else there,
        usable=None if there == UNKNOWN else usable,
        weights=own.weights,
        trained=own.trained,
        gpu=on_gpu is not None,
        batches=tuple(listed),
        taken=taken if taken.cells >= LEAST else None,
    )


def _gpu_bytes(model: Path, layers: int, gpus: Sequence[int]) -> int | None:
    """Returns the bytes that are free in the GPUs that compute `layers` of a model; None: it is not theirs."""
    gguf = gguf_of(model)
    return None if gguf is None else taken_of(gguf.layers, layers, gpus)


def cells_that_fit(
    model: Path,
    *,
    max_batch: int,
    kv_type: str = "f16",
    prefill: int = PREFILL,
    cells: int | None = None,
    shares: int = 1,
    available: int | None = None,
    gpu: bool = False,
) -> int:
    """Returns the cells that an engine takes: `cells`, or those that fit, at most CELLS, where that is None.

    `prefill`: prompt tokens of a step. `shares`: see `fitting`; cells that were chosen are as many more as fill them.
    `available`: bytes of memory, None: those of this machine; `gpu`: whether they are a GPU's. Raises CapacityError if
    there is no room for the weights and LEAST cells, or the smallest shares; of `cells` that were chosen, only if they
    do not fit even into all that is available.
    """
    there = available_bytes() if available is None else available
    usable, found = usable_bytes(there, gpu=gpu), replace(footprint(model, kv_type), prefill=prefill)
    unit = ROUNDED * shares
    wanted = max(LEAST, unit) if cells is None else cells if shares == 1 else _up(cells, unit)
    needed, room = found.total(max_batch, wanted), usable if cells is None else there
    if needed > room:
        raise CapacityError(
            f"{model}: no room in memory: weights of {found.weights / MIB:,.0f} MiB and a KV cache of {wanted:,} cells "
            f"for {max_batch} sequences need {needed / MIB:,.0f} MiB, {room / MIB:,.0f} MiB are there for them: "
            f"`laser fit` tells what fits{'' if cells is None else ', and without `cells` that is taken'}"
        )
    return wanted if cells is not None else max(unit, fitting(found, usable, max_batch, kv_type, CELLS, shares).cells)


def fitted(model: Path, options: EngineOptions, gpus: Sequence[int] | None = None) -> EngineOptions:
    """Returns the options with the cells that a GGUF model has room for; of other models, as they are.

    Cells that were chosen stay. `gpus`: None: as the options tell. Raises CapacityError if there is no room,
    EngineError or GGUFError if the file is damaged.
    """
    if find_gguf(model) is None:
        return options
    held = options.max_batch + getattr(options, "paused", 0)
    on_gpu = _gpu_bytes(model, getattr(options, "gpu_layers", ALL), options.gpu_memory() if gpus is None else gpus)
    cells = cells_that_fit(
        model,
        max_batch=held,
        kv_type=str(getattr(options, "kv_type", "f16")),
        prefill=getattr(options, "prefill_chunk", PREFILL),
        cells=options.cells,
        shares=1 if getattr(options, "shared_cache", True) else 2 * held,  # of a sequence and of its probe
        available=on_gpu,
        gpu=on_gpu is not None,
    )
    return replace(options, cells=cells)
