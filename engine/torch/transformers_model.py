"""Any causal language model of transformers as a packed forward pass, through its attention interface.

The generic path of the torch engine: it runs transformers' own code for everything but the attention itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from engine.base import CorruptModelError, UnsupportedModelError
from engine.checkpoint import architecture_of
from engine.torch.arena import KVArena
from engine.torch.attention import attend
from engine.torch.packed import ModelShape, PackedBatch, Segment
from engine.weights import StoredTensor, check_layers, check_names, check_plain, listed
from models.foreign import told

_ATTENTION = "laser_arena"


class TransformersModel:
    """A transformers model whose attention reads and writes the arena."""

    def __init__(self, directory: Path, config: Any, stored: Mapping[str, StoredTensor]) -> None:
        """Loads the model of `directory`, whose tensors are `stored`.

        Raises CorruptModelError if they are not those of the configuration, UnsupportedModelError if a tensor has no
        use or packed decoding would change the model's logits.
        """
        from transformers import AttentionInterface
        from transformers.masking_utils import AttentionMaskInterface

        AttentionInterface.register(_ATTENTION, _attention)
        AttentionMaskInterface.register(_ATTENTION, _no_mask)
        for dimension in ("num_hidden_layers", "num_attention_heads", "max_position_embeddings"):
            if not hasattr(config, dimension):
                raise UnsupportedModelError(
                    f"{directory}: the configuration of {architecture_of(config)} has no {dimension}"
                )
        self._model = _loaded(directory, config, stored)
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
        name = architecture_of(self._model.config)
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


def _loaded(directory: Path, config: Any, stored: Mapping[str, StoredTensor]) -> Any:
    """Returns the model in evaluation mode, if it has a use for every tensor that is stored."""
    from transformers import AutoModelForCausalLM

    make: Any = AutoModelForCausalLM
    check_layers(directory, config, stored)
    with told(f"{directory}: the model cannot be loaded", CorruptModelError):
        with torch.device("meta"):
            outline: Any = make.from_config(config)
        _check_outline(directory, outline, stored)
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            directory,
            config=config,
            dtype=torch.float32,
            attn_implementation="eager",
            local_files_only=True,
            trust_remote_code=False,
            ignore_mismatched_sizes=True,  # _check_report raises for them
            output_loading_info=True,
        )
    model, report = loaded
    _check_report(directory, config, report)
    apart = set(outline.all_tied_weights_keys) - set(model.all_tied_weights_keys)
    if apart:  # transformers unties weights that differ in the files
        raise CorruptModelError(
            f"{directory}: config.json ties {listed(apart)} to the embedding, from which the weights differ"
        )
    return model


def _check_outline(directory: Path, outline: Any, stored: Mapping[str, StoredTensor]) -> None:
    """Raises an error if the weights are far smaller than the model's outline, or hold codes in place of weights."""
    wanted = sum(parameter.numel() for parameter in outline.parameters())
    values = sum(tensor.values for tensor in stored.values())
    if wanted > 2 * values:  # a model of half its layers is told by its missing tensors
        raise CorruptModelError(f"{directory}: config.json asks for {wanted} values, the weights hold {values}")
    ignored = [re.compile(each) for each in outline._keys_to_ignore_on_load_unexpected or ()]
    buffers = {name for name, _ in outline.named_buffers()}
    used = {
        name: tensor
        for name, tensor in stored.items()
        if name not in buffers and not any(pattern.search(name) for pattern in ignored)
    }
    check_plain(directory, used)


def _check_report(directory: Path, config: Any, report: dict[str, Any]) -> None:
    """Raises an error if transformers has made up a tensor, that was missing or of another shape, or has left one out.

    What a class of transformers says may be missing or left over, it knows not to matter; the report leaves it out.
    """
    for tensor, found, wanted in sorted(report["mismatched_keys"]):
        raise CorruptModelError(
            f"{directory}: the tensor {tensor} is of shape {tuple(found)}, config.json asks for {tuple(wanted)}"
        )
    check_names(directory, architecture_of(config), missing=report["missing_keys"], others=report["unexpected_keys"])
    if report["error_msgs"]:
        raise CorruptModelError(
            f"{directory}: the model cannot be loaded: {' '.join(map(str, report['error_msgs']))[:300]}"
        )


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
