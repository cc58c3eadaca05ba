"""The bundled profile has the points of every lever, and what serves without a lever is as if it had none."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np
import pytest

from controller.policies.definition import certified_at
from controller.policies.load_aware import LEVERS, LoadAware
from controller.policies.restricted import budgets_only, standing, thresholds_only
from controller.policy import Limits
from controller.serving.ordering.remaining import RowForecast
from controller.serving.ordering.turns import ServingOrder
from controller.settings import ControllerSettings, FixedSettings
from engine.simulated.machine import VirtualClock, profiled_machine
from experiments.calibration.looks import looks_of
from experiments.request_record import RequestRecord
from experiments.simulation.contest import safe_constant
from experiments.simulation.levers_of_records import answered_at_once, given_up
from experiments.simulation.price_index_of_records import price_indexed
from experiments.simulation.recording import read_calibration, recording
from experiments.simulation.running_of_records import with_running
from experiments.simulation.simulation import simulate, simulated_context
from models.chat_model import load_chat_model
from models.profile.profile import Profile, ProfileError, profile_of, read_profile
from models.reasoner import bundled_model
from tests.support.without_levers import without_levers, without_points

TABULATED = ("give_up", "index", "no_thought", "width", "benchmarks")
RISKS = ((None, None), (0.01, None), (0.08, None), (0.02, 0.1))  # with the peaks of accounts


@pytest.fixture(scope="module")
def shipped() -> Profile:
    return read_profile(profile_of(bundled_model()))


def plain(value: Any) -> Any:
    """The value with its arrays as lists, so that it can be compared."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    return value


@pytest.mark.parametrize("name", [*LEVERS, "worst_benchmark"])
def test_every_lever_can_be_used(shipped: Profile, name: str) -> None:
    policy = LoadAware(**{name: True})
    used = certified_at(shipped, None, None, levers=policy.levers, worst=policy.worst_benchmark)
    points, without = set(used.tables().points), set(shipped.tables().points)
    assert len(points) > 1
    assert points != without
    assert bool(points - without) == (name != "worst_benchmark")  # which takes points away


@pytest.mark.parametrize(("risk", "peak"), RISKS)
def test_points_without_a_lever_are_those_of_a_profile_that_has_none(
    shipped: Profile, risk: float | None, peak: float | None
) -> None:
    bare = without_points(shipped)
    assert [getattr(bare, name) for name in TABULATED] == [None] * len(TABULATED)
    ours, theirs = (certified_at(one, risk, peak) for one in (shipped, bare))
    assert without_points(ours) == theirs
    for restricted in (lambda one: one, standing, thresholds_only, budgets_only):
        for certified_only in (True, False):
            found, wanted = (restricted(one).tables(certified_only=certified_only) for one in (ours, theirs))
            assert plain(found) == plain(wanted)
    assert plain(ours.harm) == plain(theirs.harm)
    assert plain(ours.plant_model()) == plain(theirs.plant_model())
    assert safe_constant(ours) == safe_constant(theirs)


def test_a_risk_that_the_profile_is_too_small_for_is_refused_alike(shipped: Profile) -> None:
    with pytest.raises(ProfileError) as found:
        certified_at(shipped, 0.0005, None)
    with pytest.raises(ProfileError) as wanted:
        certified_at(without_points(shipped), 0.0005, None)
    assert str(found.value) == str(wanted.value)


def test_the_contest_and_the_order_are_kept_and_rows_are_foretold_alike(shipped: Profile) -> None:
    bare = without_points(shipped)
    assert shipped.contest is not None
    assert shipped.order is not None
    assert shipped.certificate.evidence is not None
    assert shipped.certificate.evidence.by_class is not None
    ours, theirs = RowForecast.of(shipped), RowForecast.of(bare)
    assert (ours.usual_rows, ours.answer_rows) == (theirs.usual_rows, theirs.answer_rows)
    for point in shipped.points():
        limits = Limits(threshold=point.threshold, budget=point.budget)
        for name in (*shipped.classes, None):
            for length, attained in ((0.0, 0.0), (150.0, 40.0)):
                found, wanted = (one.rows(name, limits, length=length, attained=attained) for one in (ours, theirs))
                assert found == wanted


@pytest.mark.slow
def test_requests_are_served_as_by_a_profile_without_levers() -> None:
    directory = bundled_model()
    chat = load_chat_model(directory)
    known = read_calibration(chat, directory, profile_of(directory))

    def served(profile: Profile) -> list[RequestRecord]:
        machine, clock, rng = profiled_machine(profile), VirtualClock(), np.random.default_rng(0)
        arrivals = np.cumsum(rng.exponential(1.0 / (1.5 * profile.full_thought_rate), 200))
        mine = recording(chat, profile, known.log, known.questions, most=400)
        context = simulated_context(
            profile, lambda _: FixedSettings(ControllerSettings()), machine=machine, clock=clock
        )
        made, order = LoadAware().make(context), profile.order
        assert order is not None
        return simulate(
            mine, arrivals, rng.integers(400, size=200).tolist(), machine=machine, clock=clock, policy=made.policy,
            observer=made.observer, order=ServingOrder.of(profile, head_start_s=order.head_start_s),
        )  # fmt: skip

    found = served(known.profile)
    assert found == served(without_points(known.profile))
    assert len({one.exit_reason for one in found}) > 1


@pytest.mark.slow
def test_the_points_are_what_the_shipped_records_tell() -> None:
    """But for those of races, whose replies lie in the reasoner's own records.

    The switch's weights and the index's values are so to what other processors round, all else to the last bit.
    """
    directory = bundled_model()
    chat = load_chat_model(directory)
    known = read_calibration(chat, directory, profile_of(directory))
    before = without_levers(chat, known)
    found = before
    for tabulated in (given_up, answered_at_once, price_indexed, with_running):
        found = replace(found, profile=tabulated(chat, found))
    mine, shipped = found.profile.no_thought, known.profile.no_thought
    assert mine is not None
    assert shipped is not None
    assert mine.switch.weights == pytest.approx(shipped.switch.weights, rel=0.0, abs=1e-11)
    priced, kept = found.profile.index, known.profile.index
    assert priced is not None
    assert kept is not None
    assert np.array(priced.index.values) == pytest.approx(np.array(kept.index.values), rel=1e-13, abs=0.0)
    made = replace(
        found.profile,
        width=known.profile.width,
        no_thought=replace(mine, switch=shipped.switch),
        index=replace(priced, index=replace(priced.index, values=kept.index.values)),
    )
    assert made == known.profile
    assert len(looks_of(known.profile)) == len(looks_of(before.profile)) + 3  # who is harmed where is no look
