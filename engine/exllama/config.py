"""Settings of the ExLlamaV2 engine; importing them does not load torch."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class CacheType(StrEnum):
    """The number format of the KV cache."""

    FP16 = "fp16"  # 16 bits a number
    Q8 = "q8"  # 8 bits a number
    Q6 = "q6"  # 6 bits a number
    Q4 = "q4"  # 4 bits a number


class ProbeWay(StrEnum):
    """How the keys and values of a probe's suffix are computed."""

    AUTO = "auto"  # chosen by load, see `ExLlamaConfig.choose_way`
    STOCK = "stock"  # one prefill pass per probe; no pass if the suffix is one token
    BATCHED = "batched"  # one prefill pass for all probes that start together
    RIDING = "riding"  # no prefill pass: one suffix token per step, as one more row of the decode batch


@dataclass(frozen=True, slots=True, kw_only=True)
class ExLlamaConfig:
    """Sizes of the ExLlamaV2 engine, and the thresholds by which it chooses a ProbeWay."""

    cells: int = 16_384  # tokens of KV cache, shared by all sequences; whole pages of 256
    cache: CacheType = CacheType.FP16
    max_batch: int = 16  # sequences decoded at once; more wait
    max_probes: int = 8  # probes decoded at once; more wait
    prefill_chunk: int = 512  # prompt tokens per step
    lease_pages: int = 4  # pages reserved ahead of a sequence; more are leased as it grows
    way: ProbeWay = ProbeWay.AUTO
    stock_rows: int = 2  # up to this many running sequences, a lone probe gets a prefill pass of its own
    batched_rows: int = 32  # most rows of a batched prefill; with more, ExLlamaV2 dequantises whole matrices

    def __post_init__(self) -> None:
        for name in ("cells", "max_batch", "max_probes", "prefill_chunk", "lease_pages"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, must be at least 1")

    @property
    def max_rows(self) -> int:
        """Most decode rows: sequences, probes and one more, because a lease starts before the one it replaces ends."""
        return self.max_batch + self.max_probes + 1

    def choose_way(self, *, starting: int, suffix: int, rows: int) -> ProbeWay:
        """The way for `starting` probes of one step, with suffixes of `suffix` tokens, beside `rows` decoded rows."""
        if self.way is not ProbeWay.AUTO:
            return self.way
        if suffix == 1 or (starting == 1 and rows <= self.stock_rows):  # a single token is decoded, not prefilled
            return ProbeWay.STOCK
        if starting > 1 and starting * suffix <= self.batched_rows:
            return ProbeWay.BATCHED
        return ProbeWay.RIDING
