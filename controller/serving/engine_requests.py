"""The requests that the engine has: which they are, how old they are, and whether another would fit beside them."""

from __future__ import annotations

from collections.abc import Iterator

from controller.serving.active import ActiveRequest
from controller.serving.fair_queue import Claim
from engine.base import NEEDS_PAUSES, Engine, SequenceId


class EngineRequests:
    """Requests that were handed to the engine and have not ended, by their sequence."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._by_sequence: dict[SequenceId, ActiveRequest] = {}

    def __len__(self) -> int:
        return len(self._by_sequence)

    def __iter__(self) -> Iterator[ActiveRequest]:
        return iter(self._by_sequence.values())

    def get(self, sequence: SequenceId) -> ActiveRequest | None:
        """The request of a sequence; None: it has ended."""
        return self._by_sequence.get(sequence)

    def add(self, sequence: SequenceId, active: ActiveRequest) -> None:
        """Takes note of a request that the engine now has as `sequence`."""
        active.enter(sequence)
        self._by_sequence[sequence] = active

    def cancel(self, active: ActiveRequest) -> None:
        """Frees what the engine holds of a request, if anything."""
        if active.sequence is not None:
            self._by_sequence.pop(active.sequence, None)
            self._engine.cancel(active.sequence)

    def need_pauses(self) -> None:
        """Raises UnsupportedError if the engine cannot pause a sequence."""
        self._engine.capabilities.need("pausing", NEEDS_PAUSES)

    @property
    def may_pause(self) -> bool:
        """Whether the engine may have one more of them paused, and yet begin others."""
        most = self._engine.capabilities.most_paused
        return most is None or len(self.paused) < most

    @property
    def can_sample(self) -> bool:
        """Whether the engine can sample a sequence at a temperature."""
        return self._engine.capabilities.sampling

    def pause(self, active: ActiveRequest, step: int) -> None:
        """Has a request's sequence keep its memory and get no more tokens, so that another takes its place.

        `step`: the loop's.
        """
        assert active.sequence is not None
        self._engine.pause(active.sequence)
        active.pause(step)

    def resume(self, active: ActiveRequest, step: int) -> None:
        """Has a paused request's sequence go on."""
        assert active.sequence is not None
        self._engine.resume(active.sequence)
        active.resume(step)

    @property
    def paused(self) -> list[Claim]:
        """The claims of the paused requests."""
        return [active.claim for active in self if active.paused]

    def has_room(self, cells: int) -> bool:
        """Whether the engine has memory for a request of `cells` cells beside all that it holds and is to start."""
        load = self._engine.load()
        due = sum(active.cells for active in self if active.started_s is None)
        return load.cells_reserved + due + cells <= load.cells_total

    def fits(self, cells: int) -> bool:
        """Whether the engine has room to start a request of `cells` cells now, or has no request waiting in it.

        An engine that allocates memory as sequences grow can start more requests than could all reach their full
        length. So one request may always wait in the engine, so that no memory lies idle.
        """
        return not self._engine.load().waiting or self.has_room(cells)

    def ages(self, steps: int) -> tuple[list[int], list[ActiveRequest]]:
        """Returns the running requests' ages, in steps, and the held-up ones: those not started within one step.

        `steps` is the number of steps that the engine has made.
        """
        held_up = [active for active in self if active.started_s is None and active.begun_step < steps]
        running = (active for active in self if not active.paused and active not in held_up)
        return [steps - active.begun_step for active in running], held_up
