"""What memory a model takes: its weights, each token of KV cache, and what a step computes in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.base import UnsupportedModelError
from engine.checkpoint import read_config
from engine.weights import head_width, stored_tensors
from models.directory import gguf_of
from models.gguf.model import GGUFModel

LLAMACPP, TORCH = "llamacpp", "torch"  # engines, by their kinds
KV_BITS: Mapping[str, float] = {"f32": 32.0, "f16": 16.0, "q8_0": 8.5, "q4_0": 4.5}
"""The bits of a number in llama.cpp's KV cache, its share of a block's scale among them."""
EMBEDDING = "token_embd.weight"  # its rows are the vocabulary
FLOAT = 4  # bytes of a number that is computed with
MASK = 2  # bytes of a row's mask for each cell
INNER, OUTER = 3, 5  # how many times a row of a layer is held: as wide as the feed-forward layer, and as the others
PREFILL = 256  # prompt tokens of a step, of every engine here where nobody says more
IDS, ANCHORED = 2, 3  # sequences for each request: the thought, its probe, and the state where that forked
PROBE_ROWS = 4  # rows of a step for each request: a token, its probe, and the suffix of a probe that begins
ROUNDED = 256  # cells by which llama.cpp counts


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """The memory that a model takes in an engine, bytes."""

    engine: str  # LLAMACPP or TORCH
    weights: int  # mapped from the file, or read
    cell: float  # of one token of KV cache
    sequence: int  # of one sequence, whatever its length: states of layers without keys and values
    trained: int  # tokens of a sequence that the model was trained for
    hidden: int  # width of a layer's output, numbers
    inner: int  # width of what the feed-forward layer computes in
    vocabulary: int
    masked: bool  # whether a step has a mask over all cells
    prefill: int = PREFILL  # prompt tokens of a step

    @property
    def ids(self) -> int:
        """The sequences for each request; with states there is one more."""
        return ANCHORED if self.sequence else IDS

    def computed(self, batch: int, cells: int) -> float:
        """Returns what a step of `batch` requests computes in, with `cells` of KV cache."""
        rows = self.prefill + PROBE_ROWS * batch
        layer = rows * (INNER * self.inner + OUTER * self.hidden) * FLOAT
        logits = self.ids * batch * self.vocabulary * FLOAT  # computed where the layers were, and copied out
        return max(layer, logits) + logits + (rows * cells * MASK if self.masked else 0)

    def total(self, batch: int, cells: int) -> float:
        """Returns all of it for `batch` requests at once, with `cells` of KV cache."""
        return self.weights + self.cell * cells + self.ids * batch * self.sequence + self.computed(batch, cells)

    def cells(self, batch: int, room: float) -> int:
        """Returns the most cells that fit into `room` bytes, a multiple of ROUNDED; 0: not even the first ones do."""
        fixed, each = self.total(batch, 0), self.total(batch, ROUNDED) - self.total(batch, 0)
        return max(0, int((room - fixed) // each)) * ROUNDED


def footprint(model: Path, kv_type: str = "f16") -> Footprint:
    """Returns what a model takes: of a GGUF file with llama.cpp, of a directory with torch.

    `kv_type`: the numbers of llama.cpp's KV cache, of KV_BITS. Raises EngineError or GGUFError if the model is damaged
    or not served.
    """
    gguf = gguf_of(model)
    return _with_torch(model) if gguf is None else _with_llama(gguf, kv_type)


def _with_llama(model: GGUFModel, kv_type: str) -> Footprint:
    """Returns the footprint of a GGUF model: its file's pages, and a cache of `kv_type`."""
    name = model.architecture
    layers, hidden = model.layers, model.number(f"{name}.embedding_length", 1)
    heads = model.numbers(f"{name}.attention.head_count", layers)
    grouped, forward = f"{name}.attention.head_count_kv", f"{name}.feed_forward_length"
    groups = model.numbers(grouped, layers) if grouped in model.metadata else heads
    width = hidden // max(1, max(heads, default=1))
    keys = model.number(f"{name}.attention.key_length", 1, width)
    values = model.number(f"{name}.attention.value_length", 1, width)
    if model.metadata.get(f"{name}.attention.key_length_mla"):  # keys hold what values are made of
        values = 0
    every = model.number(f"{name}.full_attention_interval", 1, 1)  # the other layers have a state
    attending = [count for layer, count in enumerate(groups) if (layer + 1) % every == 0 and count]
    inner = max(model.numbers(forward, layers)) if forward in model.metadata else 4 * hidden
    stateful = layers - len(attending) or layers  # where all attend, those with a state do both, as Falcon-H1's do
    return Footprint(
        engine=LLAMACPP,
        weights=model.bytes,
        cell=sum(attending) * (keys + values) * _bits(model.path, kv_type) / 8,
        sequence=stateful * _state(model, hidden) * FLOAT,
        trained=model.context,
        hidden=hidden,
        inner=inner,
        vocabulary=next((each.shape[-1] for each in model.tensors if each.name == EMBEDDING), 0),
        masked=True,
    )


def _bits(path: Path, kv_type: str) -> float:
    if kv_type not in KV_BITS:
        raise UnsupportedModelError(f"{path}: kv_type is {kv_type!r}, must be one of {', '.join(KV_BITS)}")
    return KV_BITS[kv_type]


def _state(model: GGUFModel, hidden: int) -> int:
    """Returns the numbers that a layer with a state keeps of a sequence; 0: the model has no such layers."""
    name = model.architecture
    reach = model.number(f"{name}.shortconv.l_cache", 0, 0)
    if reach:
        return hidden * (reach - 1)
    inner, states = (model.number(f"{name}.ssm.{key}", 0, 0) for key in ("inner_size", "state_size"))
    groups, reach = (model.number(f"{name}.ssm.{key}", 0, 0) for key in ("group_count", "conv_kernel"))
    return max(0, reach - 1) * (inner + 2 * groups * states) + states * inner


def _with_torch(directory: Path) -> Footprint:
    """Returns the footprint of a model directory, computed and cached in 32 bits."""
    config: Any = read_config(directory)
    tensors = stored_tensors(directory)
    heads = getattr(config, "num_attention_heads", None)
    if not isinstance(heads, int) or not isinstance(getattr(config, "num_hidden_layers", None), int):
        raise UnsupportedModelError(f"{directory}: its memory is not known: config.json states no attention heads")
    groups = getattr(config, "num_key_value_heads", None) or heads
    return Footprint(
        engine=TORCH,
        weights=sum(tensor.values for tensor in tensors.values()) * FLOAT,
        cell=float(config.num_hidden_layers * 2 * groups * head_width(config) * FLOAT),
        sequence=0,
        trained=int(getattr(config, "max_position_embeddings", None) or 0),
        hidden=config.hidden_size,
        inner=getattr(config, "intermediate_size", None) or 4 * config.hidden_size,
        vocabulary=config.vocab_size,
        masked=False,
    )
