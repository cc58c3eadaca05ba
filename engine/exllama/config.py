"""How the ExLlamaV2 engine is set up, in names that can be read without loading torch."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class CacheType(StrEnum):
    """What keys and values are kept in."""

    FP16 = "fp16"
    Q8 = "q8"
    Q6 = "q6"
    Q4 = "q4"


class ProbeWay(StrEnum):
    """How a probe's suffix gets its keys and values."""

    AUTO = "auto"  # by load, see `ExLlamaConfig.way`
    STOCK = "stock"  # one prefill pass for each probe; none where the suffix is one token
    BATCHED = "batched"  # one prefill pass for all probes that start together
    RIDING = "riding"  # no pass: a token a step, as one more row of the decode batch


@dataclass(frozen=True, slots=True, kw_only=True)
class ExLlamaConfig:
    """Sizes of the ExLlamaV2 engine, and where its ways to probe change over."""

    cells: int = 16_384  # tokens of KV cache, shared by all sequences; whole pages of 256
    cache: CacheType = CacheType.FP16
    max_batch: int = 16  # sequences decoded at once; more wait
    max_probes: int = 8  # probes decoded at once; more wait
    prefill_chunk: int = 512  # prompt tokens a step
    lease_pages: int = 4  # pages reserved ahead of a sequence; it asks for more as it grows
    way: ProbeWay = ProbeWay.AUTO
    stock_rows: int = 2  # up to so many rows of decoding, a lone probe pays for a pass of its own
    batched_rows: int = 32  # ExLlamaV2 dequantises whole matrices beyond: the most rows of a batched prefill

    def __post_init__(self) -> None:
        for name in ("cells", "max_batch", "max_probes", "prefill_chunk", "lease_pages"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, must be at least 1")

    @property
    def max_rows(self) -> int:
        """Of decoding; one more than all, since a sequence's next lease begins before the one that it replaces ends."""
        return self.max_batch + self.max_probes + 1

    def choose_way(self, *, starting: int, suffix: int, rows: int) -> ProbeWay:
        """The way for probes that start in one step, with suffixes of so many tokens, beside so many decoded rows."""
        if self.way is not ProbeWay.AUTO:
            return self.way
        if suffix == 1 or (starting == 1 and rows <= self.stock_rows):  # one token is decoded: nothing to prefill
            return ProbeWay.STOCK
        if starting > 1 and starting * suffix <= self.batched_rows:
            return ProbeWay.BATCHED
        return ProbeWay.RIDING
