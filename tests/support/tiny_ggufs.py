"""Tiny random GGUF files of architectures whose layers differ: windows, and states in place of keys and values."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from tests.support.tiny_models import VOCABULARY

if TYPE_CHECKING:
    from engine.llamacpp.model import LlamaModel

HIDDEN, INNER, HEADS, GROUPS, WIDTH, LAYERS = 64, 96, 4, 2, 16, 4
WINDOW = 12  # tokens that a windowed layer looks back
REACH = 3  # tokens that a convolution sees, this one among them


def load_gguf(architecture: str, model_directory: Callable[[str], Path]) -> LlamaModel:
    """A tiny model in llama.cpp: one of ours by its architecture's name, else the converted one of transformers."""
    from engine.gguf.convert import StoredType, convert
    from engine.llamacpp.model import LlamaModel, LoadSettings

    if architecture in ARCHITECTURES:
        with TemporaryDirectory() as folder:
            return LlamaModel(
                save_gguf(Path(folder) / "model.gguf", architecture), LoadSettings(mmap=False, repack=False)
            )
    file = model_directory(architecture) / "float32.gguf"
    if not file.exists():
        for _ in convert(model_directory(architecture), file, StoredType.F32, tokenizer=False):
            pass
    return LlamaModel(file, LoadSettings(repack=False))


def save_gguf(file: Path, architecture: str, *, seed: int = 0, output: float = 1.0) -> Path:
    """A random model of this architecture in `file`, without a tokenizer; its logits are `output` times as large."""
    import gguf

    writer = gguf.GGUFWriter(file, architecture)
    writer.add_tokenizer_model("none")
    writer.add_vocab_size(VOCABULARY)
    writer.add_context_length(512)
    writer.add_embedding_length(HIDDEN)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_layer_norm_rms_eps(1e-6)
    describe, tensors = ARCHITECTURES[architecture]
    describe(writer)
    rng = np.random.default_rng(seed)
    for name, shape in tensors():
        noise = rng.standard_normal(shape) * (output if name == "output.weight" else 1.0)
        writer.add_tensor(name, (noise * 2.0 / shape[-1] ** 0.5 if len(shape) > 1 else 1.0 + 0.3 * noise).astype("f4"))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def _describe_gemma3(writer: Any) -> None:
    writer.add_head_count_kv(GROUPS)
    writer.add_key_length(WIDTH)
    writer.add_value_length(WIDTH)
    writer.add_sliding_window(WINDOW)
    writer.add_sliding_window_pattern(2)  # every other layer sees everything


def _describe_lfm2(writer: Any) -> None:
    writer.add_head_count_kv([GROUPS if layer % 2 else 0 for layer in range(LAYERS)])  # 0: a convolution
    writer.add_shortconv_l_cache(REACH)


_Tensors = Iterator[tuple[str, Sequence[int]]]


def _block(layer: int, *names: str) -> _Tensors:
    shapes: dict[str, Sequence[int]] = {
        "attn_norm": [HIDDEN],
        "attn_q": [HEADS * WIDTH, HIDDEN],
        "attn_k": [GROUPS * WIDTH, HIDDEN],
        "attn_v": [GROUPS * WIDTH, HIDDEN],
        "attn_output": [HIDDEN, HEADS * WIDTH],
        "attn_q_norm": [WIDTH],
        "attn_k_norm": [WIDTH],
        "post_attention_norm": [HIDDEN],
        "ffn_norm": [HIDDEN],
        "post_ffw_norm": [HIDDEN],
        "ffn_gate": [INNER, HIDDEN],
        "ffn_up": [INNER, HIDDEN],
        "ffn_down": [HIDDEN, INNER],
        "shortconv.conv": [HIDDEN, REACH],
        "shortconv.in_proj": [3 * HIDDEN, HIDDEN],
        "shortconv.out_proj": [HIDDEN, HIDDEN],
    }
    for name in names:
        yield f"blk.{layer}.{name}.weight", shapes[name]


_ATTENTION = ("attn_norm", "attn_q", "attn_k", "attn_v", "attn_output", "attn_q_norm", "attn_k_norm")
_CONVOLUTION = ("attn_norm", "shortconv.conv", "shortconv.in_proj", "shortconv.out_proj")
_FEED_FORWARD = ("ffn_norm", "ffn_gate", "ffn_up", "ffn_down")


def _tensors_gemma3() -> _Tensors:
    yield "token_embd.weight", [VOCABULARY, HIDDEN]
    yield "output.weight", [VOCABULARY, HIDDEN]
    yield "output_norm.weight", [HIDDEN]
    for layer in range(LAYERS):
        yield from _block(layer, *_ATTENTION, "post_attention_norm", *_FEED_FORWARD, "post_ffw_norm")


def _tensors_lfm2() -> _Tensors:
    yield "token_embd.weight", [VOCABULARY, HIDDEN]
    yield "output.weight", [VOCABULARY, HIDDEN]
    yield "token_embd_norm.weight", [HIDDEN]
    for layer in range(LAYERS):
        yield from _block(layer, *(_ATTENTION if layer % 2 else _CONVOLUTION), *_FEED_FORWARD)


ARCHITECTURES: dict[str, tuple[Callable[[Any], None], Callable[[], _Tensors]]] = {
    "gemma3": (_describe_gemma3, _tensors_gemma3),
    "lfm2": (_describe_lfm2, _tensors_lfm2),
}
"""What each architecture's metadata has of its own, and its tensors."""
