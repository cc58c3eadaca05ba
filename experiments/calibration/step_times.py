"""Times the engine's steps: fits the plant τ(b) = a + (c + g·K)·b to pure decode steps, and measures a probe's cost."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from engine.base import CapacityError, Engine, Finished, Probed, ProbeSpec, Request, SequenceId, Tokens
from models.profile.plant import StepTime

WARM = 4  # untimed steps before the timed ones
STEPS = 24  # timed steps at each point; their median counts
ROUNDS = 6  # rounds of probes
TIMING = "timing"  # key of a profile's provenance that holds the Steadiness
SPREAD, DRIFT, WAITED = 0.2, 0.25, 0.1  # Steadiness beyond which a machine counts as busy

Clock = Callable[[], float]
Prompts = Sequence[tuple[int, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class TimedBatch:
    """The median time of a batch's pure decode steps."""

    batch: int
    context: float  # mean cached tokens of a sequence
    seconds: float
    spread: float = 0.0  # width of the middle half of the steps' times, over their median


@dataclass(frozen=True, slots=True, kw_only=True)
class Steadiness:
    """How steady the machine was while steps were timed: all figures are near 0 if it did nothing else."""

    spread: float  # the batches' median spread
    drift: float  # relative change of the first batch's time when it was timed again at the end
    waited: float | None  # share of the time in which the engine's thread did not run on the CPU; None: not measured

    @property
    def busy(self) -> bool:
        """Whether the machine evidently did other work, too."""
        return self.spread > SPREAD or self.drift > DRIFT or (self.waited or 0.0) > WAITED


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """The step time that fits the timed steps best."""

    step_time: StepTime
    error: float  # root mean square of the relative errors


def batches(most: int) -> list[int]:
    """Returns the batch sizes to time: powers of two up to `most`, and `most`."""
    return sorted({*(1 << power for power in range(most.bit_length())), most})


def decode_steps(engine: Engine, prompts: Prompts, clock: Clock, steps: int = STEPS) -> TimedBatch:
    """Times steps in which sequences of these prompts only decode. Raises CapacityError if the engine lacks room."""
    with _decoding(engine, prompts, steps) as decoding:
        seconds = [decoding.step(clock) for _ in range(steps)]
        context = statistics.mean(decoding.lengths()) - steps / 2
    median = statistics.median(seconds)
    low, _, high = statistics.quantiles(seconds, n=4)
    spread = (high - low) / median if median > 0.0 else 0.0
    return TimedBatch(batch=len(prompts), context=context, seconds=median, spread=spread)


def steadiness(timed: Sequence[TimedBatch], again: TimedBatch, *, waited: float | None) -> Steadiness:
    """Returns how steady the machine was; `again`: the first batch once more; `waited` as in Steadiness."""
    first = timed[0].seconds
    return Steadiness(
        spread=statistics.median(one.spread for one in timed),
        drift=abs(again.seconds / first - 1.0) if first > 0.0 else 0.0,
        waited=waited,
    )


def fit(timed: Sequence[TimedBatch]) -> Fit:
    """Fits least squares of relative errors under a, c, g ≥ 0.

    Raises CapacityError if fewer than 3 points were timed.
    """
    from scipy.optimize import nnls

    if len(timed) < 3:
        raise CapacityError(f"{len(timed)} batches fit the engine to tell a, c and g from, must be at least 3")
    seconds = np.array([one.seconds for one in timed])
    x = np.array([[1.0, one.batch, one.batch * one.context] for one in timed]) / seconds[:, None]
    scale = x.max(axis=0)  # a and g differ by orders of magnitude
    found, distance = nnls(x / scale, np.ones(len(timed)))
    a, c, g = (float(value) for value in found / scale)
    return Fit(step_time=StepTime(a=a, c=c, g=g), error=float(distance / np.sqrt(len(timed))))


def probe_seconds(
    engine: Engine, prompts: Prompts, spec: ProbeSpec, clock: Clock, rounds: int = ROUNDS
) -> tuple[float, float]:
    """Returns the seconds that one probe adds to its steps, and its token rows; each round probes all sequences.

    The seconds are a median over rounds, the rows a mean.
    """
    length = spec.max_answer_tokens + 2
    added, rows = [], []
    with _decoding(engine, prompts, 2 * rounds * length, spec.room) as decoding:
        for _ in range(rounds):
            plain = statistics.median(decoding.step(clock) for _ in range(length))
            for sequence in decoding.tokens:
                engine.fork(sequence, spec)
            seconds = []
            asked: list[Probed] = []
            while len(asked) < len(prompts):
                seconds.append(decoding.step(clock, asked))
            added.append(sum(seconds) - plain * len(seconds))
            rows += [one.rows for one in asked]
    return max(0.0, statistics.median(added) / len(prompts)), statistics.mean(rows)


class _Decoding:
    """Sequences that have all finished prefill, so that every step is a decode step."""

    def __init__(self, engine: Engine, prompts: Prompts) -> None:
        self._engine = engine
        self._prompts = prompts
        self.tokens: dict[SequenceId, int] = {}

    def step(self, clock: Clock, asked: list[Probed] | None = None) -> float:
        """Runs one step, appends the probes that end in it to `asked` (None: drops them), and returns its seconds."""
        start = clock()
        events = self._engine.step()
        seconds = clock() - start
        for event in events:
            if isinstance(event, Tokens):
                self.tokens[event.sequence] += 1
            elif isinstance(event, Probed) and asked is not None:
                asked.append(event)
            elif isinstance(event, Finished):
                raise CapacityError(f"a sequence ended after {self.tokens[event.sequence]} tokens, while others waited")
        return seconds

    def lengths(self) -> list[int]:
        """Returns the cached tokens of each sequence."""
        return [len(prompt) + new for prompt, new in zip(self._prompts, self.tokens.values(), strict=True)]


@contextmanager
def _decoding(engine: Engine, prompts: Prompts, steps: int, probe_room: int = 0) -> Iterator[_Decoding]:
    """Yields sequences that decode for at least `steps` more steps, and cancels them afterwards.

    Raises CapacityError if they do not fit.
    """
    share = engine.load().cells_total // len(prompts)
    decoding = _Decoding(engine, prompts)
    try:
        for prompt in prompts:
            room = min(share, engine.max_tokens) - len(prompt) - probe_room
            if room < steps + WARM + 1:
                raise CapacityError(
                    f"{len(prompts)} sequences of {len(prompt)} tokens do not fit with {steps + WARM + 1} more each: "
                    f"a sequence may have {min(share, engine.max_tokens)}"
                )
            request = Request(prompt=prompt, max_new_tokens=room, probe_room=probe_room)
            decoding.tokens[engine.submit(request)] = 0
        while not all(decoding.tokens.values()):
            decoding.step(lambda: 0.0)
        for _ in range(WARM):
            decoding.step(lambda: 0.0)
        yield decoding
    finally:
        for sequence in decoding.tokens:
            engine.cancel(sequence)
