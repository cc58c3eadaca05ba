"""All levers at once in simulation: giving up, an account of risk, head starts and pauses."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

from controller.controller import Controller
from controller.policies.load_aware import LoadAware
from controller.risk.account import RiskAccount
from controller.serving.ordering.turns import ServingOrder
from controller.settings import ControllerSettings, FixedSettings
from engine.simulated.machine import VirtualClock, profiled_machine
from experiments.request_record import RequestRecord
from experiments.simulation.orders import overtaken_s
from experiments.simulation.recording import Recording, read_recording
from experiments.simulation.simulation import simulate, simulated_context
from models.chat_model import load_chat_model
from models.profile.profile import Profile
from models.reasoner import bundled_model
from tests.support.account_profile import PEAK, RISK, account_profile
from tests.support.calibrations import save_calibration

REQUESTS = 240


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibrated:
    """Thoughts that are unsure until their third paragraph, and a profile that certifies for an account and curves."""

    profile: Profile
    known: Recording

    def serve(
        self, *, head_start_s: float, pauses: bool = False, give_up: bool = True
    ) -> tuple[list[RequestRecord], RiskAccount]:
        """The same requests: a calm, then far more than full thoughts leave room for."""
        rng, clock = np.random.default_rng(5), VirtualClock()
        machine = replace(profiled_machine(self.profile), max_batch=4)
        rate = self.profile.full_thought_rate
        gaps = [rng.exponential(each / rate, REQUESTS // 2) for each in (4.0, 0.3)]
        context = simulated_context(
            self.profile, lambda _: FixedSettings(ControllerSettings()), machine=machine, clock=clock
        )
        made = LoadAware(risk=RISK, risk_peak=PEAK, give_up=give_up).make(context)
        records = simulate(
            self.known, np.cumsum(np.concatenate(gaps)),
            rng.integers(len(self.known.questions), size=REQUESTS).tolist(), machine=machine, clock=clock,
            policy=made.policy, observer=made.observer,
            order=ServingOrder.of(self.profile, head_start_s=head_start_s, pauses=pauses),
        )  # fmt: skip
        assert isinstance(made.policy, Controller)
        assert made.policy.keeper is not None
        return records, made.policy.keeper.account


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory: pytest.TempPathFactory) -> Calibrated:
    file = save_calibration(tmp_path_factory.mktemp("calibration"))
    profile, known = read_recording(load_chat_model(bundled_model()), bundled_model(), file)
    source = account_profile(1000, curves=True)
    assert source.give_up is not None
    curves = replace(source.give_up, medians=(10.0, 10.0, 10.0))  # so that they rise from the second paragraph on
    return Calibrated(profile=replace(profile, certificate=source.certificate, give_up=curves), known=known)


@pytest.mark.parametrize(("head_start_s", "pauses"), [(0.0, False), (10.0, False), (10.0, True)])
def test_whatever_the_order_each_request_is_charged_once_and_thoughts_are_given_up(
    calibrated: Calibrated, head_start_s: float, pauses: bool
) -> None:
    records, account = calibrated.serve(head_start_s=head_start_s, pauses=pauses)
    assert account.requests == REQUESTS
    assert 0.0 < account.spent <= RISK * REQUESTS + 1e-9
    assert overtaken_s(records) <= head_start_s
    assert any(one.exit_reason == "hopeless" for one in records)


def test_without_giving_up_nothing_is_given_up_and_the_head_start_counts(calibrated: Calibrated) -> None:
    plain, _ = calibrated.serve(head_start_s=0.0, give_up=False)
    assert not any(one.exit_reason == "hopeless" for one in plain)
    shorter, _ = calibrated.serve(head_start_s=10.0, give_up=False)
    assert overtaken_s(plain) == 0.0 < overtaken_s(shorter)
