"""The Llama, Qwen2 and Qwen3 architectures as one bare packed forward pass: the fast path of the torch engine."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import rms_norm, silu

from engine.base import UnsupportedModelError
from engine.rotary import rotary_frequencies
from engine.torch.arena import KVArena
from engine.torch.attention import attend
from engine.torch.packed import ModelShape, PackedBatch
from engine.weights import EMBEDDING, HEAD, head_width

ARCHITECTURES = frozenset({"LlamaForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM"})


@dataclass(frozen=True, slots=True)
class _Linear:
    """x → x · W + b. W is kept transposed, (in, out): MKL multiplies a few rows with it up to 1.9 times as fast.

    W may be in another format than x, in which the product is computed then; result and bias are in x's.
    """

    weight: torch.Tensor
    bias: torch.Tensor | None

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        if self.weight.dtype is not x.dtype:
            product = torch.mm(x.to(self.weight.dtype), self.weight).to(x.dtype)
            return product if self.bias is None else product + self.bias
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

    def __init__(
        self,
        config: Any,
        weights: Mapping[str, torch.Tensor],
        *,
        dtype: torch.dtype = torch.float32,
        held: bool = True,
    ) -> None:
        """`config` is transformers' configuration; `weights` are those that `engine.weights.parameters` lists.

        `dtype` is the format of the layers' matrices. All else is float32: norms, attention, what flows from layer to
        layer, and embedding and head, for in bfloat16 logits have three digits. `held` False: layers are made when
        they are needed and not kept, for one forward pass.
        """
        self._shape = ModelShape(
            layers=config.num_hidden_layers,
            heads=config.num_attention_heads,
            kv_heads=config.num_key_value_heads,
            head_dim=head_width(config),
            vocabulary=config.vocab_size,
            max_positions=config.max_position_embeddings,
        )
        take = _Taker(weights, dtype)
        embedding = take(EMBEDDING if EMBEDDING in weights else HEAD)  # of a tied pair a file may hold either
        layers = (self._layer(take, config, f"model.layers.{i}.") for i in range(config.num_hidden_layers))
        self._layers: Iterable[_Layer] = list(layers) if held else layers
        self._norm = take("model.norm.weight")
        head = embedding if config.tie_word_embeddings else take(HEAD)
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
        attention, mlp = prefix + "self_attn.", prefix + "mlp."
        qwen3 = config.model_type == "qwen3"
        return _Layer(
            attention_norm=take(prefix + "input_layernorm.weight"),
            qkv=take.linear(attention + "q_proj", attention + "k_proj", attention + "v_proj"),
            query_norm=take(attention + "q_norm.weight") if qwen3 else None,
            key_norm=take(attention + "k_norm.weight") if qwen3 else None,
            out=take.linear(attention + "o_proj"),
            mlp_norm=take(prefix + "post_attention_layernorm.weight"),
            gate_up=take.linear(mlp + "gate_proj", mlp + "up_proj"),
            down=take.linear(mlp + "down_proj"),
        )


class _Taker:
    """Takes tensors out of a checkpoint by name, in float32, matrices of layers in `dtype`."""

    def __init__(self, weights: Mapping[str, torch.Tensor], dtype: torch.dtype) -> None:
        self._weights = weights
        self._dtype = dtype

    def __call__(self, name: str) -> torch.Tensor:
        return self._weights[name].to(torch.float32)

    def linear(self, *names: str) -> _Linear:
        """Projections of the same input as one; they have biases if the checkpoint has, see `parameters`."""
        weight = torch.cat([self._weights[f"{name}.weight"].to(self._dtype) for name in names])
        biased = f"{names[0]}.bias" in self._weights
        biases = torch.cat([self(f"{name}.bias") for name in names]) if biased else None
        return _Linear(weight.t().contiguous(), biases)


def _half_turn(x: torch.Tensor) -> torch.Tensor:
    first, second = x.chunk(2, dim=-1)
    return torch.cat((-second, first), dim=-1)


def _rotary_tables(config: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """cos and sin of every position, (max_positions, head_dim) each, with the model's RoPE scaling applied.

    Raises UnsupportedModelError if they do not turn whole heads, or are not finite.
    """
    rates, scaling = rotary_frequencies(config)
    angles = torch.arange(config.max_position_embeddings, dtype=torch.float32)[:, None] * rates
    angles = torch.cat((angles, angles), dim=-1)
    cos, sin = angles.cos() * scaling, angles.sin() * scaling
    if cos.shape[-1] != head_width(config) or not bool(cos.isfinite().all() and sin.isfinite().all()):
        raise UnsupportedModelError(
            f"the rotary embedding turns {cos.shape[-1]} of {head_width(config)} values, or none"
        )
    return cos, sin
