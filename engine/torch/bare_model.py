"""The Llama, Qwen2 and Qwen3 architectures as one bare packed forward pass: the fast path of the torch engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import rms_norm, silu

from engine.base import CorruptModelError
from engine.torch.arena import KVArena
from engine.torch.attention import attend
from engine.torch.packed import ModelShape, PackedBatch

ARCHITECTURES = frozenset({"LlamaForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM"})


@dataclass(frozen=True, slots=True)
class _Linear:
    """x → x · W + b. W is kept transposed, (in, out): MKL multiplies a few rows with it up to 1.9 times as fast."""

    weight: torch.Tensor
    bias: torch.Tensor | None

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return torch.mm(x, self.weight) if self.bias is None else torch.addmm(self.bias, x, self.weight)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layer:
    attention_norm: torch.Tensor  # (hidden,)
    qkv: _Linear  # hidden → (heads + 2 · kv_heads) · head_dim
    query_norm: torch.Tensor | None  # (head_dim,), Qwen3
    key_norm: torch.Tensor | None
    out: _Linear  # heads · head_dim → hidden
    mlp_norm: torch.Tensor
    gate_up: _Linear  # hidden → 2 · intermediate
    down: _Linear  # intermediate → hidden


class BareModel:
    """A decoder of rotary, grouped-query attention and gated-SiLU layers, read from a checkpoint's named tensors."""

    def __init__(self, config: Any, weights: Mapping[str, torch.Tensor]) -> None:
        """`config` is transformers' configuration. Raises CorruptModelError where weights do not fit it."""
        head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        self._shape = ModelShape(
            layers=config.num_hidden_layers,
            heads=config.num_attention_heads,
            kv_heads=config.num_key_value_heads,
            head_dim=head_dim,
            vocabulary=config.vocab_size,
            max_positions=config.max_position_embeddings,
        )
        take = _Taker(weights)
        hidden = config.hidden_size
        embedding = take("model.embed_tokens.weight", config.vocab_size, hidden)
        self._layers = [self._layer(take, config, f"model.layers.{i}.") for i in range(config.num_hidden_layers)]
        self._norm = take("model.norm.weight", hidden)
        head = embedding if config.tie_word_embeddings else take("lm_head.weight", config.vocab_size, hidden)
        self._head = head.t().contiguous()  # (hidden, vocabulary)
        self._embedding = self._head.t() if config.tie_word_embeddings else embedding
        self._epsilon = config.rms_norm_eps
        self._cos, self._sin = _rotary_tables(config)

    @property
    def shape(self) -> ModelShape:
        return self._shape

    def forward(self, batch: PackedBatch, arena: KVArena) -> torch.Tensor:
        heads, kv_heads, width = self._shape.heads, self._shape.kv_heads, self._shape.head_dim
        scale = width**-0.5
        hidden = self._embedding[batch.tokens]  # (T, hidden)
        cos = self._cos[batch.positions][:, None]  # (T, 1, head_dim)
        sin = self._sin[batch.positions][:, None]
        for index, layer in enumerate(self._layers):
            normed = self._rms(hidden, layer.attention_norm)
            qkv = layer.qkv(normed).view(-1, heads + 2 * kv_heads, width)
            if layer.query_norm is not None and layer.key_norm is not None:
                query = self._rms(qkv[:, :heads], layer.query_norm)
                key = self._rms(qkv[:, heads : heads + kv_heads], layer.key_norm)
                rotated = torch.cat((query, key), dim=1)
            else:
                rotated = qkv[:, : heads + kv_heads]
            rotated = rotated * cos + _half_turn(rotated) * sin
            arena.write(
                index,
                batch.cells,
                rotated[:, heads:].transpose(0, 1),
                qkv[:, heads + kv_heads :].transpose(0, 1),
            )
            found = attend(rotated[:, :heads], batch, index, scale)
            hidden = hidden + layer.out(found.reshape(-1, heads * width))
            normed = self._rms(hidden, layer.mlp_norm)
            gate, up = layer.gate_up(normed).chunk(2, dim=-1)
            hidden = hidden + layer.down(silu(gate) * up)
        return torch.mm(self._rms(hidden[batch.logit_rows], self._norm), self._head)

    def _rms(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return rms_norm(x, weight.shape, weight, self._epsilon)

    def _layer(self, take: _Taker, config: Any, prefix: str) -> _Layer:
        shape, hidden, inner = self._shape, config.hidden_size, config.intermediate_size
        queries, keys = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
        attention, mlp = prefix + "self_attn.", prefix + "mlp."
        # which parts there are follows from the architecture, never from what the file happens to hold
        qwen2, qwen3 = config.model_type == "qwen2", config.model_type == "qwen3"
        in_bias = qwen2 or config.attention_bias
        out_bias = not qwen2 and config.attention_bias
        mlp_bias = getattr(config, "mlp_bias", False)
        query_key_value = {attention + "q_proj": queries, attention + "k_proj": keys, attention + "v_proj": keys}
        return _Layer(
            attention_norm=take(prefix + "input_layernorm.weight", hidden),
            qkv=take.linear(query_key_value, hidden, bias=in_bias),
            query_norm=take(attention + "q_norm.weight", shape.head_dim) if qwen3 else None,
            key_norm=take(attention + "k_norm.weight", shape.head_dim) if qwen3 else None,
            out=take.linear({attention + "o_proj": hidden}, queries, bias=out_bias),
            mlp_norm=take(prefix + "post_attention_layernorm.weight", hidden),
            gate_up=take.linear({mlp + "gate_proj": inner, mlp + "up_proj": inner}, hidden, bias=mlp_bias),
            down=take.linear({mlp + "down_proj": hidden}, inner, bias=mlp_bias),
        )


class _Taker:
    """Takes tensors out of a checkpoint by name, in float32 and of the shape expected."""

    def __init__(self, weights: Mapping[str, torch.Tensor]) -> None:
        self._weights = weights

    def __call__(self, name: str, *shape: int) -> torch.Tensor:
        tensor = self._weights.get(name)
        if tensor is None:
            raise CorruptModelError(f"the weights lack the tensor {name}")
        if tuple(tensor.shape) != shape:
            raise CorruptModelError(
                f"the tensor {name} is of shape {tuple(tensor.shape)}, config.json asks for {shape}"
            )
        return tensor.to(torch.float32)

    def linear(self, outputs: Mapping[str, int], inputs: int, *, bias: bool) -> _Linear:
        """Projections of the same input as one; `outputs` gives each one's name and width."""
        weight = torch.cat([self(f"{name}.weight", width, inputs) for name, width in outputs.items()])
        biases = torch.cat([self(f"{name}.bias", width) for name, width in outputs.items()]) if bias else None
        return _Linear(weight.t().contiguous(), biases)


def _half_turn(x: torch.Tensor) -> torch.Tensor:
    first, second = x.chunk(2, dim=-1)
    return torch.cat((-second, first), dim=-1)


def _rotary_tables(config: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """cos and sin of every position, (max_positions, head_dim) each, with the model's RoPE scaling applied."""
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

    rotary = LlamaRotaryEmbedding(config)
    positions = torch.arange(config.max_position_embeddings)
    cos, sin = rotary(torch.zeros(1, dtype=torch.float32), positions[None])
    return cos[0].contiguous(), sin[0].contiguous()
