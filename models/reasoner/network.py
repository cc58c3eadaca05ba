"""The Qwen3 network in bare torch: the same weights and names as the HF class, small and quick to train."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

BLOCK = 192  # slots whose attention is computed together in training


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Sizes of the network; `vocabulary` comes from the tokenizer, padded to a multiple of 32."""

    vocabulary: int = 640
    hidden: int = 192
    layers: int = 5
    heads: int = 3
    kv_heads: int = 1
    head_dim: int = 64
    mlp: int = 512
    rope_theta: float = 10_000.0
    norm_eps: float = 1e-6
    positions: int = 4096

    def huggingface(self, *, eos: int, pad: int, dtype: str) -> dict[str, object]:
        """The config.json of a transformers Qwen3ForCausalLM of this shape."""
        return {
            "architectures": ["Qwen3ForCausalLM"],
            "model_type": "qwen3",
            "vocab_size": self.vocabulary,
            "hidden_size": self.hidden,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "head_dim": self.head_dim,
            "intermediate_size": self.mlp,
            "hidden_act": "silu",
            "max_position_embeddings": self.positions,
            "rms_norm_eps": self.norm_eps,
            "rope_theta": self.rope_theta,
            "rope_parameters": {"rope_type": "default", "rope_theta": self.rope_theta},
            "attention_bias": False,
            "attention_dropout": 0.0,
            "tie_word_embeddings": True,
            "use_sliding_window": False,
            "use_cache": True,
            "initializer_range": 0.02,
            "bos_token_id": None,
            "eos_token_id": eos,
            "pad_token_id": pad,
            "dtype": dtype,
        }


class Cache:
    """Keys and values so far: an arena [layers, 2, batch, kv_heads, capacity, head_dim], filled up to `length`."""

    def __init__(self, shape: Shape, *, batch: int, capacity: int) -> None:
        size = (shape.layers, 2, batch, shape.kv_heads, capacity, shape.head_dim)
        self.arena = torch.zeros(size)
        self.length = 0

    def extend(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Append new keys and values of a layer and return all of them; the last layer advances `length`."""
        stop = self.length + key.shape[2]
        self.arena[layer, 0, :, :, self.length : stop] = key
        self.arena[layer, 1, :, :, self.length : stop] = value
        if layer == len(self.arena) - 1:
            self.length = stop
        return self.arena[layer, 0, :, :, :stop], self.arena[layer, 1, :, :, :stop]

    def keep(self, rows: Tensor) -> None:
        """Drop all sequences but `rows`."""
        self.arena = self.arena[:, :, rows]


class Norm(nn.Module):
    """Root-mean-square normalisation with a learned scale."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps) * self.weight


class Attention(nn.Module):
    """Grouped-query attention with normalised queries and keys and rotary positions."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.q_proj = nn.Linear(shape.hidden, shape.heads * shape.head_dim, bias=False)
        self.k_proj = nn.Linear(shape.hidden, shape.kv_heads * shape.head_dim, bias=False)
        self.v_proj = nn.Linear(shape.hidden, shape.kv_heads * shape.head_dim, bias=False)
        self.o_proj = nn.Linear(shape.heads * shape.head_dim, shape.hidden, bias=False)
        self.q_norm = Norm(shape.head_dim, shape.norm_eps)
        self.k_norm = Norm(shape.head_dim, shape.norm_eps)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, bias: Tensor, cache: Cache | None, layer: int) -> Tensor:
        s, (batch, length, _) = self.shape, x.shape
        q = self.q_norm(self.q_proj(x).view(batch, length, s.heads, s.head_dim)).transpose(1, 2)
        k = self.k_norm(self.k_proj(x).view(batch, length, s.kv_heads, s.head_dim)).transpose(1, 2)
        v = self.v_proj(x).view(batch, length, s.kv_heads, s.head_dim).transpose(1, 2)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        if cache is not None:
            k, v = cache.extend(layer, k, v)
        if cache is None:  # no token sees a later slot of its row: each block computes as many keys as it may see
            starts = range(0, length, BLOCK)
            parts = [
                _attended(q[:, :, i : i + BLOCK], k[:, :, : i + BLOCK], v[:, :, : i + BLOCK], bias, i) for i in starts
            ]
            mixed = torch.cat(parts, dim=2)
        else:
            mixed = _attended(q, k, v, bias, 0)
        out: Tensor = self.o_proj(mixed.transpose(1, 2).reshape(batch, length, s.heads * s.head_dim))
        return out


def _attended(q: Tensor, k: Tensor, v: Tensor, bias: Tensor, start: int) -> Tensor:
    """What the queries from slot `start` on take from the keys: [batch, heads, queries, head_dim].

    Explicit products and softmax in single precision: on a CPU their backward is faster than that of fused attention.
    """
    (batch, heads, length, size), (_, kv_heads, keys, _) = q.shape, k.shape
    with torch.autocast("cpu", enabled=False):
        q, k, v = q.float(), k.float(), v.float()
        q = q.reshape(batch, kv_heads, heads // kv_heads * length, size) * size**-0.5
        scores = (q @ k.transpose(2, 3)).view(batch, heads, length, keys) + bias[:, :, start : start + length, :keys]
        weights = scores.softmax(-1).view(batch, kv_heads, heads // kv_heads * length, keys)
        return (weights @ v).view(batch, heads, length, size)


class Mlp(nn.Module):
    """The gated feed-forward part of a layer."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(shape.hidden, shape.mlp, bias=False)
        self.up_proj = nn.Linear(shape.hidden, shape.mlp, bias=False)
        self.down_proj = nn.Linear(shape.mlp, shape.hidden, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))
        return out


