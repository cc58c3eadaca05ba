"""Recorded requests that are asked piece by piece are served as those that are asked at once."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from controller.policy import FixedPolicy, Limits
from engine.simulated.machine import VirtualClock, profiled_machine
from experiments.simulation.recording import read_recording
from experiments.simulation.simulation import RecordedArrivals, serving_loop, simulate
from models.chat_model import load_chat_model
from models.reasoner import bundled_model
from tests.support.calibrations import save_calibration


def test_two_pieces_are_served_as_one(tmp_path: Path) -> None:
    chat = load_chat_model(bundled_model())
    profile, known = read_recording(chat, bundled_model(), save_calibration(tmp_path))
    machine, policy = profiled_machine(profile), FixedPolicy(Limits(threshold=0.9))
    arrivals = np.arange(0.0, 20.0, 0.05)
    questions = [number % len(known.questions) for number in range(arrivals.size)]
    whole = simulate(known, arrivals, questions, machine=machine, clock=VirtualClock(), policy=policy)
    clock = VirtualClock()
    asking = RecordedArrivals(known, serving_loop(known, machine=machine, clock=clock, policy=policy), clock)
    asking.ask(arrivals[:150], questions[:150], until=float(arrivals[150]))
    asking.ask(arrivals[150:], questions[150:])
    assert asking.rest() == whole
    assert max(one.queue_s for one in whole) > 0.0  # the second piece finds requests under way
