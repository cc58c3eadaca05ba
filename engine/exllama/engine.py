"""The ExLlamaV2 engine: the engine protocol over ExLlamaV2's generator and its paged cache, on a CUDA GPU.

A sequence is a list of tokens; a lease (`engine.exllama.generator`) is the generator job that decodes it for a while.
To close a thought, to continue a long sequence or to resume a paused one, the engine starts another lease, which reuses
what the cache pages hold. A sequence that is told to pause gives its pages back, as one does that pauses for want of
pages; they are reused last, and what has gone of them is computed again. Pages go to the oldest sequence first, so that
at least one sequence always advances; the pages of one probe are kept free, so that probes advance too.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

from engine.base import Capabilities, Event, FinishReason, ProbeId, ProbeSpec, Request, SequenceId, Started
from engine.base_engine import starting_over
from engine.constraint import Constraint
from engine.decoding import DecodingEngine
from engine.exllama.config import ExLlamaConfig, ProbeWay
from engine.exllama.generator import Generator, settle
from engine.exllama.load import ExLlamaModel
from engine.exllama.sequence import LeasedProbe, LeasedSequence, probe_lease

log = logging.getLogger(__name__)

OVERFLOWN = "the model's numbers overflowed in half precision, in which ExLlamaV2 computes"


class ExLlamaEngine(DecodingEngine[LeasedSequence]):
    """Implements `engine.base.Engine`. After an exception in `step` the engine is empty and usable again.

    After an EngineBrokenError it is not: a CUDA failure lasts as long as the process.
    """

    def __init__(self, loaded: ExLlamaModel, config: ExLlamaConfig | None = None) -> None:
        super().__init__(loaded.vocabulary)
        self._loaded = loaded
        self._config = config or ExLlamaConfig()
        self._generator = self._new_generator()

    def _new_generator(self) -> Generator:
        from exllamav2.generator.dynamic import PAGED_PAGE_SIZE

        config, page = self._config, PAGED_PAGE_SIZE
        return Generator(
            self._loaded.model,
            self._loaded.cache,
            max_rows=config.max_rows,
            prefill_chunk=-(-config.prefill_chunk // page) * page,
        )

    @property
    def _page(self) -> int:
        return int(self._generator.page_size)

    @property
    def max_tokens(self) -> int:
        # A probe starts and ends inside pages of its own: rounded up, prompt, reply and probe need two more pages.
        return min(max(0, int(self._generator.max_pages) - 2) * self._page, self._loaded.max_positions)

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(engine="exllama", masks=True, constraints=True, token_log_probs=True, pausing=True)

    def _start_probe(self, state: LeasedSequence, probe: ProbeId, spec: ProbeSpec, fork_at: int) -> None:
        state.probe = LeasedProbe(id=probe, spec=spec, fork_at=fork_at, path=list(spec.suffix))

    def _lapse(self, state: LeasedSequence) -> None:
        if state.probe is not None and state.probe.lease is not None:
            self._generator.cancel(state.probe.lease)
        state.probe = None

    def _adopt(self, state: LeasedSequence, keep: int, then: Sequence[int]) -> None:
        assert state.probe is not None
        state.take_over(state.probe, keep, then)
        state.stale = True
        assert state.probe.lease is not None
        state.replaced.append(state.probe.lease)
        state.probe = None

    def _append(self, state: LeasedSequence, tokens: Sequence[int]) -> None:
        super()._append(state, tokens)
        state.stale = True

    def _release(self, state: LeasedSequence) -> None:
        for lease in state.leases:
            self._generator.cancel(lease)

    def _set_aside(self, state: LeasedSequence) -> None:
        self._release(state)
        state.lease, state.replaced, state.stale = None, [], False

    def _take_up(self, state: LeasedSequence) -> None:
        self._running = dict(sorted(self._running.items()))  # pages go to the oldest first

    def _cells(self) -> tuple[int, int]:
        return self._generator.held_pages * self._page, self._generator.max_pages * self._page

    def step(self) -> list[Event]:
        """See `engine.base.Engine.step`. An exception ends every sequence; the next step finds an empty engine."""
        with starting_over(self._start_over):
            return self._step()

    def _step(self) -> list[Event]:
        events: list[Event] = []
        self._settle(events)
        self._go_on(self._config.max_batch)
        self._renew()
        self._resume()
        self._admit(events)
        self._ask()
        if self._running:
            with self._masks.beside(list(self._constraints())):
                self._generator.iterate()
            self._collect(events)
        return events

    def _start_over(self, failure: Exception) -> None:
        """Drop all sequences and replace the page table, which may list keys and values that were never computed."""
        self._forget_all()
        settle(self._loaded.cache, failure)
        broken, self._generator = self._generator, self._new_generator()
        broken.close()

    def _renew(self) -> None:
        """Replace spent and stale leases; a sequence pauses if pages are short or an older sequence is paused."""
        paused = False
        for state in self._running.values():
            before = [*state.replaced, state.lease] if state.lease is not None else state.replaced
            if before and (state.stale or before[-1].spent):
                state.lease, state.replaced = None, []
                if not paused:
                    self._lease(state, keep_free=0)
                for lease in before:
                    self._generator.cancel(lease)
            paused = paused or state.lease is None

    def _resume(self) -> None:
        """Start leases for paused sequences, the oldest first, until one does not fit."""
        for state in self._running.values():
            if state.lease is None and not self._lease(state, keep_free=self._kept_free(state.request)):
                return

    def _admit(self, events: list[Event]) -> None:
        """Start waiting requests, oldest first, while none is paused and batch, pages and prefill chunk have room."""
        paused = any(state.lease is None for state in self._running.values())
        due = sum(state.lease.due for state in self._running.values() if state.lease is not None)
        for sequence, request in list(self._waiting.items()):
            late = due > 0 and due + len(request.prompt) > self._config.prefill_chunk
            if paused or late or len(self._running) >= self._config.max_batch or self._awaits_prompt(sequence, request):
                return
            state = LeasedSequence(**self._common(sequence, request))
            if not self._lease(state, keep_free=self._kept_free(request)):
                return
            del self._waiting[sequence]
            self._running[sequence] = state
            assert state.lease is not None
            due += state.lease.due
            events.append(Started(sequence=sequence))

    def _awaits_prompt(self, sequence: SequenceId, request: Request) -> bool:
        """Whether a prompt is being computed that the sequence will find in the cache."""
        return any(other.lease is not None and not other.lease.ready for other in self._alike(sequence, request))

    def _lease(self, state: LeasedSequence, *, keep_free: int) -> bool:
        lease = state.next_lease(self._page, self._config.lease_pages)
        if not self._generator.start(lease, keep_free=keep_free):
            return False
        state.lease, state.stale = lease, False
        return True

    def _kept_free(self, newcomer: Request) -> int:
        """Pages to keep free so that a probe of any sequence fits: a waiting probe then waits only for other probes."""
        rooms = [state.request.probe_room for state in self._running.values()]
        room = max(*rooms, newcomer.probe_room, 0)
        probes = [state.probe.lease for state in self._running.values() if state.probe is not None]
        held = sum(lease.new_pages for lease in probes if lease is not None)
        return max(0, -(-room // self._page) + 1 - held) if room else 0

    def _ask(self) -> None:
        """Start leases for waiting probes, oldest first, once their sequences have computed the forked tokens."""
        probes = [(state, state.probe) for state in self._running.values() if state.probe is not None]
        free = self._config.max_probes - sum(probe.lease is not None for _, probe in probes)
        waiting = [
            (state, probe)
            for state, probe in sorted(probes, key=lambda pair: pair[1].id)
            if probe.lease is None and state.lease is not None and state.lease.ready
        ][:free]
        for state, probe in waiting:
            way = self._config.choose_way(starting=len(waiting), suffix=len(probe.spec.suffix), rows=len(self._running))
            lease = probe_lease(
                probe,
                state.tokens[: probe.fork_at],
                stock=way is ProbeWay.STOCK,
                batched=way is ProbeWay.BATCHED,
            )
            if not self._generator.start(lease):
                return
            probe.lease = lease

    def _constraints(self) -> Iterator[Constraint]:
        """Yields the constraints of the rows that give a token, and of suffixes that may."""
        for state in self._running.values():
            if state.constraint is not None and state.lease is not None and state.lease.ready:
                yield state.constraint
            probe = state.probe
            if probe is not None and probe.constraint is not None and probe.lease is not None:
                yield probe.constraint

    def _collect(self, events: list[Event]) -> None:
        """Report the step's results: the next token of each sequence, and the sequences and probes that ended."""
        for state in list(self._running.values()):
            if state.overflown:
                self._end(state, FinishReason.ERROR, OVERFLOWN, events)
                continue
            drawn, state.drawn = state.drawn, None
            if drawn is not None and not self._record(state, drawn, events):
                continue
            probe = state.probe
            if probe is not None and probe.lease is not None:
                probe.rows = probe.lease.rows
                if probe.ended:
                    events.append(probe.verdict(state.id))
