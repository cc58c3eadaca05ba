"""Settings of the llama.cpp engine; importing them loads no library."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

MOST_SEQUENCES = 256  # that one of llama.cpp's contexts can tell apart, LLAMA_MAX_SEQ
NONE_PAUSED = "its option `paused` is 0"  # what keeps the engine from pauses


class KVType(StrEnum):
    """The number format of llama.cpp's KV cache."""

    F32 = "f32"  # 32 bits a number
    F16 = "f16"  # 16 bits a number
    Q8_0 = "q8_0"  # 8 bits a number and one scale for 32; needs flash attention
    Q4_0 = "q4_0"  # 4 bits a number and one scale for 32; needs flash attention


class FlashAttention(StrEnum):
    """Whether llama.cpp computes attention in one pass over the cache."""

    AUTO = "auto"  # if the device can
    ON = "always"  # also where llama.cpp would not
    OFF = "never"  # not even where it can


@dataclass(frozen=True, slots=True, kw_only=True)
class LlamaConfig:
    """Sizes of the llama.cpp engine, and how it computes."""

    cells: int = 65_536  # tokens of KV cache, shared by all sequences
    max_batch: int = 32  # sequences decoded at once; more wait
    paused: int = 0  # sequences that may be paused besides, each as dear as one of the batch but for its rows; 0: none
    prefill_chunk: int = 256  # prompt tokens per step, so that running sequences never stall for long
    kv_type: KVType = KVType.F16
    flash_attention: FlashAttention = FlashAttention.AUTO
    threads: int = 1
    on_gpu: bool = True  # the KV cache lies with its layers; False: in main memory
    # sequences share cells, which probes then see without a copy; False: each has a share of its own, of `cells_each`
    # tokens, and so has each probe, which copies; a row passes over no cells of others, which pays where many decode
    shared: bool = True

    def __post_init__(self) -> None:
        for name in ("cells", "max_batch", "prefill_chunk", "threads"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, must be at least 1")
        if self.paused < 0:
            raise ValueError(f"paused is {self.paused}, must be at least 0")

    @property
    def held(self) -> int:
        """The most sequences that there can be at once."""
        return self.max_batch + self.paused

    @property
    def cells_each(self) -> int:
        """The most tokens of one sequence."""
        return self.cells if self.shared else self.cells // (2 * self.held)

    @property
    def rows(self) -> int:
        """The most rows of one call of llama_decode; a step with more makes several calls."""
        return self.prefill_chunk + 4 * self.max_batch