class Layer(nn.Module):
    """Attention, then the feed-forward part, each normalised before and added to the residual stream."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.self_attn = Attention(shape)
        self.mlp = Mlp(shape)
        self.input_layernorm = Norm(shape.hidden, shape.norm_eps)
        self.post_attention_layernorm = Norm(shape.hidden, shape.norm_eps)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, bias: Tensor, cache: Cache | None, layer: int) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), cos, sin, bias, cache, layer)
        out: Tensor = x + self.mlp(self.post_attention_layernorm(x))
        return out


class Body(nn.Module):
    """Embedding, layers and last norm, under the names that the HF class gives them."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(shape.vocabulary, shape.hidden)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.layers))
        self.norm = Norm(shape.hidden, shape.norm_eps)


class Network(nn.Module):
    """Token ids to logits; its state dict is that of Qwen3ForCausalLM with tied embeddings."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.model = Body(shape)

    def initialise(self, generator: torch.Generator) -> None:
        """Draw fresh weights: small embeddings, residual outputs at zero."""
        for name, parameter in self.named_parameters():
            if parameter.ndim < 2:
                nn.init.ones_(parameter)
            elif name.endswith(("o_proj.weight", "down_proj.weight")):
                nn.init.zeros_(parameter)
            else:
                std = 0.02 if "embed" in name else 0.6 * parameter.shape[1] ** -0.5
                nn.init.normal_(parameter, std=std, generator=generator)

    def forward(self, tokens: Tensor, positions: Tensor, allowed: Tensor, cache: Cache | None = None) -> Tensor:
        """Logits [batch, length, vocabulary]; `allowed` [batch, length, keys]: the keys each token attends to."""
        x = self.model.embed_tokens(tokens)
        cos, sin = rotation(positions, self.shape)
        bias = torch.where(allowed, 0.0, -1e9).unsqueeze(1)
        for number, layer in enumerate(self.model.layers):
            x = layer(x, cos, sin, bias, cache, number)
        return F.linear(self.model.norm(x), self.model.embed_tokens.weight)


def rotation(positions: Tensor, shape: Shape) -> tuple[Tensor, Tensor]:
    """Cosine and sine of the rotary embedding at `positions`: [batch, 1, length, head_dim]."""
    half = torch.arange(0, shape.head_dim, 2, dtype=torch.float32) / shape.head_dim
    angle = positions[..., None].float() * shape.rope_theta**-half
    angle = torch.cat((angle, angle), dim=-1).unsqueeze(1)
    return angle.cos(), angle.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Apply the rotary embedding: the second half of each head is the imaginary part."""
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-second, first), dim=-1) * sin
