"""A running sequence and its probe, each of them a sequence of llama.cpp's context.

    attention       parent  0 … fork_at … computed          the child sees the parent's cells up to the fork,
                    child   0 … fork_at … computed          and its own behind it
    apart           parent, and the child with a copy of its cells, for which the newest token is decoded again
    recurrent       parent, child, and the anchor, which keeps the state at the fork
    windowed        parent, child, and the shadow, which sees what the parent sees

Where there is attention alone, the child stands by from the start: every row of the parent is its, too, until a probe
begins. llama.cpp marks and unmarks cells one by one, so a fork costs the same however long the past is.

llama.cpp gives away a cell that lies behind the window of the only sequence that sees it. A probe that forks some
tokens back looks back that much farther; so the shadow sees all cells, too, and none is given away.

A probe that is adopted becomes its sequence: the child stays, the parent goes whole. Nothing is ever taken out of the
middle of a sequence, and from its end only where no layer is recurrent.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from engine.base import ProbeId, ProbeSpec
from engine.decoding import ComputedSequence
from engine.llamacpp.context import DecodeError, LlamaContext, TokenRow
from engine.probe import ComputedProbe

MOST_UNSHADOWED = 64  # tokens; a copy for several costs no more than for one


@dataclass(slots=True, kw_only=True, eq=False)
class ChildProbe(ComputedProbe):
    """A probe in a sequence of its own."""

    child: int | None = None  # None: its sequence is still to compute the state that the probe continues
    anchor: int | None = None  # the state at the fork; None: the child can be cut instead

    @property
    def due(self) -> int:
        return 0 if self.child is None else len(self.path) - self.computed

    def begin(self, context: LlamaContext, parent: int, computed: int, window: int) -> None:
        """Continue `parent`, of which the first `computed` tokens have KV; it may lack the newest that is continued.

        Raises DecodeError if the cache lacks what a layer with this `window` looks back on.
        """
        self.child = context.copy(parent, end=min(self.fork_at, computed))
        if context.first(self.child) > max(0, self.fork_at - window + 1):
            raise DecodeError(f"the cache has lost tokens that a probe at {self.fork_at} looks back on")

    def begin_anchored(self, context: LlamaContext, parent: int) -> None:
        """Continue the state that `parent` has now, which is that of the fork, and keep it."""
        self.child, self.anchor = context.copy(parent), context.copy(parent)

    def begin_spare(self, context: LlamaContext, spare: int, computed: int) -> None:
        """Continue in `spare`, which sees all that its parent does, of whose tokens the first `computed` have KV."""
        self.child = spare
        if computed > self.fork_at:
            context.cut(spare, self.fork_at)

    def release(self, context: LlamaContext) -> None:
        """Free what the probe holds."""
        for held in (self.child, self.anchor):
            if held is not None:
                context.drop(held)
        self.child = self.anchor = None


@dataclass(slots=True, kw_only=True, eq=False)
class ParentSequence(ComputedSequence[ChildProbe]):
    """An admitted sequence: its tokens, of which the first `computed` have KV in the context's sequence `own`."""

    own: int
    spare: int | None = None  # the child that stands by; None: forks copy, since a layer has a window or is recurrent
    shadow: int | None = None  # None: no layer has a window
    apart: bool = False  # no other sequence can see its cells, not even a probe
    shadowed: int = 0  # tokens that the shadow sees

    def borrow(self, context: LlamaContext, lender: int, count: int, window: int) -> bool:
        """See the first `count` tokens of another sequence; False: a layer with this `window` has lost some."""
        context.copy(lender, end=count, target=self.own)
        if window and context.first(self.own) > max(0, count - window + 1):
            context.cut(self.own, 0)
            return False
        if self.spare is not None:  # its rows are decoded with this one's from here on
            context.copy(lender, end=count, target=self.spare)
        return True

    def rows(self, count: int, *, wanted: bool) -> list[TokenRow]:
        """Returns the next `count` rows; `wanted`: the last one's logits are.

        A probe that forks at the newest token begins with its row: it is the child's too.
        """
        probe = self.probe
        sequences: tuple[int, ...] = (self.own,)
        if probe is None and self.spare is not None:
            sequences = (self.own, self.spare)
        elif probe is not None and probe.child is not None and self._joins(probe) and not self.apart:
            sequences = (self.own, probe.child)
        last = self.computed + count - 1
        rows = [TokenRow(self.tokens[at], at, sequences, False) for at in range(self.computed, last)]
        rows.append(TokenRow(self.tokens[last], last, sequences, wanted))
        return rows

    def _joins(self, probe: ChildProbe) -> bool:
        """Whether the probe begins now and lacks the newest token."""
        return not probe.computed and probe.fork_at > self.computed

    def probe_rows(self) -> Iterator[TokenRow]:
        """Yields the rows that the probe's path is due; the last one's logits are wanted."""
        probe = self.probe
        if probe is None or probe.child is None:
            return
        if self.apart and self._joins(probe):
            yield TokenRow(self.tokens[self.computed], self.computed, (probe.child,), False)
        for at in range(probe.computed, len(probe.path)):
            yield TokenRow(probe.path[at], probe.fork_at + at, (probe.child,), at == len(probe.path) - 1)

    def follow(self, context: LlamaContext, window: int) -> None:
        """Let the shadow see what has been computed lately, before `window` has passed over it."""
        late = self.computed - self.shadowed
        if self.shadow is not None and late >= min(MOST_UNSHADOWED, max(1, window // 2)):
            context.copy(self.own, start=self.shadowed, target=self.shadow)
            self.shadowed = self.computed

    def fork(self, probe: ProbeId, spec: ProbeSpec, fork_at: int) -> ChildProbe:
        """Add a probe that continues the first `fork_at` tokens, once it begins."""
        made = ChildProbe(id=probe, spec=spec, fork_at=fork_at, path=list(spec.suffix))
        made.repeated = int(self.apart and self._joins(made))
        self.probe = made
        return made

    def lapse(self, context: LlamaContext) -> None:
        """End the probe, if there is one."""
        probe, self.probe = self.probe, None
        if probe is not None and self.spare is None:
            probe.release(context)
        elif probe is not None:
            self._stand_by(context, probe.fork_at)

    def _stand_by(self, context: LlamaContext, fork_at: int) -> None:
        """Let the spare see what the parent sees, with which it agrees in the first `fork_at` tokens."""
        assert self.spare is not None
        context.cut(self.spare, fork_at)
        if self.computed > fork_at:
            context.copy(self.own, start=fork_at, target=self.spare)

    def adopt(self, context: LlamaContext, keep: int, then: Sequence[int]) -> None:
        """Continue from the first `keep` tokens of the probe's path, and `then`, instead of what followed the fork."""
        probe, self.probe = self.probe, None
        assert probe is not None
        assert probe.child is not None
        self.take_over(probe, keep, then)
        most = len(self.tokens) - 1  # one token is left to give the next logits
        held = probe.fork_at + min(keep, probe.computed)
        if self.spare is None:
            context.drop(self.own)
        else:
            self.spare = self.own
        if probe.anchor is None:
            self.own, self.computed = probe.child, min(held, most)
            if self.computed < probe.fork_at + probe.computed:
                context.cut(self.own, self.computed)
        elif probe.computed <= keep and held <= most:
            self.own, self.computed = probe.child, held
            context.drop(probe.anchor)
        else:
            self.own, self.computed = probe.anchor, probe.fork_at
            context.drop(probe.child)
        if self.spare is not None:
            self._stand_by(context, probe.fork_at)
        if self.shadow is not None and self.shadowed > probe.fork_at:
            context.cut(self.shadow, probe.fork_at)
            self.shadowed = probe.fork_at

    def release(self, context: LlamaContext) -> None:
        """Free what it holds."""
        self.lapse(context)
        for held in (self.own, self.spare, self.shadow):
            if held is not None:
                context.drop(held)
