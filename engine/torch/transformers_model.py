"""Any causal language model of transformers as a packed forward pass, through its attention interface.

The generic path of the torch engine: it runs transformers' own code for everything but the attention itself.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from engine.base import CorruptModelError, UnsupportedModelError
from engine.torch.arena import KVArena
from engine.torch.attention import attend
from engine.torch.packed import ModelShape, PackedBatch, Segment

_ATTENTION = "laser_arena"


class TransformersModel:
    """A transformers model whose attention reads and writes the arena."""

    def __init__(self, directory: Path, config: Any) -> None:
        """Load the model of `directory`. Raises UnsupportedModelError if packed decoding would change its logits."""
        from transformers import AttentionInterface, AutoModelForCausalLM
        from transformers.masking_utils import AttentionMaskInterface

        AttentionInterface.register(_ATTENTION, _attention)
        AttentionMaskInterface.register(_ATTENTION, _no_mask)
        name = (config.architectures or ["the model"])[0]
        if type(config) not in AutoModelForCausalLM._model_mapping:
            raise UnsupportedModelError(f"{directory}: {name} is no causal language model that transformers knows")
        for dimension in ("num_hidden_layers", "num_attention_heads", "max_position_embeddings"):
            if not hasattr(config, dimension):
                raise UnsupportedModelError(f"{directory}: the configuration of {name} has no {dimension}")
        try:
            loaded: Any = AutoModelForCausalLM.from_pretrained(  # in evaluation mode
                directory,
                config=config,
                dtype=torch.float32,
                attn_implementation="eager",
                local_files_only=True,
                trust_remote_code=False,
                ignore_mismatched_sizes=True,  # _check_complete raises for them
                output_loading_info=True,
            )
        except (OSError, RuntimeError, ValueError, KeyError) as error:
            raise CorruptModelError(f"{directory}: the model cannot be loaded: {error}") from error
        self._model: Any = loaded[0]
        _check_complete(directory, loaded[1])
        heads = config.num_attention_heads
        kv_heads = getattr(config, "num_key_value_heads", None) or heads
        self._shape = ModelShape(
            layers=config.num_hidden_layers,
            heads=heads,
            kv_heads=kv_heads,
            head_dim=getattr(config, "head_dim", None) or config.hidden_size // heads,
            vocabulary=config.vocab_size,
            max_positions=config.max_position_embeddings,
        )
        self._check()

    @property
    def shape(self) -> ModelShape:
        return self._shape

    def forward(self, batch: PackedBatch, arena: KVArena) -> torch.Tensor:
        output = self._model(
            input_ids=batch.tokens[None],
            position_ids=batch.positions[None],
            use_cache=False,
            logits_to_keep=batch.logit_rows,
            laser_batch=batch,
            laser_arena=arena,
        )
        logits: torch.Tensor = output.logits[0]
        return logits

    @torch.inference_mode()
    def _check(self) -> None:
        """Raises UnsupportedModelError if packed decoding, in two pieces, changes the logits of the model itself."""
        name = self._model.config.architectures[0]
        tokens = torch.arange(1, 25) % self._shape.vocabulary
        arena = KVArena(
            layers=self._shape.layers, kv_heads=self._shape.kv_heads, head_dim=self._shape.head_dim, cells=len(tokens)
        )
        pieces = []
        try:
            want = self._model(input_ids=tokens[None], use_cache=False).logits[0]
            self._model.set_attn_implementation(_ATTENTION)
            for start, end in ((0, 16), (16, 24)):
                rows = torch.arange(start, end)
                mask = torch.where(torch.arange(end)[None] > rows[:, None], -torch.inf, 0.0)
                segment = Segment(
                    rows=slice(0, end - start),
                    cache=arena.read(slice(0, end)),
                    mask=mask.repeat_interleave(self._shape.heads // self._shape.kv_heads, dim=0),
                )
                batch = PackedBatch(
                    tokens=tokens[start:end],
                    positions=rows,
                    cells=rows,
                    segments=(segment,),
                    logit_rows=torch.arange(end - start),
                    kv_heads=self._shape.kv_heads,
                )
                pieces.append(self.forward(batch, arena))
        except (TypeError, RuntimeError, ValueError, IndexError) as error:
            raise UnsupportedModelError(f"{name} cannot be decoded in packed batches: {error}") from error
        worst = (torch.cat(pieces) - want).abs().max().item()
        limit = 1e-3 * max(1.0, want.abs().max().item())
        if not worst <= limit:
            raise UnsupportedModelError(
                f"{name} decodes differently in packed batches: its logits differ by {worst:.2g}, at most {limit:.2g} "
                "is allowed"
            )


def _check_complete(directory: Path, report: dict[str, Any]) -> None:
    """Raises CorruptModelError if transformers has initialised a tensor itself: it was missing or of another shape."""
    for tensor, found, wanted in report["mismatched_keys"]:
        raise CorruptModelError(
            f"{directory}: the tensor {tensor} is of shape {tuple(found)}, config.json asks for {tuple(wanted)}"
        )
    if report["missing_keys"]:
        raise CorruptModelError(f"{directory}: the weights lack the tensor {min(report['missing_keys'])}")


def _attention(
    module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, attention_mask: None, **options: Any
) -> tuple[torch.Tensor, None]:
    """transformers calls this with query (1, heads, T, head_dim), and key and value of the new rows only."""
    batch: PackedBatch | None = options.get("laser_batch")
    arena: KVArena | None = options.get("laser_arena")
    if batch is None or arena is None:
        raise ValueError("its attention layers do not receive the batch")
    for unsupported in ("sliding_window", "softcap", "s_aux"):
        if options.get(unsupported) is not None:
            raise ValueError(f"its attention uses {unsupported} = {options[unsupported]}")
    arena.write(module.layer_idx, batch.cells, key[0], value[0])
    scale = options.get("scaling") or query.shape[-1] ** -0.5
    found = attend(query[0].transpose(0, 1), batch, module.layer_idx, scale)
    return found[None], None


def _no_mask(*_: Any, **__: Any) -> None:
    """Returns no mask: the segments carry their own."""
