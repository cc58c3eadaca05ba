"""A sequence of the ExLlamaV2 engine and its probe, each with the lease that decodes it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch

from engine.decoding import Drawn, Stuck, TokenSequence
from engine.exllama.generator import Choose, Lease
from engine.probe import DecodedProbe


@dataclass(slots=True, kw_only=True, eq=False)
class LeasedProbe(DecodedProbe):
    """A probe and its lease."""

    lease: Lease | None = None  # None: it waits for pages, or for its sequence's lease
    overflown: bool = False  # its logits are no numbers


@dataclass(slots=True, kw_only=True, eq=False)
class LeasedSequence(TokenSequence[LeasedProbe]):
    """An admitted sequence. A paused one has no lease, because others need its pages; it later continues unchanged."""

    lease: Lease | None = None  # None: paused
    stale: bool = False  # the lease decodes other tokens than `tokens`
    replaced: list[Lease] = field(default_factory=list)  # old leases, kept until the next lease has found their pages
    drawn: Drawn | Stuck | None = None  # the token sampled in this step; None: none
    lost: bool = False  # its logits are no numbers

    @property
    def overflown(self) -> bool:
        """Whether the logits of the sequence or of its probe are no numbers, so that nothing can follow."""
        return self.lost or (self.probe is not None and self.probe.overflown)

    @property
    def leases(self) -> list[Lease]:
        """All leases that hold pages for this sequence."""
        probing = self.probe.lease if self.probe is not None else None
        return [lease for lease in (*self.replaced, self.lease, probing) if lease is not None]

    def next_lease(self, page: int, pages: int) -> Lease:
        """Returns a lease that continues `tokens` over at most `pages` more pages of `page` tokens each."""
        end = len(self.request.prompt) + self.request.max_new_tokens
        held = -(-len(self.tokens) // page) + pages
        last = held * page >= end
        # When the next lease takes over, all pages but the last are full: it finds them by their hash.
        room = end - len(self.tokens) if last else (held - 1) * page + 2 - len(self.tokens)
        return Lease(self.tokens, room=room, choose=self._choose, last=last)

    def _choose(self, logits: torch.Tensor) -> int:
        best = int(logits.argmax())
        if not _finite(logits, best):
            self.lost = True
            return best
        self.drawn = self.draw(logits.numpy(), best)
        return self.drawn.token if isinstance(self.drawn, Drawn) else best


def probe_lease(probe: LeasedProbe, context: list[int], *, stock: bool, batched: bool) -> Lease:
    """Returns a lease for a probe on `context`; unless `stock` or `batched`, its suffix rides along, token by token."""
    suffix, spec = probe.spec.suffix, probe.spec
    if stock:
        return Lease([*context, *suffix], room=spec.max_answer_tokens + 1, choose=_answer(probe))
    if batched:
        return Lease(context, room=spec.room, choose=_answer(probe), ahead=suffix)
    return Lease(context, room=spec.room, choose=_ride(probe))


def _finite(logits: torch.Tensor, best: int) -> bool:
    """Whether the logits are numbers: their argmax is a NaN or +∞ where there is one."""
    return math.isfinite(float(logits[best]))


def _answer(probe: LeasedProbe) -> Choose:
    """Returns a function that decodes the answer and records each token's raw log-probability."""

    def choose(logits: torch.Tensor) -> int:
        best = int(logits.argmax())
        if not _finite(logits, best):
            probe.overflown = True
            return best
        probe.decode(logits.numpy(), best)
        return probe.path[-1]

    return choose


def _ride(probe: LeasedProbe) -> Choose:
    """Returns a function that forces the suffix, whatever the logits, then decodes the answer."""
    suffix, answer = iter(probe.spec.suffix), _answer(probe)

    def choose(logits: torch.Tensor) -> int:
        forced = next(suffix, None)
        return answer(logits) if forced is None else forced

    return choose
