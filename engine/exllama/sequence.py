"""A sequence of the ExLlamaV2 engine and its probe, each with the lease that decodes it."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from engine.base import Request, SequenceId
from engine.exllama.generator import Choose, Lease
from engine.probe import Probe
from engine.sampling import draw


@dataclass(slots=True, kw_only=True, eq=False)
class LeasedProbe(Probe):
    """A probe; without a lease it waits for pages, or for its sequence's."""

    lease: Lease | None = None


@dataclass(slots=True, kw_only=True, eq=False)
class LeasedSequence:
    """An admitted sequence. Without a lease it is paused: its pages were needed, and it goes on where it was."""

    id: SequenceId
    request: Request
    tokens: list[int]
    stops_armed: bool
    lease: Lease | None = None
    stale: bool = False  # the lease is on other tokens than these
    replaced: list[Lease] = field(default_factory=list)  # kept until the next lease has found their pages
    probe: LeasedProbe | None = None
    unannounced: list[int] = field(default_factory=list)  # forced or adopted, their events still to come
    drawn: int | None = None  # the token that this step has brought

    @property
    def new_tokens(self) -> int:
        return len(self.tokens) - len(self.request.prompt)

    @property
    def decoding(self) -> bool:
        """Whether it may be forked and forced."""
        return self.new_tokens > 0 and not self.unannounced

    @property
    def leases(self) -> list[Lease]:
        """All that hold pages for it."""
        probing = self.probe.lease if self.probe is not None else None
        return [lease for lease in (*self.replaced, self.lease, probing) if lease is not None]

    def next_lease(self, page: int, pages: int) -> Lease:
        """A lease that goes on from its tokens, over so many more pages of so many tokens at most."""
        end = len(self.request.prompt) + self.request.max_new_tokens
        held = -(-len(self.tokens) // page) + pages
        last = held * page >= end
        # All but the last page are full when the next lease takes over: it finds them by their hash.
        room = end - len(self.tokens) if last else (held - 1) * page + 2 - len(self.tokens)
        return Lease(self.tokens, room=room, choose=self._choose, last=last)

    def _choose(self, logits: torch.Tensor) -> int:
        sampling, stops = self.request.sampling, self.request.stop_tokens
        barred = frozenset() if self.stops_armed else stops
        best = int(logits.argmax())
        greedy = sampling.temperature == 0.0 and best not in barred
        self.drawn = best if greedy else draw(logits.numpy(), sampling, len(self.tokens), barred)
        return self.drawn


def probe_lease(probe: LeasedProbe, context: list[int], *, stock: bool, batched: bool) -> Lease:
    """A lease for a probe on `context`; with neither way its suffix rides along, a token a step."""
    suffix, spec = probe.spec.suffix, probe.spec
    if stock:
        return Lease([*context, *suffix], room=spec.max_answer_tokens + 1, choose=_answer(probe))
    if batched:
        return Lease(context, room=spec.room, choose=_answer(probe), ahead=suffix)
    return Lease(context, room=spec.room, choose=_ride(probe))


def _answer(probe: Probe) -> Choose:
    """Decodes the answer greedily, and notes each token's raw probability."""

    def choose(logits: torch.Tensor) -> int:
        best = int(logits.argmax())
        probe.extend(logits, best)
        return best

    return choose


def _ride(probe: Probe) -> Choose:
    """Forces the suffix, whatever the logits, then answers."""
    suffix, answer = iter(probe.spec.suffix), _answer(probe)

    def choose(logits: torch.Tensor) -> int:
        forced = next(suffix, None)
        return answer(logits) if forced is None else forced

    return choose
