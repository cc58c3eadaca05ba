"""Is it true what those who wait, or are turned away, are told of their time? In virtual time, on recorded thoughts.

The real serving loop, policies and controller are sent more than the profile's machine bears. A request that is queued
is told when its turn will come, one that is refused when to come back. Both predict when a request in its place begins;
the prediction is compared with when one did. `python -m benchmarks.overload` asks the same of a live server.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import numpy.typing as npt

from controller.policies.definition import PolicySettings
from controller.policies.fixed import FixedThreshold
from controller.policies.load_aware import LoadAware
from controller.serving.admission import AdmissionLimits, Overloaded
from controller.serving.fair_queue import Claim
from controller.serving.loop import ServingLoop
from controller.serving.request import ReasoningRequest
from controller.settings import SettingsFile
from controller.unmet import unmet
from engine.simulated.engine import SimulatedEngine
from engine.simulated.machine import VirtualClock, profiled_machine
from experiments.simulation.recording import Recording, read_recording
from experiments.simulation.simulation import Letters, simulated_context
from models.chat_model import load_chat_model
from models.profile.profile import FILE_NAME, Profile
from models.reasoner import bundled_model

SLOTS, WAITING = 8, 24
STEP_S = 0.02  # virtual, of a loop's step at most: about two forward passes
WARM_S = 10.0  # in which the first requests end, so that their length is known

Said = tuple[float, int, float]  # when, the place in the queue, the time told; s


@dataclass(slots=True)
class Waits:
    """What was told of waits, and when requests began; times are virtual."""

    began: list[float] = field(default_factory=list)
    refused: list[Said] = field(default_factory=list)
    queued: list[Said] = field(default_factory=list)

    def ratios(self, said: Sequence[Said]) -> npt.NDArray[np.float64]:
        """Returns the time told over the true one, until a request in that place began, if that is a second or more."""
        began, found = np.array(self.began), []
        for at_s, place, told_s in said:
            later = began[began > at_s]
            if at_s > WARM_S and len(later) >= place and later[place - 1] - at_s >= 1.0:
                found.append(told_s / (later[place - 1] - at_s))
        return np.array(found)


def overloaded(
    policy: PolicySettings, calibration: tuple[Profile, Recording], *, factor: float, seconds: float, seed: int
) -> Waits:
    """Sends recorded questions at `factor` times what the machine bears with full thought, as a Poisson process."""
    profile, known = calibration
    machine, clock, waits = replace(profiled_machine(profile), max_batch=SLOTS), VirtualClock(), Waits()
    made = policy.make(
        simulated_context(
            profile,
            lambda usable: SettingsFile(None, len(usable.classes), partial(unmet, usable)),
            machine=machine,
            clock=clock,
        )
    )
    engine = SimulatedEngine(
        known.model,
        machine,
        clock,
        budget=lambda name: made.policy.limits(name).budget,
        classes={question.prompt: question.difficulty for question in known.questions},
        pulse_s=STEP_S,
        stepped=None if made.observer is None else made.observer.stepped,
    )
    loop = ServingLoop(
        engine=engine,
        tokenizer=Letters(known.decoder),
        thinking=known.thinking,
        policy=made.policy,
        stop_tokens=known.stop_tokens,
        clock=clock,
        score=known.score,
        observer=made.observer,
        admission=AdmissionLimits(slots=SLOTS, max_waiting=WAITING),
    )
    rate = replace(profile.plant_model(), max_batch=SLOTS).capacity / profile.full_thought_tokens
    rng = np.random.default_rng(seed)
    unseen: set[str] = set()
    due = clock()
    while clock() < seconds:
        if not loop.busy:
            clock.skip(due)
        while due <= clock():
            due += rng.exponential(1.0 / (factor * rate))
            question = known.questions[rng.integers(len(known.questions))]
            name = str(len(unseen) + len(waits.queued) + len(waits.refused))
            request = ReasoningRequest(
                prompt=question.prompt, max_tokens=known.max_tokens, difficulty=question.difficulty, name=name,
                claim=Claim(),
            )  # fmt: skip
            try:
                loop.submit(request, lambda item: None, on_begin=lambda: waits.began.append(clock()))
            except Overloaded as refusal:
                waits.refused.append((clock(), WAITING + 1, refusal.retry_after_s))
            else:
                unseen.add(name)
        clock.alarm = due
        loop.tick()
        for name, turn in loop.queue.turns:
            if name in unseen:
                unseen.remove(name)
                waits.queued.append((clock(), turn.position, turn.eta_s))
    return waits


def told(ratios: npt.NDArray[np.float64]) -> str:
    """Returns a line on how far predictions were from the truth."""
    if not ratios.size:
        return "none"
    error, (low, high) = np.median(abs(ratios - 1.0)), np.percentile(ratios, [5, 95])
    within = np.mean((ratios >= 0.5) & (ratios <= 2.0))
    return (
        f"{ratios.size} told; median error {error:.1%}, told over true {np.median(ratios):.2f} in the median, "
        f"{low:.2f} to {high:.2f} in 90 %; {within:.1%} within a factor of 2"
    )


def main() -> None:
    """Command line: run, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.waiting.retry_after", description=__doc__)
    parser.add_argument("--factors", type=float, nargs="+", default=[3.0, 5.0], help="of what the machine bears")
    parser.add_argument("--seconds", type=float, default=60.0, help="virtual, of overload")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    model = bundled_model()
    calibration = read_recording(load_chat_model(model), model, model / FILE_NAME)
    policies: dict[str, PolicySettings] = {"fixed at 0.8": FixedThreshold(threshold=0.8), "load-aware": LoadAware()}
    for name, policy in policies.items():
        for factor in options.factors:
            waits = overloaded(policy, calibration, factor=factor, seconds=options.seconds, seed=options.seed)
            for what, said in (("Retry-After", waits.refused), ("eta", waits.queued)):
                print(f"{name}, {factor:g} times the capacity, {what}: {told(waits.ratios(said))}", flush=True)


if __name__ == "__main__":
    main()
